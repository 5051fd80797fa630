"""recsys lag, pending, health: what is waiting, stuck, reachable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from recsys_cli.cli import options, render
from recsys_cli.errors import BackendUnavailable

if TYPE_CHECKING:
    from recsys_cli.domain import GroupStatus, Health, StreamStatus


def lag(json: options.Json = False, redis: options.RedisUrl = None) -> None:
    """Show how far the consumer group is behind, and what each consumer holds."""
    with options.backends(redis) as opened:
        status = opened.get_event_processor().status()
    if json:
        render.json_line(status)
        return
    oldest = render.duration_ms(status.oldest_pending_ms) if status.pending else "none"
    render.facts(
        "lag",
        [
            ("stream", status.stream),
            ("stream length", render.number(status.length)),
            ("group", status.group),
            ("not yet delivered", render.number(status.lag)),
            ("pending", render.number(status.pending)),
            ("oldest pending", oldest),
            ("dead letters", render.number(status.dead_letters)),
        ],
    )
    if status.consumers:
        _consumers(status)
    if len(status.groups) > 1:
        _groups(status)


def _consumers(status: StreamStatus) -> None:
    columns = [
        render.Column("consumer", whole=True),
        render.Column("pending", "right", whole=True),
        render.Column("idle", "right", whole=True),
    ]
    rows = [
        render.Row([c.name, render.number(c.pending), render.duration_ms(c.idle_ms)])
        for c in status.consumers
    ]
    render.table(columns, rows, title="consumers")


def _groups(status: StreamStatus) -> None:
    columns = [
        render.Column("group", whole=True),
        render.Column("not yet delivered", "right", whole=True),
        render.Column("pending", "right", whole=True),
        render.Column("idle", "right", whole=True),
    ]
    rows = [
        render.Row(
            [
                g.name,
                render.number(g.lag),
                render.number(g.pending),
                _idle(g),
            ]
        )
        for g in status.groups
    ]
    render.table(columns, rows, title="groups of the stream")
    for g in status.groups:
        if g.seems_unused and g.name != status.group:
            idle = "has no consumers now" if g.idle_ms is None else "has read nothing for long"
            render.warning(
                f"the group {g.name} {idle}, and keeps {render.number(g.lag)} events on the "
                f"stream; if it is not needed any more: recsys group drop {g.name}"
            )


def _idle(group: GroupStatus) -> str:
    if group.pending is None:
        return "cannot be asked now"
    return "no consumers" if group.idle_ms is None else render.duration_ms(group.idle_ms)


def pending(
    min_idle: Annotated[
        int, typer.Option(metavar="MS", min=0, help="Only those idle for so long.")
    ] = 0,
    count: Annotated[int, typer.Option(min=1, max=100_000, help="How many to show.")] = 50,
    consumer: Annotated[
        str | None, typer.Option(help="Only those of this consumer.", show_default=False)
    ] = None,
    json: options.Json = False,
    redis: options.RedisUrl = None,
) -> None:
    """Show the events that were delivered and not acknowledged, the oldest first."""
    with options.backends(redis) as opened:
        stream = opened.get_event_processor()
        events = stream.pending(count, min_idle_ms=min_idle, consumer=consumer)
        unnamed = 0 if events or min_idle or consumer else stream.status().pending
    if json:
        for event in events:
            render.json_line(event)
        return
    columns = [
        render.Column("entry", whole=True),
        render.Column("product_id", whole=True),
        render.Column("event"),
        render.Column("consumer", whole=True),
        render.Column("idle", "right", whole=True),
        render.Column("tries", "right", whole=True),
        render.Column("last error"),
    ]
    rows = [
        render.Row(
            [
                e.entry_id,
                "(body is gone)" if e.product_id is None else e.product_id,
                e.event_type,
                e.consumer,
                render.duration_ms(e.idle_ms) if e.failure is None else "waits",
                e.deliveries,
                e.failure and f"{e.failure.error} ({render.ago(e.failure.last_failed_at)})",
            ]
        )
        for e in events
    ]
    caption = f"the first {count}; --count shows more" if len(rows) == count else ""
    if unnamed:
        caption = (
            f"{render.counted(unnamed, 'event')} went to a consumer that was killed as it took"
            " them; they come again after its --claim-idle-ms"
        )
    elif not rows:
        caption = "nothing is pending"
    render.table(columns, rows, title="pending", caption=caption)


def health(json: options.Json = False, redis: options.RedisUrl = None) -> None:
    """Ask stream, catalog and vector store whether they answer; exit 5 if one does not."""
    from recsys_cli.pipeline.health import check_health

    with options.backends(redis) as opened:
        checks = check_health(
            {
                "events": lambda: opened.get_event_processor().health(),
                "catalog": lambda: opened.get_catalog().health(),
                "vectors": lambda: opened.get_vector_store().health(),
            }
        )
    found = [check.health for check in checks]
    if json:
        for part in found:
            render.json_line(part)
    else:
        _healths(found)
    # Parts on the same backend have the same to say.
    failures = {str(check.error): check.error for check in checks if check.error}
    for failure in failures.values():
        render.error(failure)
    raise typer.Exit(BackendUnavailable.exit_code if failures else 0)


def _healths(found: list[Health]) -> None:
    columns = [
        render.Column("part", whole=True),
        render.Column("address", whole=True),
        render.Column("version", whole=True),
        render.Column("details", whole=True),
    ]
    rows = [render.Row([h.part, h.address, h.version, h.details]) for h in found]
    render.table(columns, rows, title="health")
