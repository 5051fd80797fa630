"""recsys neighbors: the neighbors of all products, for others to read."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recsys_cli.cli import options, render
from recsys_cli.cli.signals import exiting_on_signals
from recsys_cli.errors import MissingDependency, UsageError

if TYPE_CHECKING:
    from recsys_cli.generations import Generation
    from recsys_cli.pipeline.neighbor_files import Converter
    from recsys_cli.pipeline.neighbors import ExportOptions
    from recsys_cli.ports import NeighborSink
    from recsys_cli.wiring import Backends

app = typer.Typer(
    name="neighbors", help="The neighbors of all products at once.", no_args_is_help=True
)

MOST_WORKERS = 4


@app.callback()
def neighbors() -> None:
    """The neighbors of all products at once."""


@app.command()
def export(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to write; neighbors.FORMAT unless given.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        Literal["parquet", "csv", "jsonl", "redis"] | None,
        typer.Option("--format", help="As the file's name ends, unless given.", show_default=False),
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, max=1000, help="Neighbors of each.")] = 10,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Pages asked for at once.", show_default=False),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Compare all with all instead of asking the index.")
    ] = False,
    json: options.Json = False,
    redis: options.RedisUrl = None,
) -> None:
    """Write the closest products of every product, to a file or for one GET in Redis.

    A run that is interrupted goes on where it was when the same command is run again. The format
    redis sets product:neighbors:ID to JSON, for shops to read.
    """
    from recsys_cli.pipeline.neighbors import ExportOptions, export_neighbors

    chosen, path = _place(form, output)
    how = ExportOptions(k, workers or min(MOST_WORKERS, os.cpu_count() or 1), exact)
    convert = _converter(chosen)
    with options.backends(redis) as opened, exiting_on_signals(), render.progress("export") as bar:
        started = time.monotonic()

        def progress(done: int, total: int) -> None:
            rate = done / max(time.monotonic() - started, 1e-9)
            counts = f"{done:,} products, {rate:,.0f}/s, {max(0, total - done) / rate:,.0f} s left"
            bar.update(done=done, total=max(done, total), counts=counts, description="export")

        report = export_neighbors(
            opened.get_generations(),
            lambda generation: _sink(opened, generation, how, path, convert),
            how,
            progress,
        )
    facts = {
        "products": report.products,
        "taken_over": report.taken_over,
        "generation": report.generation,
        "seconds": round(report.seconds, 2),
        "written_to": str(path) if path else "product:neighbors:{id}",
    }
    if json:
        render.json_line(facts)
        return
    render.facts("neighbors", [(n.replace("_", " "), value) for n, value in facts.items()])


def _place(form: str | None, output: Path | None) -> tuple[str, Path | None]:
    if form == "redis":
        if output:
            raise UsageError("--format redis writes to Redis, so it takes no --output")
        return form, None
    chosen = form or (output.suffix[1:] if output else "jsonl")
    if chosen not in ("parquet", "csv", "jsonl"):
        raise UsageError(
            f"{output} is of no known format", hint="--format parquet, csv, jsonl or redis"
        )
    return chosen, output or Path(f"neighbors.{chosen}")


def _converter(form: str) -> Converter:
    from recsys_cli.pipeline import neighbor_files

    if form == "csv":
        return neighbor_files.as_csv
    if form != "parquet":
        return neighbor_files.as_json_lines
    try:
        from recsys_cli.feeds.parquet_out import write_neighbors
    except ImportError as error:
        raise MissingDependency(
            "the packages that write Parquet are not installed",
            hint="pip install 'recsys-cli[parquet]'",
        ) from error
    return lambda lists, path: write_neighbors(neighbor_files.rows_of(lists), path)


def _sink(
    opened: Backends,
    generation: Generation,
    how: ExportOptions,
    path: Path | None,
    convert: Converter,
) -> NeighborSink:
    from recsys_cli.pipeline.neighbor_files import NeighborFile, header_of

    header = header_of(opened.settings.vector_index_name, generation, how)
    if path is None:
        return opened.get_neighbor_sink(generation, str(header))
    return NeighborFile(path, header, convert)
