"""An error as one line, for a message that names it."""

from __future__ import annotations


def one_line(error: BaseException, most: int = 200) -> str:
    """What an error says, its line breaks as spaces, cut at `most` characters; its class if it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def last_line(error: BaseException) -> str:
    """The last line of what an error says: an error that carries a traceback names its cause there. Else its class."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
