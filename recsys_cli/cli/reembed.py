"""recsys reembed: a new generation of embeddings, while the old one serves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from recsys_cli.cli import options, render
from recsys_cli.cli.drift import Thresholds, run_drift
from recsys_cli.cli.signals import exiting_on_signals
from recsys_cli.errors import UsageError

if TYPE_CHECKING:
    from recsys_cli.pipeline.fill import Filled
    from recsys_cli.pipeline.reembed import Reembedded, Reembedding, ReembedOptions
    from recsys_cli.wiring import Backends

BatchSize = Annotated[
    int, typer.Option(min=1, max=10_000, help="Products to take, embed and store at once.")
]
RateLimit = Annotated[
    str | None,
    typer.Option(
        metavar="N/s", help="Take no more than so many products a second.", show_default=False
    ),
]


def reembed(
    if_stale: Annotated[
        bool, typer.Option("--if-stale", help="Only if recsys drift would exit with 3.")
    ] = False,
    threshold: Thresholds = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            help="Use this stored model instead of fitting one on the catalog.",
            show_default=False,
        ),
    ] = None,
    batch_size: BatchSize = 500,
    rate_limit: RateLimit = None,
    m: Annotated[
        int | None,
        typer.Option("--m", min=2, max=512, help="HNSW links per node.", show_default=False),
    ] = None,
    ef_construction: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="Candidates while building.", show_default=False),
    ] = None,
    ef_runtime: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="Candidates while searching.", show_default=False),
    ] = None,
    attribute: options.Attributes = None,
    keep: Annotated[
        int, typer.Option(min=0, max=100, help="Earlier generations to keep for a rollback.")
    ] = 1,
    min_recall: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            callback=options.a_number,
            help="Refuse an index that finds less than this.",
        ),
    ] = 0.95,
    min_overlap: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            callback=options.a_number,
            help="Refuse when fewer neighbors stay the same.",
        ),
    ] = 0.3,
    max_zero_vectors: Annotated[
        float,
        typer.Option(
            min=0, max=1, callback=options.a_number, help="Refuse when more products have no words."
        ),
    ] = 0.05,
    json: options.Json = False,
    redis: options.RedisUrl = None,
) -> None:
    """Embed the whole catalog anew beside the serving generation, check it, and let it serve.

    Queries go on being answered by the old generation, and consumers write to both, until the new
    one takes its place in one step. Killed at any point, the old one serves on and the next run
    goes on with the new one. What is not given of the index stays as it is.
    """
    from recsys_cli.pipeline.drift import parse_thresholds
    from recsys_cli.pipeline.fill import Pace
    from recsys_cli.pipeline.readiness import Limits
    from recsys_cli.pipeline.reembed import ReembedOptions, declared

    parameters = {
        "m": m,
        "ef_construction": ef_construction,
        "ef_runtime": ef_runtime,
        "attributes": declared(attribute) if attribute else None,
    }
    how = ReembedOptions(
        model_version=model,
        parameters={name: value for name, value in parameters.items() if value is not None},
        pace=Pace(batch_size, parse_rate(rate_limit)),
        limits=Limits(
            min_recall=min_recall, min_overlap=min_overlap, max_zero_vectors=max_zero_vectors
        ),
        keep=keep,
    )
    limits = parse_thresholds(threshold or [])
    # What was filled is looked at before it serves.
    with options.backends(redis, wait_visible=True) as opened:
        if if_stale and not (found := run_drift(opened)).crossed(limits):
            render.success(f"model {found.model_version} is not stale: nothing to do")
            return
        done = run_reembed(opened, how)
    show_reembedded(done, json=json)
    raise typer.Exit(3 if done.refusals else 0)


def parse_rate(text: str | None) -> float | None:
    """Read ``500/s`` or ``500``. Raises UsageError."""
    if text is None:
        return None
    try:
        rate = float(text.removesuffix("/s"))
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise UsageError(f"--rate-limit is {text!r}: it must be products a second, such as 500/s")
    return rate


def reembedding(opened: Backends) -> Reembedding:
    from recsys_cli.pipeline.reembed import Reembedding

    return Reembedding(
        opened.get_event_processor(),
        opened.get_catalog(),
        opened.get_generations(),
        opened.get_model_factory(),
    )


def run_reembed(opened: Backends, how: ReembedOptions) -> Reembedded:
    """Re-embed under a progress bar."""
    with exiting_on_signals(), render.progress("re-embed") as bar:
        return reembedding(opened).run(how, Filling(bar, "re-embed"))


class Filling:
    """Shows how far a generation is filled, how fast, and when it will be done."""

    def __init__(self, bar: render.ProgressBar, what: str) -> None:
        self._bar = bar
        self._what = what
        self._started = time.monotonic()

    def __call__(self, done: Filled, expected: int) -> None:
        rate = done.products / max(time.monotonic() - self._started, 1e-9)
        left = max(0, expected - done.products) / max(rate, 1e-9)
        self._bar.update(
            done=done.products,
            total=max(expected, done.products),
            counts=f"{done.products:,} products, {rate:,.0f}/s, {left:,.0f} s left",
            description=self._what,
        )


def show_reembedded(done: Reembedded, *, json: bool) -> None:
    """Print one line, as for the mail that cron sends, and on stderr what speaks against it."""
    for refusal in done.refusals:
        render.warning(f"refused: {refusal}")
    if json:
        render.json_line(
            {
                "generation": done.after.number,
                "serves": not done.refusals,
                "model_version": done.after.model_version,
                "previous_model_version": done.before.model_version,
                "products": done.filled.products,
                "written": done.filled.written,
                "recall": done.readiness.recall,
                "overlap": done.readiness.overlap,
                "zero_vectors": done.readiness.zero_vectors,
                "resumed": done.resumed,
                "refusals": done.refusals,
                "seconds": round(done.seconds, 3),
            }
        )
        return
    overlap = "" if done.readiness.overlap is None else f", overlap {done.readiness.overlap:.2f}"
    what = (
        f"generation {done.before.number} serves on"
        if done.refusals
        else f"generation {done.after.number} serves"
    )
    render.line(
        f"{what}: {done.filled.products:,} products, {done.filled.written:,} embedded"
        f"{' after an interrupted run' if done.resumed else ''}, "
        f"model {done.after.model_version} after {done.before.model_version or 'none'}, "
        f"recall {done.readiness.recall:.4f}{overlap}, {done.seconds:.1f} s"
    )
