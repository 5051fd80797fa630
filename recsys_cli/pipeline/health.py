"""Whether the backends answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from recsys_cli.domain import Health
from recsys_cli.errors import BackendRefused, BackendUnavailable, RecsysError


class Checked(NamedTuple):
    """One part; ``error`` is why it does not answer."""

    health: Health
    error: RecsysError | None = None


def check_health(parts: Mapping[str, Callable[[], Health]]) -> list[Checked]:
    """Ask every part, also where others do not answer."""
    return [_checked(part, ask) for part, ask in parts.items()]


def _checked(part: str, ask: Callable[[], Health]) -> Checked:
    try:
        return Checked(ask())
    except (BackendUnavailable, BackendRefused) as error:
        return Checked(Health(part=part, address="", version="", details=str(error)), error)
