"""What numba's cache on disk does not see by itself: the text of every module that is compiled into a cached function.

Numba looks at the age of the file that holds the cached function, and at no other. It does add the values of the
function's closure variables to the key, so a cached function is made inside a function that takes `source_key` of the
other modules. Only functions that are called from Python are cached: a cached callee would be read back stale.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType


def source_key(*modules: ModuleType) -> int:
    """A number that changes with the text of any of these modules."""
    texts = b"".join(Path(str(module.__file__)).read_bytes() for module in modules)
    return int.from_bytes(hashlib.sha256(texts).digest()[:7], "big")
