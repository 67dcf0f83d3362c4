"""The one error that a decoder raises."""

from __future__ import annotations

from typing import Any


class UnreadableImage(ValueError):
    """Bytes that give no image. `kind` is empty, not_an_image, truncated, corrupt, unsupported or too_large."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(" ".join(message.split()))
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        return UnreadableImage, (self.kind, str(self))
