"""The command line: what holds for all commands, and one handler for every error."""

from __future__ import annotations

import atexit
import gc
import sys
from typing import Annotated

import typer

from recsys_cli.cli import options, streams
from recsys_cli.cli.commands import Commands
from recsys_cli.errors import RecsysError, UsageError

app = typer.Typer(
    name="recsys",
    cls=Commands,
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
    EVENT_PROCESSOR_TYPE, CATALOG_TYPE and VECTOR_STORE_TYPE choose NATS, Supabase and Pinecone.
    """
    options.redis_for_all.set(redis)


def main() -> None:
    """Run the command line; every error of ours ends as one sentence and its exit code."""
    # At the end the interpreter would look through all objects for rubbish: a fifth of the time
    # of a short command, and nothing comes of it. Files and connections are closed by then.
    atexit.register(gc.freeze)
    streams.open_all()
    try:
        try:
            app(prog_name="recsys")
        except UnicodeEncodeError as error:
            # Lone surrogates stand for such bytes; recsys_cli.cleaning lets none of a feed pass.
            if error.reason != "surrogates not allowed":
                raise
            raise UsageError("an argument or a setting has bytes that are no UTF-8") from error
        finally:
            streams.finish()
    except RecsysError as error:
        from recsys_cli.cli import render

        render.error(error)
        sys.exit(error.exit_code)
