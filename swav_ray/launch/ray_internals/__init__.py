"""Every name of Ray that the package uses and that Ray does not promise to keep. Nothing else imports one.

A module wraps one part of Ray behind plain functions or classes. Their docstrings say which name of Ray they wrap, in
which version it was read, and why there is no public way. Each has a contract test of the same name in
tests/launch/ray_internals/, which needs no cluster: it says what moved in Ray, what of ours breaks, and which file to
mend. A version of Ray whose contract tests pass may enter the range in pyproject.toml.
"""
