"""How a command ends on an error: one line, and a status that says whose mistake it was."""

from __future__ import annotations

import pytest

from swav_ray.config import ConfigError
from swav_ray.report.complaint import complain
from swav_ray.settings import UnknownSetting
from swav_ray.storage.errors import CredentialsError, PlaceError, StorageUnavailable


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("train.epochs", 0, "must be at least 1"), 2),
        (UnknownSetting("lr: no such setting"), 2),
        (PlaceError("gs://b: the scheme is not known"), 2),
        (CredentialsError("no credentials for s3://b"), 2),
        (FileNotFoundError("/images: no such folder"), 2),
        (PermissionError("/images: not yours"), 2),
        (StorageUnavailable("s3://b: no answer"), 1),
        (ConnectionResetError("reset by peer"), 1),
        (OSError(28, "No space left on device"), 1),
        (RuntimeError("a worker died"), 1),
    ],
)
def test_the_users_mistake_is_2_and_all_else_is_1(
    error: Exception, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert complain(error) == status
    assert capsys.readouterr().err == f"swav_ray: {error}\n"


def test_an_error_of_many_lines_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    complain(ValueError("first\n  second\n\nthird"))
    assert capsys.readouterr().err == "swav_ray: first second third\n"
