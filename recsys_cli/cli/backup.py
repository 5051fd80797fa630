"""recsys export, restore, promote: catalog, model and vectors from one place to another."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recsys_cli.cli import options, render
from recsys_cli.cli.signals import exiting_on_signals
from recsys_cli.errors import MissingDependency, UsageError

if TYPE_CHECKING:
    from recsys_cli.backups import Backup
    from recsys_cli.pipeline.backup import Restored
    from recsys_cli.pipeline.backup_file import Reader, Writer
    from recsys_cli.wiring import Backends

Form = Annotated[
    Literal["jsonl", "parquet"] | None,
    typer.Option("--format", help="As the file's name ends, unless given.", show_default=False),
]
Replace = Annotated[
    bool,
    typer.Option("--replace", help="Let the products of the backup replace those of the same id."),
]


def export(
    backup_file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines or Parquet.")],
    form: Form = None,
    no_vectors: Annotated[bool, typer.Option("--no-vectors", help="Products only.")] = False,
    json: options.Json = False,
    redis: options.RedisUrl = None,
) -> None:
    """Write all products, the model and the vectors to a file, for recsys restore."""
    from recsys_cli.pipeline.backup import take_backup
    from recsys_cli.pipeline.backup_file import save

    _, write = _formats(form, backup_file)
    with options.backends(redis) as opened, exiting_on_signals(), render.progress("export") as bar:
        bar.say(str(backup_file))
        backup = take_backup(
            opened.get_catalog(),
            opened.get_generations(),
            opened.get_model_factory(),
            vectors=not no_vectors,
        )
        products = save(backup, backup_file, write)
    if json:
        render.json_line({"products": products, "model_version": backup.header.model_version})
    else:
        model = f", model {backup.header.model_version}" if backup.header.model_version else ""
        render.success(f"wrote {backup_file}: {render.counted(products, 'product')}{model}")


def restore(
    backup_file: Annotated[Path, typer.Argument(metavar="FILE", help="What recsys export wrote.")],
    form: Form = None,
    replace: Replace = False,
    json: options.Json = False,
    redis: options.RedisUrl = None,
) -> None:
    """Put a backup into the catalog, with its model and its vectors.

    Its products are published like any change, so what comes later wins. Interrupted, it is run
    again with --replace: what is there already is not published twice.
    """
    from recsys_cli.pipeline.backup import read_checked

    read, _ = _formats(form, backup_file)
    with options.backends(redis, wait_visible=True) as opened:
        done = _restored(opened, read_checked(backup_file, read), replace=replace)
    _show(done, json=json)


def promote(
    to: Annotated[str, typer.Option("--to", metavar="URL", help="The Redis to carry it over to.")],
    replace: Replace = False,
    json: options.Json = False,
    redis: options.RedisUrl = None,
) -> None:
    """Carry catalog, model and vectors over to Redis; there similar then gives the same answers."""
    from recsys_cli.pipeline.backup import take_backup

    if not to:
        raise UsageError("--to is empty", hint="recsys promote --to redis://host:6379/0")
    with options.backends(redis) as source, options.backends(to, only_redis=True) as target:
        if source.settings.describe() == target.settings.describe():
            raise UsageError("--to is where the catalog already is")
        status = source.get_event_processor().status()
        backup = take_backup(
            source.get_catalog(), source.get_generations(), source.get_model_factory()
        )
        done = _restored(target, backup, replace=replace)
    _show(done, json=json)
    if waiting := (status.lag or 0) + status.pending:
        render.warning(
            f"{render.counted(waiting, 'event')} waited at the source: "
            "what they changed is embedded by recsys consume at the target"
        )


def _restored(opened: Backends, backup: Backup, *, replace: bool) -> Restored:
    from recsys_cli.pipeline.backup import Restoring

    restoring = Restoring(
        opened.get_event_processor(),
        opened.get_catalog(),
        opened.get_generations(),
        opened.get_model_factory(),
    )
    started = time.monotonic()
    with exiting_on_signals(), render.progress("restore") as bar:

        def progress(done: Restored) -> None:
            rate = done.products / max(time.monotonic() - started, 1e-9)
            bar.say(f"{done.products:,} products, {rate:,.0f}/s")

        return restoring.restore(backup, replace=replace, progress=progress)


def _show(done: Restored, *, json: bool) -> None:
    facts = {
        "products": done.products,
        "unchanged": done.unchanged,
        "vectors": done.vectors,
    }
    if json:
        render.json_line(facts)
    else:
        render.facts("restored", [(name, render.number(count)) for name, count in facts.items()])
    if not done.carries_vectors:
        render.warning("another model is in use here, or none came along: recsys consume embeds")
    elif done.vectors < done.products:
        left = done.products - done.vectors
        render.notice(f"without a vector: {render.counted(left, 'product')}; recsys consume embeds")


def _formats(form: str | None, file: Path) -> tuple[Reader, Writer]:
    from recsys_cli.pipeline.backup_file import read_json_lines, write_json_lines

    chosen = form or file.suffix[1:]
    if chosen == "jsonl":
        return read_json_lines, write_json_lines
    if chosen != "parquet":
        raise UsageError(f"{file} is of no known format", hint="--format jsonl, or parquet")
    try:
        from recsys_cli.feeds.parquet_backup import read_parquet, write_parquet
    except ImportError as error:
        raise MissingDependency(
            "the packages that read and write Parquet are not installed",
            hint="pip install 'recsys-cli[parquet]'",
        ) from error
    return read_parquet, write_parquet
