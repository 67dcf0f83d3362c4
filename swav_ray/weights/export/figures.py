"""The figures of a run's evaluations, as rows of a model card."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from swav_ray.run import layout
from swav_ray.storage.place import Place

Row = tuple[str, str, str]  # figure, value with its interval, protocol


def rows_of(run_dir: Place, sha256: str) -> Iterator[Row]:
    """Every figure of an evaluation of exactly these weights; a file that cannot be read has a row that says so.

    Args:
        sha256: of the weights.
    """
    evaluations = run_dir / layout.EVALUATIONS
    for entry in sorted(evaluations.list()):
        if entry.name.rpartition("/")[2] != layout.RESULTS:
            continue
        try:
            document = json.loads((evaluations / entry.name).read_bytes())
            if document["weights"] == sha256:
                yield from _rows(document)
        except (ValueError, LookupError, TypeError, AttributeError):
            yield "?", "?", f"`{layout.EVALUATIONS}/{entry.name}` cannot be read"


def _rows(document: dict[str, Any]) -> list[Row]:
    val = document["val"]
    # The first evaluations of this package named the place alone.
    images = f"{val['images']:,} images of {val['place']}" if isinstance(val, dict) else f"images of {val}"
    protocol = f"{document['protocol']} (version {document['version']}, {document['hash']}), {images}"
    return [(name, _value(figure), protocol) for name, figure in document["figures"].items()]


def _value(figure: dict[str, Any]) -> str:
    unit = "%" if figure["unit"] == "%" else ""
    if figure["low"] is None or figure["high"] is None:
        return f"{figure['value']:.4g}{unit}"
    return f"{figure['value']:.4g}{unit} [{figure['low']:.4g}, {figure['high']:.4g}]"
