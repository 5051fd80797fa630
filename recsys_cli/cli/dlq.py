"""recsys dlq: the events that were given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from recsys_cli.cli import options, render

if TYPE_CHECKING:
    from recsys_cli.deliveries import DeadLetter

app = typer.Typer(name="dlq", help="The dead letters: events that were given up.")

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of letters, as list shows them.")
]
Cause = Annotated[str | None, typer.Option(help="Those of this cause.", show_default=False)]
Every = Annotated[bool, typer.Option("--all", help="All of them.")]


@app.command(name="list")
def list_(
    cause: Cause = None,
    count: Annotated[int, typer.Option(min=1, max=100_000, help="How many to show.")] = 50,
    json: options.Json = False,
    redis: options.RedisUrl = None,
) -> None:
    """List the dead letters, the newest first."""
    from recsys_cli.pipeline.dead_letters import newest

    with options.backends(redis) as opened:
        letters = newest(opened.get_dead_letters(), count, cause)
    if json:
        _json_lines(letters)
        return
    columns = [
        render.Column("id", whole=True),
        render.Column("product_id", whole=True),
        render.Column("cause", whole=True),
        render.Column("failed", whole=True),
        render.Column("error"),
    ]
    rows = [
        render.Row(
            [
                letter.id,
                letter.raw.get("product_id", ""),
                letter.cause + (" again" if letter.replays else ""),
                render.ago(letter.last_failed_at),
                letter.error,
            ]
        )
        for letter in letters
    ]
    caption = "recsys dlq show ID tells all of one" if rows else "no event was given up"
    if len(rows) == count:
        caption = f"the newest {count}; --count shows more"
    render.table(columns, rows, title="dead letters", caption=caption)


@app.command()
def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="The letter's id.")],
    json: options.Json = False,
    redis: options.RedisUrl = None,
) -> None:
    """Show one dead letter: what it was, and why it was given up."""
    from recsys_cli.pipeline.dead_letters import show

    with options.backends(redis) as opened:
        letter = show(opened.get_dead_letters(), letter_id)
    if json:
        _json_lines([letter])
        return
    times = render.counted(letter.replays, "time")
    again = f" (replayed {times}, and dead again)" if letter.replays else ""
    whole = "" if letter.is_whole else " (not kept whole)"
    render.facts(
        "dead letter",
        [
            ("id", letter.id),
            ("cause", letter.cause + again),
            ("error", letter.error),
            ("tries", letter.attempts),
            ("first failed", f"{letter.first_failed_at} ({render.ago(letter.first_failed_at)})"),
            ("last failed", f"{letter.last_failed_at} ({render.ago(letter.last_failed_at)})"),
            ("entry", letter.entry_id + whole),
            *((f"  {name}", value) for name, value in letter.raw.items()),
        ],
    )


@app.command()
def summary(json: options.Json = False, redis: options.RedisUrl = None) -> None:
    """Count the dead letters by cause."""
    from recsys_cli.pipeline.dead_letters import summarize

    with options.backends(redis) as opened:
        causes = summarize(opened.get_dead_letters())
    if json:
        for each in causes:
            render.json_line(each)
        return
    columns = [
        render.Column("cause", whole=True),
        render.Column("letters", "right", whole=True),
        render.Column("first", whole=True),
        render.Column("last", whole=True),
        render.Column("newest error", wraps=True),
    ]
    rows = [
        render.Row(
            [
                each.cause,
                render.number(each.letters),
                render.ago(each.first_failed_at),
                render.ago(each.last_failed_at),
                each.error,
            ]
        )
        for each in causes
    ]
    caption = "recsys dlq replay --cause CAUSE tries them again" if rows else ""
    render.table(
        columns, rows, title="dead letters by cause", caption=caption or "no event was given up"
    )


@app.command()
def replay(
    ids: Ids = None,
    every: Every = False,
    cause: Cause = None,
    limit: Annotated[
        int | None, typer.Option("--max", min=1, help="At most so many.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    redis: options.RedisUrl = None,
) -> None:
    """Put dead letters back on the stream, one by one, the oldest first.

    A replayed event counts at its old position, so it undoes nothing newer. Interrupted, the rest
    stays: the same command goes on.
    """
    from recsys_cli.pipeline.dead_letters import LetterChoice, replay

    choice = LetterChoice(ids=ids or (), cause=cause, every=every, limit=limit)
    with options.backends(redis) as opened, render.progress("replay") as bar:
        report = replay(
            opened.get_dead_letters(),
            choice,
            dry_run=dry_run,
            on_progress=lambda report: bar.update(
                done=report.replayed,
                total=None,
                counts=render.number(report.replayed),
                description="replay",
            ),
        )
    verb = "would replay" if dry_run else "replayed"
    again = f", {report.again:,} of them not for the first time" if report.again else ""
    render.success(f"{verb} {render.counted(report.replayed, 'dead letter')}{again}")
    if report.gone:
        render.warning(f"{report.gone:,} were gone: replayed or purged by somebody else meanwhile")
    if report.not_whole:
        render.warning(
            f"{report.not_whole:,} cannot be replayed: oversized or not UTF-8, so not kept whole"
        )
        raise typer.Exit(3)


@app.command()
def purge(
    ids: Ids = None,
    every: Every = False,
    cause: Cause = None,
    yes: options.Yes = False,
    redis: options.RedisUrl = None,
) -> None:
    """Drop dead letters for good."""
    from recsys_cli.pipeline.dead_letters import LetterChoice, purge

    choice = LetterChoice(ids=ids or (), cause=cause, every=every)
    what = f"all dead letters of cause {cause}" if cause else "all dead letters"
    options.confirm(
        "drop", render.counted(len(choice.ids), "dead letter") if choice.ids else what, yes=yes
    )
    with options.backends(redis) as opened:
        purged = purge(opened.get_dead_letters(), choice)
    render.success(f"dropped {render.counted(purged, 'dead letter')}")


def _json_lines(letters: list[DeadLetter]) -> None:
    import msgspec

    for letter in letters:
        shown = msgspec.structs.asdict(letter) | {"replays": letter.replays}
        render.json_line(shown)
