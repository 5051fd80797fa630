"""recsys group: the consumer groups of the stream."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys_cli.cli import options, render

app = typer.Typer(name="group", help="The consumer groups of the stream (recsys lag lists them).")


@app.callback()
def group() -> None:
    """Manage the consumer groups of the stream."""


@app.command()
def drop(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The group, as lag shows it.")],
    yes: options.Yes = False,
    redis: options.RedisUrl = None,
) -> None:
    """Drop a group that nobody uses any more, and the events that only it kept on the stream."""
    with options.backends(redis) as opened:
        options.confirm("drop", f"the group {name}", yes=yes)
        existed = opened.get_event_processor().drop_group(name)
    render.success(f"dropped the group {name}" if existed else f"there was no group {name}")
