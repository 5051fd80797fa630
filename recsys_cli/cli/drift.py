"""recsys drift: whether the model in use is still the catalog's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from recsys_cli.cli import options, render
from recsys_cli.cli.signals import exiting_on_signals

if TYPE_CHECKING:
    from recsys_cli.pipeline.drift import Drift
    from recsys_cli.wiring import Backends

Thresholds = Annotated[
    list[str] | None,
    typer.Option(
        "--threshold",
        metavar="NAME=VALUE",
        help="Stale beyond unknown_words=0.05, growth=0.2, zero_vectors=0.05, or below "
        "overlap=0.8, unless given; repeatable.",
        show_default=False,
    ),
]


def drift(
    threshold: Thresholds = None,
    sample: Annotated[
        int, typer.Option(min=1, max=100_000, help="Products whose neighbors are compared.")
    ] = 500,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="Neighbors that count.")] = 10,
    json: options.Json = False,
    redis: options.RedisUrl = None,
) -> None:
    """Say how far the catalog has moved away from the model in use; exit with 3 if too far.

    So recsys drift || recsys reembed re-embeds when it is due.
    """
    from recsys_cli.pipeline.drift import parse_thresholds

    limits = parse_thresholds(threshold or [])
    with options.backends(redis) as opened:
        found = run_drift(opened, sample, k)
    if json:
        render.json_line(found)
    else:
        _show(found, limits)
    crossed = found.crossed(limits)
    for sentence in crossed:
        render.warning(sentence)
    raise typer.Exit(3 if crossed else 0)


def run_drift(opened: Backends, sample: int = 500, k: int = 10) -> Drift:
    from recsys_cli.pipeline.drift import measure_drift
    from recsys_cli.pipeline.recall import Sample

    with exiting_on_signals(), render.progress("drift") as bar:
        return measure_drift(
            opened.get_catalog(),
            opened.get_generations(),
            opened.get_model_factory(),
            Sample(products=sample, k=k),
            bar.say,
        )


def _show(found: Drift, limits: dict[str, float]) -> None:
    columns = [
        render.Column("figure", whole=True),
        render.Column("value", "right", whole=True),
        render.Column("stale", "right", whole=True),
    ]
    rows = [
        render.Row(["model", found.model_version, ""]),
        render.Row(["products", render.number(found.products), ""]),
        render.Row(["changed since the fit", render.number(found.changed_products), ""]),
    ]
    for name, limit in limits.items():
        value = getattr(found, name)
        shown = "does not apply" if value is None else f"{value:.4f}"
        rows.append(render.Row([name, shown, f"{'<' if name == 'overlap' else '>'} {limit:g}"]))
    render.table(columns, rows, title="drift")
