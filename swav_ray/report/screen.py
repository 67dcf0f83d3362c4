"""The part of a terminal that is redrawn: lines that stay scroll above it, and a resized window is drawn anew."""

from __future__ import annotations

from typing import Any

from rich.console import Console, RenderableType
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

_A_SECOND = 4  # refreshes


class Screen:
    """Shows one thing at the bottom of a terminal, and again at every refresh.

    Args:
        console: of a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: RenderableType = Text("")
        self._size = console.size
        # What is left on the screen at the end would be taken for the run's state.
        self._live = Live(
            console=console, refresh_per_second=_A_SECOND, get_renderable=self.current, transient=True, screen=False
        )

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._live.stop()

    def show(self, what: RenderableType) -> None:
        """From the next refresh on `what` is shown."""
        self._shown = what

    def current(self) -> RenderableType:
        """What is shown. If the window has another size, what was drawn has been wrapped anew, and is wiped first."""
        if self._console.size != self._size:
            self._size = self._console.size
            self._console.control(Control(ControlType.CLEAR, ControlType.HOME))
        return self._shown
