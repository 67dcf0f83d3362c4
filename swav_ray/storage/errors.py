"""What storage raises. Importing it loads no S3 client."""

from __future__ import annotations


class PlaceError(ValueError):
    """A place that cannot be what it is used as: the message, one line, names what is wrong and what would be right."""


class StorageUnavailable(OSError):
    """The storage as a whole cannot be used (no answer, no valid credentials): not the fault of one object."""


class CredentialsError(StorageUnavailable):
    """There are no credentials, or they are not accepted."""


class SettingsError(StorageUnavailable, PlaceError):
    """No client can be made from the AWS_* variables and files: a user's mistake, and not the fault of one object."""


class NoConditionalWrites(RuntimeError):
    """A server that says that it cannot write an object on condition of its version; writes without one may work."""
