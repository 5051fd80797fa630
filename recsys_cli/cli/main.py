"""The command line: one module per command, one handler for every error."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from recsys_cli.cli import (
    backup,
    config,
    consume,
    demo,
    dlq,
    doctor,
    drift,
    evaluate,
    explain,
    group,
    import_feed,
    index,
    model,
    neighbors,
    options,
    product,
    reembed,
    render,
    similar,
    status,
)
from recsys_cli.errors import RecsysError

app = typer.Typer(
    name="recsys",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("recsys-cli"))  # noqa: T201
        raise typer.Exit


@app.callback(
    epilog="Exit codes: 0 done, 1 failed, 2 usage or settings, 3 done in part, 4 no such product "
    "or not embedded yet, 5 backend unreachable, 6 locked by another run, 130/143 interrupted."
)
def recsys(
    redis: options.RedisUrl = None,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Keep 'products like this one' true for a shop whose catalogue changes all day.

    With nothing configured everything lives in one embedded file; with any REDIS_*, in Redis.
    """
    options.redis_for_all.set(redis)


for command in (
    import_feed.import_,
    consume.consume,
    drift.drift,
    reembed.reembed,
    similar.similar,
    explain.explain,
    evaluate.evaluate,
    backup.export,
    backup.restore,
    backup.promote,
    status.lag,
    status.pending,
    status.health,
    doctor.doctor,
    demo.demo,
):
    app.command(name=command.__name__.rstrip("_"))(command)
app.add_typer(dlq.app)
app.add_typer(group.app)
app.add_typer(product.app)
app.add_typer(index.app)
app.add_typer(model.app)
app.add_typer(neighbors.app)
app.add_typer(config.app)


def main() -> None:
    """Run the command line; every error of ours ends as one sentence and its exit code."""
    try:
        app()
    except RecsysError as error:
        render.error(error)
        sys.exit(error.exit_code)
