"""recsys evaluate: how often the true matches are found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys_cli.cli import options, render
from recsys_cli.errors import UsageError

if TYPE_CHECKING:
    from recsys_cli.pipeline.evaluate import Evaluation, Ranked, Truth
    from recsys_cli.wiring import Backends

LIVE, ACTIVE = "live", "active"


def evaluate(
    pairs: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Known matches: two ids a line, as CSV or TSV; each is asked for the other.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD",
            help="Products with the same value match: category, or an attribute.",
            show_default=False,
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="Neighbors that count.")] = 10,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="What to evaluate: live (the index), active (the model in use, searched "
            "exactly), or a model's file; repeat it to see them side by side.  [default: live]",
            show_default=False,
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="Ask so many, drawn always alike.", show_default=False),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save the figures.", show_default=False)
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Show saved figures beside.", show_default=False),
    ] = None,
    fail_below: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=VALUE", help="Exit with 3 below this; repeatable.", show_default=False
        ),
    ] = None,
    json: options.Json = False,
    redis: options.RedisUrl = None,
) -> None:
    """Measure how often the true matches are among the neighbors."""
    from recsys_cli.pipeline.evaluate import Sample, crossed, read_saved, save_evaluations
    from recsys_cli.pipeline.evaluate import evaluate as run

    if (pairs is None) == (by is None):
        raise UsageError("give --pairs FILE or --by FIELD", hint="recsys evaluate --by category")
    floors = _floors(fail_below or [], k)
    earlier = read_saved(against) if against else []
    found: list[Evaluation] = []
    with options.backends(redis) as opened, render.progress("evaluate") as bar:
        truth = _truth(opened, pairs, by)
        for chosen in models or [LIVE]:
            ranked = _ranked(opened, chosen, by)

            def show(done: int, total: int, name: str = ranked.name) -> None:
                counts = f"{done:,} of {total:,}"
                bar.update(done=done, total=total, counts=counts, description=name)

            found.append(run(ranked, truth, Sample(k, sample), show))
    if save:
        save_evaluations(found, save)
    if json:
        render.json_line({"evaluations": [*earlier, *found]})
    else:
        _show([*earlier, *found])
    problems = [sentence for evaluation in found for sentence in crossed(evaluation, floors)]
    for sentence in problems:
        render.warning(sentence)
    raise typer.Exit(3 if problems else 0)


def _floors(wanted: list[str], k: int) -> dict[str, float]:
    from recsys_cli.pipeline.evaluate import metric_names

    floors = {}
    for text in wanted:
        name, _, value = text.partition("=")
        try:
            floors[name] = float(value)
        except ValueError:
            raise UsageError(
                f"--fail-below {text}: not METRIC=VALUE", hint=f"--fail-below recall@{k}=0.9"
            ) from None
        if name not in metric_names(k):
            raise UsageError(
                f"--fail-below {text}: no such metric; with -k {k} there are "
                + ", ".join(metric_names(k))
            )
    return floors


def _truth(opened: Backends, pairs: str | None, by: str | None) -> Truth:
    from recsys_cli.feeds.pairs import read_pairs
    from recsys_cli.pipeline.evaluate import Pairs, SameValue

    if by is not None:
        return SameValue(by, opened.get_catalog())
    return Pairs(read_pairs(pairs or "", render.warning), opened.get_catalog())


def _ranked(opened: Backends, chosen: str, by: str | None) -> Ranked:
    from recsys_cli.pipeline.evaluate import Embedded, LiveIndex
    from recsys_cli.pipeline.model_file import read_artifact
    from recsys_cli.pipeline.models import serving_artifact

    catalog, factory = opened.get_catalog(), opened.get_model_factory()
    generations = opened.get_generations()
    if chosen == LIVE:
        if by is not None:
            render.notice(f"the live index may know {by} itself; --model active leaves it out")
        model = factory.load(serving_artifact(catalog, generations))
        return LiveIndex(catalog, opened.get_vector_store(), model)
    artifact = (
        serving_artifact(catalog, generations) if chosen == ACTIVE else read_artifact(Path(chosen))
    )
    return Embedded(chosen, catalog, factory.load(artifact), left_out=by)


def _show(found: list[Evaluation]) -> None:
    columns = [render.Column("metric", whole=True)]
    for number, evaluation in enumerate(found):
        columns.append(render.Column(evaluation.name, "right", whole=True))
        if number:
            columns.append(render.Column("+/-", "right", whole=True))
    names = dict.fromkeys(name for evaluation in found for name in evaluation.values)
    rows = [render.Row([name, *_values(found, name)]) for name in names]
    for label, field in (
        ("queries", "queries"),
        ("not embedded", "missing"),
        ("products", "products"),
        ("zero vectors", "zero_vectors"),
    ):
        rows.append(render.Row([label, *_counts(found, field)], is_dim=True))
    render.table(columns, rows, title="evaluation")
    for evaluation in found:
        if evaluation.missing:
            render.warning(
                f"{evaluation.name}: {evaluation.missing:,} of {evaluation.queries:,} queries have "
                "no embedding; they count as misses"
            )


def _values(found: list[Evaluation], name: str) -> list[str]:
    """Return the cells of a metric: each figure, from the second on with its lead on the first."""
    first = found[0].values.get(name)
    cells = []
    for number, evaluation in enumerate(found):
        value = evaluation.values.get(name)
        cells.append("" if value is None else f"{value:.4f}")
        if number:
            cells.append("" if value is None or first is None else f"{value - first:+.4f}")
    return cells


def _counts(found: list[Evaluation], field: str) -> list[str]:
    cells = [""] * (2 * len(found) - 1)
    cells[0] = render.number(getattr(found[0], field))
    cells[1::2] = [render.number(getattr(evaluation, field)) for evaluation in found[1:]]
    return cells
