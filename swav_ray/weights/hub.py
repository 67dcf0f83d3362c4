"""A file of weights from the Hugging Face Hub, by the name hf://organisation/name[/file][@revision]."""

from __future__ import annotations

import re
from pathlib import Path

from swav_ray.one_line import one_line
from swav_ray.weights.read import WeightsError

SCHEME = "hf://"
_NAME = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:/([^@]+))?(?:@([^@]+))?")
_KINDS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")  # of files of weights, the best first


def fetch(name: str) -> tuple[str, bytes]:
    """The full name of a file and its bytes, downloaded once and cached by huggingface_hub.

    Without a file in the name the repository's only file of weights is taken, a safetensors file before others.

    Raises:
        WeightsError: huggingface_hub is not installed, the name is no such name, the repository or the file is not
            there, or there are several files to choose from.
    """
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError:
        raise WeightsError(f"{name}: needs huggingface_hub; pip install 'swav_ray[hub]'") from None
    found = _NAME.fullmatch(name)
    if found is None:
        raise WeightsError(f"{name}: must be hf://organisation/name[/file][@revision]")
    repository, file, revision = found.groups()
    # Which library carries the requests, and so the error of a Hub that does not answer, depends on the version.
    transport = tuple(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception))
    failures: tuple[type[Exception], ...] = (OSError, HFValidationError, *transport)
    try:
        file = file or _only(huggingface_hub.HfApi().list_repo_files(repository, revision=revision), name)
        path = huggingface_hub.hf_hub_download(repository, file, revision=revision)
    except failures as error:
        raise WeightsError(f"{name}: the Hub does not give it: {one_line(error)}") from None
    at = f"@{revision}" if revision else ""
    return f"{SCHEME}{repository}/{file}{at}", Path(path).read_bytes()


def _only(files: list[str], name: str) -> str:
    """The file of weights of a repository."""
    for kind in _KINDS:
        weights = [file for file in files if file.endswith(kind)]
        if len(weights) == 1:
            return weights[0]
        if weights:
            raise WeightsError(f"{name}: holds several files of weights; give one of {', '.join(weights[:8])}")
    raise WeightsError(f"{name}: holds no file of weights ({', '.join(_KINDS)})")
