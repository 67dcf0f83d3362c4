"""When to say what a run waits for: silence looks like a hang. Prints nothing itself."""

from __future__ import annotations

import time
from collections.abc import Callable

_SILENT_SECONDS = 15.0


class Silence:
    """What is waited for, and how long nothing has been shown.

    Args:
        seconds: between progress lines, as a person set it. If that is more than 15 s, so is the silence.
        clock: seconds, monotonic.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = max(seconds, _SILENT_SECONDS)
        self._clock = clock
        self._waiting_for, self._since = "", clock()
        self._shown = clock()

    def waiting_for(self, what: str, *, anew: bool = False) -> None:
        """From now on `what` is waited for: `{}` in it stands for how long.

        Args:
            anew: how long is counted from now, even if the same was waited for already.
        """
        if anew or what != self._waiting_for:
            self._waiting_for, self._since = what, self._clock()

    def shown(self) -> None:
        """A person has just seen a line."""
        self._shown = self._clock()

    def due(self) -> bool:
        """Whether nothing has been shown for too long."""
        return self._clock() - self._shown >= self._limit

    def line(self) -> str:
        """What is waited for and how long by now; "" when nothing is."""
        return self._waiting_for.replace("{}", duration(self._clock() - self._since))


def duration(seconds: float) -> str:
    """As a person says it: "15 s", "2 min 05 s", "3 h 04 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
