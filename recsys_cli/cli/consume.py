"""recsys consume: events in, embeddings out."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated

import typer

from recsys_cli.cli import options, render
from recsys_cli.cli.signals import stopping_on_signals

if TYPE_CHECKING:
    from recsys_cli.pipeline.consume import ConsumeOptions, ConsumeReport
    from recsys_cli.wiring import Backends


def consume(
    batch_size: Annotated[
        int, typer.Option(min=1, max=10_000, help="Events to take, embed and store at once.")
    ] = 200,
    block_ms: Annotated[
        int, typer.Option(min=1, max=600_000, help="How long one wait for new events lasts.")
    ] = 2000,
    consumer_id: Annotated[
        str | None,
        typer.Option(
            help="This consumer's name in the group; worker-{host}-{pid} unless given.",
            show_default=False,
        ),
    ] = None,
    drain: Annotated[
        bool, typer.Option("--drain", help="Stop when nothing is left, for cron.")
    ] = False,
    max_events: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many events.", show_default=False)
    ] = None,
    max_deliveries: Annotated[
        int, typer.Option(min=1, max=1000, help="Tries before an event becomes a dead letter.")
    ] = 5,
    claim_idle_ms: Annotated[
        int,
        typer.Option(min=1, help="Take over events that a consumer has held for so long."),
    ] = 60_000,
    status_interval: Annotated[
        float,
        typer.Option(
            min=0.1,
            callback=options.a_number,
            metavar="SECONDS",
            help="Time between two status lines.",
        ),
    ] = 5.0,
    wait_visible: options.WaitVisible = False,
    redis: options.RedisUrl = None,
) -> None:
    """Turn events into embeddings and keep the index current, in the foreground.

    Ctrl-C and SIGTERM finish the batch in hand; a second one stops at once.
    """
    from recsys_cli.pipeline.consume import ConsumeOptions

    with options.backends(redis, claim_idle_ms=claim_idle_ms, wait_visible=wait_visible) as opened:
        how = ConsumeOptions(
            consumer=consumer_id or opened.settings.consumer_id,
            batch_size=batch_size,
            block_ms=block_ms,
            drain=drain,
            max_events=max_events,
            max_deliveries=max_deliveries,
            claim_idle_ms=claim_idle_ms,
            status_interval_s=status_interval,
        )
        stop = threading.Event()
        with stopping_on_signals(stop) as received:
            report = run_consume(opened, how, stop)
    if received:
        raise typer.Exit(128 + received[0])
    raise typer.Exit(3 if report.failed or report.dead or report.lost else 0)


def run_consume(
    opened: Backends, how: ConsumeOptions, stop: threading.Event | None = None
) -> ConsumeReport:
    """Consume, with one status line per interval and one at the end."""
    from recsys_cli.pipeline.consume import Consumer

    consumer = Consumer(
        opened.get_event_processor(),
        opened.get_catalog(),
        opened.get_generations(),
        opened.get_model_factory(),
        how,
        render.warning,
    )
    report = consumer.run(
        stop or threading.Event(), lambda report: render.notice(_status_line(report))
    )
    render.success(_status_line(report) + f", {report.seconds:.1f} s")
    _tell_what_is_left(report, how)
    return report


def _status_line(report: ConsumeReport) -> str:
    parts = [
        f"processed {render.number(report.processed)}",
        f"{render.number(report.rate)}/s",
        f"lag {render.number(report.lag)}",
        f"failed {render.number(report.failed + report.dead)}",
        f"embedded {render.number(report.embedded)}",
    ]
    for count, name in (
        (report.refreshed, "refreshed"),
        (report.removed, "removed"),
        (report.wordless, "without words"),
        (report.redelivered, "redelivered"),
        (report.lost, "lost"),
    ):
        if count:
            parts.append(f"{name} {render.number(count)}")
    return ", ".join(parts)


def _tell_what_is_left(report: ConsumeReport, how: ConsumeOptions) -> None:
    if how.drain and report.pending:
        render.warning(
            f"still pending, with another consumer or waiting for the next try: "
            f"{render.counted(report.pending, 'event')}; a later run takes over what is due "
            "(recsys pending)"
        )
    if report.dead:
        render.warning(f"{render.counted(report.dead, 'event')} given up (recsys dlq list)")
