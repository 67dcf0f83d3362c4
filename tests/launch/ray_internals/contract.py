"""What a contract test says when a name of Ray has moved: what moved, what of ours breaks, which file to mend."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from dataclasses import dataclass
from typing import Any

import pytest
import ray


@dataclass(frozen=True)
class Contract:
    """What one module of swav_ray/launch/ray_internals needs of Ray.

    Args:
        mend: the module's path in the repository.
        breaks: what a run can no longer do if the contract is broken.
    """

    mend: str
    breaks: str

    def moved(self, what: str) -> None:
        """Fails."""
        pytest.fail(f"Ray {ray.__version__}: {what}. Breaks: {self.breaks}. Mend: {self.mend}", pytrace=False)

    def check(self, holds: object, what: str) -> None:
        """Fails with `what` unless `holds`."""
        if not holds:
            self.moved(what)

    def name(self, path: str) -> Any:
        """The object at `module:name.name`."""
        module, _, names = path.partition(":")
        try:
            found: Any = importlib.import_module(module)
        except ImportError as error:
            self.moved(f"module {module} cannot be imported ({error})")
        for name in names.split("."):
            if not hasattr(found, name):
                self.moved(f"{path} is gone: no {name!r} there")
            found = getattr(found, name)
        return found

    def parameters(self, path: str, *names: str) -> None:
        """The callable at `path` takes these parameters, in this order; others only if they have a default."""
        found = inspect.signature(self.name(path)).parameters
        given = [found[name] for name in names if name in found]
        missing = [name for name in names if name not in found]
        self.check(not missing, f"{path} has no parameter {', '.join(missing)}; it takes ({', '.join(found)})")
        order = [name for name in found if name in names]
        self.check(order == list(names), f"{path} takes ({', '.join(order)}), not ({', '.join(names)})")
        optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        needed = [
            parameter.name
            for parameter in found.values()
            if parameter not in given and parameter.default is parameter.empty and parameter.kind not in optional
        ]
        self.check(set(needed) <= {"self"}, f"{path} now needs {', '.join(needed)}")

    def fields(self, path: str, *names: str) -> None:
        """The dataclass at `path` has these fields."""
        found = [field.name for field in dataclasses.fields(self.name(path))]
        missing = [name for name in names if name not in found]
        self.check(not missing, f"{path} has no field {', '.join(missing)}")

    def uses(self, path: str, *names: str) -> None:
        """The code of the function at `path` reads these names or attributes."""
        found = inspect.unwrap(self.name(path)).__code__
        read = {*found.co_names, *found.co_varnames, *found.co_freevars}
        missing = [name for name in names if name not in read]
        self.check(not missing, f"{path} does not use {', '.join(missing)} any more")
