"""What a command was given about a product: where it cannot be, the command line is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from recsys_cli.cleaning import clean_id
from recsys_cli.errors import InvalidProduct, UsageError


@contextmanager
def arguments() -> Iterator[None]:
    """Raise UsageError for what cannot be a product, where a row of a feed would be rejected."""
    try:
        yield
    except InvalidProduct as error:
        raise UsageError(str(error), hint=error.hint) from error


def given_id(argument: str) -> str:
    """Return the id that was meant. Raises UsageError where it cannot be one."""
    try:
        return clean_id(argument)
    except InvalidProduct as error:
        raise UsageError(f"not a product id: {error}") from error
