"""What the commands share: the backend options, and opening what they choose."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import isnan
from typing import TYPE_CHECKING, Annotated

import typer

from recsys_cli.errors import UsageError

if TYPE_CHECKING:
    from recsys_cli.settings import Settings
    from recsys_cli.wiring import Backends

RedisUrl = Annotated[
    str | None,
    typer.Option(
        "--redis",
        metavar="URL",
        help="Use the Redis at this URL (redis://, rediss://, unix://) instead of the settings.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

Attributes = Annotated[
    list[str] | None,
    typer.Option(
        "--attribute",
        metavar="NAME",
        help="An attribute to filter neighbors by (recsys similar --where); repeatable.",
        show_default=False,
    ),
]

WaitVisible = Annotated[
    bool, typer.Option("--wait-visible", help="Wait until Pinecone shows what was written.")
]


def a_number(value: float | None) -> float | None:
    """Refuse nan, which is within all bounds of an option."""
    if value is not None and isnan(value):
        raise typer.BadParameter("nan is not a number.")
    return value


redis_for_all: ContextVar[str | None] = ContextVar("redis_for_all", default=None)
"""The --redis given before the command's name."""


@contextmanager
def backends(
    redis: str | None,
    *,
    home: str | None = None,
    claim_idle_ms: int = 60_000,
    only_redis: bool = False,
    wait_visible: bool = False,
) -> Iterator[Backends]:
    """Open the configured backends, and say on stderr which they are.

    ``only_redis``: all of them in that Redis, whatever else is set. ``wait_visible``: where the
    vector store shows only after a while what was written, wait for it.
    """
    from recsys_cli.cli import render
    from recsys_cli.wiring import Backends

    settings = settings_for(redis, home=home, only_redis=only_redis, wait_visible=wait_visible)
    render.notice(settings.describe())
    for warning in settings.warnings():
        render.warning(warning)
    with Backends(settings, claim_idle_ms=claim_idle_ms) as opened:
        yield opened


def confirm(verb: str, what: str, *, yes: bool) -> None:
    """Ask before something is gone for good. Raises UsageError where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"to {verb} {what} without being asked, say --yes")
    typer.confirm(f"{verb.capitalize()} {what}?", abort=True, err=True)


def settings_for(
    redis: str | None,
    *,
    home: str | None = None,
    only_redis: bool = False,
    wait_visible: bool = False,
) -> Settings:
    """Load the settings under the command's flags."""
    from recsys_cli.settings import load

    flags: dict[str, object] = {
        "redis_url": redis or redis_for_all.get(),
        "recsys_home": home,
        "pinecone_wait_visible": wait_visible or None,
    }
    if only_redis:
        names = ("event_processor_type", "catalog_type", "vector_store_type")
        flags |= dict.fromkeys(names, "redis")
    return load(flags)
