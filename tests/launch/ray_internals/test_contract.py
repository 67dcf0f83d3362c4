"""A broken contract says what moved in Ray, what of ours breaks, and which file to mend."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import pytest
import ray

from tests.launch.ray_internals.contract import Contract

CONTRACT = Contract(mend="ours.py", breaks="runs stop")


@dataclass
class Theirs:
    size: int

    def resize(self, size: int, patience: float = 1.0) -> None:
        self.size = size if patience else 0


@pytest.fixture(autouse=True)
def theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module with the class above."""
    module = ModuleType("theirs")
    module.Theirs = Theirs  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "theirs", module)


@pytest.mark.parametrize(
    "holds",
    [
        lambda: CONTRACT.name("theirs:Theirs.resize"),
        lambda: CONTRACT.parameters("theirs:Theirs.resize", "self", "size"),
        lambda: CONTRACT.fields("theirs:Theirs", "size"),
        lambda: CONTRACT.uses("theirs:Theirs.resize", "size"),
        lambda: CONTRACT.check(True, "nothing"),
    ],
)
def test_what_is_there_passes(holds: Callable[[], object]) -> None:
    holds()


@pytest.mark.parametrize(
    ("broken", "moved"),
    [
        (lambda: CONTRACT.name("elsewhere:Theirs"), "module elsewhere cannot be imported"),
        (lambda: CONTRACT.name("theirs:Theirs.grow"), "theirs:Theirs.grow is gone: no 'grow' there"),
        (lambda: CONTRACT.parameters("theirs:Theirs.resize", "self", "count"), "has no parameter count"),
        (lambda: CONTRACT.parameters("theirs:Theirs.resize", "size", "self"), "takes (self, size), not (size, self)"),
        (lambda: CONTRACT.parameters("theirs:Theirs.resize", "self", "patience"), "now needs size"),
        (lambda: CONTRACT.fields("theirs:Theirs", "size", "count"), "theirs:Theirs has no field count"),
        (lambda: CONTRACT.uses("theirs:Theirs.resize", "grow"), "theirs:Theirs.resize does not use grow any more"),
        (lambda: CONTRACT.check([], "it is empty"), "it is empty"),
    ],
)
def test_what_has_moved_is_named(broken: Callable[[], object], moved: str) -> None:
    with pytest.raises(pytest.fail.Exception) as failure:
        broken()
    message = str(failure.value)
    assert moved in message
    assert message.startswith(f"Ray {ray.__version__}: ")
    assert message.endswith(". Breaks: runs stop. Mend: ours.py")
