"""recsys model: embedding models, as files and in the catalog."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys_cli.cli import options, render
from recsys_cli.cli.reembed import (
    BatchSize,
    RateLimit,
    parse_rate,
    reembedding,
    run_reembed,
    show_reembedded,
)
from recsys_cli.cli.signals import exiting_on_signals
from recsys_cli.errors import UsageError

if TYPE_CHECKING:
    from recsys_cli.domain import FeedRow, RejectedRow
    from recsys_cli.ports import EmbeddingModel, ModelFactory

app = typer.Typer(
    name="model", help="Fit, list, use, export or import embedding models.", no_args_is_help=True
)

MODEL_COLUMNS = (
    render.Column("version", whole=True),
    render.Column("in use", whole=True),
    render.Column("generations", wraps=True),
    render.Column("kind"),
    render.Column("products", "right", whole=True),
    render.Column("size", "right", whole=True),
    render.Column("saved", wraps=True),
)

Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the model.")
]


@app.command()
def fit(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the model here instead of storing it in the catalog.",
            show_default=False,
        ),
    ] = None,
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
    """Fit a model on product files, or on the catalog, and store it in the catalog or a file.

    One pass in bounded memory. Nothing that is in use changes: recsys model use does that.
    """
    if bool(feeds) == from_catalog:
        raise UsageError(
            "give product files, or --from-catalog", hint="recsys model fit products.csv -o a.model"
        )
    from recsys_cli.domain import BEGINNING
    from recsys_cli.pipeline.models import fit_on_catalog

    with exiting_on_signals(), options.backends(redis) as opened:
        factory, catalog = opened.get_model_factory(), opened.get_catalog()
        if feeds:
            model, rejected = _fitted_on(feeds, factory)
            fitted_at = BEGINNING
        else:
            model, fitted_at = fit_on_catalog(opened.get_event_processor(), catalog, factory)
            rejected = 0
        if output is None:
            catalog.save_model(model.to_bytes(), fitted_at)
            _tell(model, "stored", json=json)
        else:
            _save(model, output, json=json)
    if rejected:
        render.warning(f"left out {render.counted(rejected, 'row')}: recsys import says why")
    raise typer.Exit(3 if rejected else 0)


@app.command(name="list")
def list_(json: options.Json = False, redis: options.RedisUrl = None) -> None:
    """List the models in the catalog, and which generations they serve."""
    from recsys_cli.pipeline.models import list_models

    with options.backends(redis) as opened:
        found = list_models(
            opened.get_catalog(), opened.get_generations(), opened.get_model_factory()
        )
    if json:
        for model in found:
            render.json_line(model)
        return
    render.table(
        MODEL_COLUMNS,
        [
            render.Row(
                [
                    model.version,
                    "in use" if model.is_in_use else "",
                    ", ".join(map(str, model.generations)),
                    model.kind,
                    render.number(model.products),
                    render.size(model.size_bytes),
                    render.ago(model.saved_at) if model.saved_at else "unknown",
                ]
            )
            for model in found
        ],
    )


@app.command()
def use(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="As recsys model list has it.")],
    batch_size: BatchSize = 500,
    rate_limit: RateLimit = None,
    redis: options.RedisUrl = None,
) -> None:
    """Let this model answer all queries from now on, and running consumers embed with it.

    What is embedded already is first embedded anew with it, as by recsys reembed, so that no query
    meets vectors of two models.
    """
    from recsys_cli.pipeline.fill import Pace
    from recsys_cli.pipeline.reembed import ReembedOptions

    with options.backends(redis) as opened:
        if reembedding(opened).use_model(version):
            render.success(f"model {version} is in use, and nothing had to be embedded anew")
            return
        pace = Pace(batch_size, parse_rate(rate_limit))
        done = run_reembed(opened, ReembedOptions(model_version=version, pace=pace))
    show_reembedded(done, json=False)
    raise typer.Exit(3 if done.refusals else 0)


@app.command(name="import")
def import_(
    model_file: Annotated[Path, typer.Argument(metavar="MODEL", help="A model's file.")],
    json: options.Json = False,
    redis: options.RedisUrl = None,
) -> None:
    """Store a model's file in the catalog. Nothing that is in use changes."""
    from recsys_cli.pipeline.model_file import read_artifact

    with options.backends(redis) as opened:
        model = opened.get_model_factory().load(read_artifact(model_file))
        opened.get_catalog().save_model(model.to_bytes())
    _tell(model, "stored", json=json)


@app.command()
def merge(
    files: Annotated[
        list[Path], typer.Argument(metavar="MODEL...", help="Models of parts of a catalog.")
    ],
    output: Output,
    json: options.Json = False,
) -> None:
    """Merge models that were fitted on parts into the one of the whole, to the byte."""
    from recsys_cli.pipeline.model_file import read_artifact
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
    from recsys_cli.pipeline.model_file import read_artifact
    from recsys_cli.pipeline.models import serving_artifact
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


def _fitted_on(files: list[str], factory: ModelFactory) -> tuple[EmbeddingModel, int]:
    from recsys_cli.pipeline.models import FeedProducts

    products = FeedProducts(_rows(files))
    return factory.fit(products), products.rejected


def _rows(files: list[str]) -> Iterator[FeedRow | RejectedRow]:
    from recsys_cli.feeds.reader import FeedOptions, open_feed

    for file in files:
        with open_feed(file, FeedOptions(), render.warning) as feed:
            yield from feed


def _save(model: EmbeddingModel, output: Path, *, json: bool) -> None:
    from recsys_cli.pipeline.model_file import save_artifact

    save_artifact(model.to_bytes(), output)
    _tell(model, f"wrote {output}:", json=json)


def _tell(model: EmbeddingModel, what: str, *, json: bool) -> None:
    if json:
        render.json_line(model.info)
        return
    products = render.counted(model.info.products, "product")
    size = render.size(model.info.size_bytes)
    render.success(f"{what} model {model.version}, fitted on {products}, {size}")


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
