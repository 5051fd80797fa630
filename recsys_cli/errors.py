"""Every error that a user can meet, and the exit code it ends with.

    RecsysError                     1  failed
    ├── UsageError                  2  the command line cannot be carried out as written
    │   └── MissingDependency       2  an optional package is not installed
    ├── SettingsError               2  a setting has no usable value
    ├── FeedError                   1  a file cannot be read at all
    ├── InvalidProduct              1  one row or one event cannot be a product
    ├── InvalidEvent                1  an entry of the stream is no event
    ├── InvalidModel                1  a model artifact is damaged or from another version
    ├── IndexMissing                1  there is no index to search
    ├── IndexMismatch               1  the index exists with another schema
    ├── NotOurFile                  1  the embedded file is foreign, damaged, or newer
    ├── OutputFailed                1  stdout takes no more
    ├── NotFound                    4
    │   ├── ProductNotFound         4  the catalog knows no such product
    │   ├── DeadLetterNotFound      4  there is no dead letter of this id
    │   ├── ModelNotFound           4  the catalog has no embedding model of this version
    │   ├── GenerationNotFound      4  no such generation of the index is kept
    │   └── NotEmbedded             4  the catalog knows it, the index does not (yet)
    ├── BackendUnavailable          5  no answer: waiting and trying again may help
    ├── BackendRefused              5  an answer that says no: password, permission, missing module
    │   └── EventsTooLarge          5  the stream takes no events of this size
    └── LockHeld                    6  another run holds the lock

A message is a sentence that says what failed and with which value. A hint, where there is one, is
the command or setting to try next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class RecsysError(Exception):
    """The root. ``str(error)`` is one sentence for the user; ``hint`` is what to try next."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(RecsysError):
    exit_code = 2


class MissingDependency(UsageError):
    pass


class SettingsError(RecsysError):
    exit_code = 2


class FeedError(RecsysError):
    pass


class InvalidProduct(RecsysError):
    pass


class InvalidEvent(RecsysError):
    def __init__(self, message: str, *, cause: str = "undecodable", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.cause = cause


class InvalidData(RecsysError):
    pass


class GroupMissing(RecsysError):
    pass


class InvalidModel(RecsysError):
    pass


class IndexMissing(RecsysError):
    pass


class IndexMismatch(RecsysError):
    pass


class NotOurFile(RecsysError):
    pass


class OutputFailed(RecsysError):
    pass


class NotFound(RecsysError):
    exit_code = 4


class ProductNotFound(NotFound):
    pass


class DeadLetterNotFound(NotFound):
    pass


class ModelNotFound(NotFound):
    pass


class GenerationNotFound(NotFound):
    pass


class NotEmbedded(NotFound):
    pass


class BackendUnavailable(RecsysError):
    exit_code = 5


class BackendRefused(RecsysError):
    exit_code = 5


class EventsTooLarge(BackendRefused):
    """``places``: which of the events; none of the others has been published."""

    def __init__(self, message: str, *, places: Sequence[int], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.places = places


class LockHeld(RecsysError):
    exit_code = 6
