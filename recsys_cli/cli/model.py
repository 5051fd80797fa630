"""recsys model: embedding models as files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys_cli.cli import options, render
from recsys_cli.cli.signals import exiting_on_signals
from recsys_cli.errors import UsageError

if TYPE_CHECKING:
    from recsys_cli.domain import FeedRow, RejectedRow
    from recsys_cli.ports import EmbeddingModel

app = typer.Typer(
    name="model", help="Fit, merge, export or inspect embedding models.", no_args_is_help=True
)

Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the model.")
]


@app.command()
def fit(
    output: Output,
    feeds: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]...", help="Product files, as for recsys import."),
    ] = None,
    from_catalog: Annotated[
        bool, typer.Option("--from-catalog", help="Fit on the products of the catalog.")
    ] = False,
    json: options.Json = False,
    redis: options.RedisUrl = None,
) -> None:
    """Fit a model on product files, or on the catalog, into a file.

    One pass in bounded memory. Nothing that is in use changes.
    """
    if bool(feeds) == from_catalog:
        raise UsageError(
            "give product files, or --from-catalog", hint="recsys model fit products.csv -o a.model"
        )
    with exiting_on_signals():
        if feeds:
            model, rejected = _fitted_on(feeds, redis)
        else:
            with options.backends(redis) as opened:
                model = opened.get_model_factory().fit(opened.get_catalog().products())
            rejected = 0
    _save(model, output, json=json)
    if rejected:
        render.warning(f"left out {render.counted(rejected, 'row')}: recsys import says why")
    raise typer.Exit(3 if rejected else 0)


@app.command()
def merge(
    files: Annotated[
        list[Path], typer.Argument(metavar="MODEL...", help="Models of parts of a catalog.")
    ],
    output: Output,
    json: options.Json = False,
) -> None:
    """Merge models that were fitted on parts into the one of the whole, to the byte."""
    from recsys_cli.pipeline.models import read_artifact
    from recsys_cli.wiring import Backends

    factory = Backends(options.settings_for(None)).get_model_factory()
    _save(factory.merge([read_artifact(path) for path in files]), output, json=json)


@app.command()
def export(output: Output, json: options.Json = False, redis: options.RedisUrl = None) -> None:
    """Write the model in use to a file."""
    from recsys_cli.pipeline.models import serving_artifact

    with options.backends(redis) as opened:
        artifact = serving_artifact(opened.get_catalog(), opened.get_generations())
        model = opened.get_model_factory().load(artifact)
    _save(model, output, json=json)


@app.command()
def info(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[MODEL]", help="A model's file; without it, the model in use."),
    ] = None,
    json: options.Json = False,
    redis: options.RedisUrl = None,
) -> None:
    """Show what a model is."""
    from recsys_cli.pipeline.models import read_artifact, serving_artifact
    from recsys_cli.wiring import Backends

    if file is not None:
        factory = Backends(options.settings_for(redis)).get_model_factory()
        _show(factory.load(read_artifact(file)), str(file), json=json)
        return
    with options.backends(redis) as opened:
        model = opened.get_model_factory().load(
            serving_artifact(opened.get_catalog(), opened.get_generations())
        )
    _show(model, "the model in use", json=json)


def _fitted_on(files: list[str], redis: str | None) -> tuple[EmbeddingModel, int]:
    from recsys_cli.pipeline.models import FeedProducts
    from recsys_cli.wiring import Backends

    products = FeedProducts(_rows(files))
    factory = Backends(options.settings_for(redis)).get_model_factory()
    return factory.fit(products), products.rejected


def _rows(files: list[str]) -> Iterator[FeedRow | RejectedRow]:
    from recsys_cli.feeds.reader import FeedOptions, open_feed

    for file in files:
        with open_feed(file, FeedOptions(), render.warning) as feed:
            yield from feed


def _save(model: EmbeddingModel, output: Path, *, json: bool) -> None:
    from recsys_cli.pipeline.models import save_artifact

    save_artifact(model.to_bytes(), output)
    if json:
        render.json_line(model.info)
        return
    products = render.counted(model.info.products, "product")
    size = render.size(model.info.size_bytes)
    render.success(f"wrote {output}: model {model.version}, fitted on {products}, {size}")


def _show(model: EmbeddingModel, title: str, *, json: bool) -> None:
    found = model.info
    if json:
        render.json_line(found)
        return
    render.facts(
        title,
        [
            ("kind", found.kind),
            ("version", found.version),
            ("dimension", found.dimension),
            ("fitted on", render.counted(found.products, "product")),
            ("size", render.size(found.size_bytes)),
            ("options", ", ".join(found.options) or "none"),
        ],
    )
