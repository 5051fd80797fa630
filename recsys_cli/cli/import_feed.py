"""recsys import: product files in, events out."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Literal, Self

import typer

from recsys_cli.cli import options, render
from recsys_cli.cli.signals import exiting_on_signals
from recsys_cli.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from recsys_cli.domain import FeedRow, RejectedRow
    from recsys_cli.feeds.reader import Feed, FeedOptions
    from recsys_cli.feeds.rejects import RejectsFile
    from recsys_cli.pipeline.import_feeds import ImportOptions, ImportOutcome
    from recsys_cli.pipeline.publish import ImportReport
    from recsys_cli.wiring import Backends

SHOWN = 10
"""Rejected rows, and repeated ids, that are named one by one."""


def import_(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="CSV, TSV, JSON, JSON lines or Parquet, also gzipped; - reads standard input.",
        ),
    ],
    feed_format: Annotated[
        Literal["csv", "tsv", "json", "jsonl", "parquet"] | None,
        typer.Option("--format", help="Do not guess the format.", show_default=False),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(help="Do not guess the text encoding.", metavar="NAME", show_default=False),
    ] = None,
    mapping: Annotated[
        str,
        typer.Option(
            "--map",
            metavar="FIELD=COLUMN,...",
            help="Which column is what, as in id=sku,name=title; the others are recognised.",
            show_default=False,
        ),
    ] = "",
    rejects: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write rejected rows here as JSON lines, to be mended and imported again.",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first rejected row.")
    ] = False,
    sync: Annotated[
        bool,
        typer.Option(
            "--sync",
            help="Also delete the products that no FILE has; keeps 8 bytes per product in memory.",
        ),
    ] = False,
    max_delete: Annotated[
        str,
        typer.Option(
            metavar="N|N%", help="With --sync: delete nothing if more than this would go."
        ),
    ] = "10%",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen, change nothing.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Read so many rows only.", show_default=False)
    ] = None,
    republish: Annotated[
        bool, typer.Option("--republish", help="Publish every row, changed or not.")
    ] = False,
    json: options.Json = False,
    redis: options.RedisUrl = None,
) -> None:
    """Import product files: what is new, changed or gone becomes events on the stream."""
    from recsys_cli.feeds.reader import FeedFormat, FeedOptions, parse_mapping
    from recsys_cli.pipeline.import_feeds import ImportOptions, MaxDelete

    if sync and limit:
        raise UsageError("--sync needs the whole feed, so it does not go with --limit")
    how = ImportOptions(
        dry_run=dry_run,
        republish=republish,
        strict=strict,
        limit=limit,
        sync=MaxDelete.parse(max_delete) if sync else None,
    )
    reading = FeedOptions(
        format=FeedFormat(feed_format) if feed_format else None,
        encoding=encoding,
        mapping=parse_mapping(mapping) if mapping else {},
    )
    with options.backends(redis) as opened:
        outcome = run_import(opened, files, reading, how, rejects)
    show_import(outcome, how, json=json)
    raise typer.Exit(_exit_code(outcome))


def run_import(
    opened: Backends,
    files: list[str],
    reading: FeedOptions,
    how: ImportOptions,
    rejects: str | None,
) -> ImportOutcome:
    """Import the files under a progress bar."""
    with ExitStack() as stack:
        # The outermost, so that the bar is gone when it speaks.
        listener = stack.enter_context(_Listener(how))
        whole = stack.enter_context(exiting_on_signals())
        from recsys_cli.feeds.reader import open_feed
        from recsys_cli.feeds.rejects import RejectsFile
        from recsys_cli.pipeline.import_feeds import import_feeds

        if rejects:
            listener.rejects = stack.enter_context(RejectsFile(rejects))
        listener.bar = stack.enter_context(render.progress("import"))
        openers = [
            partial(listener.listening_to, partial(open_feed, name, reading, render.warning))
            for name in files
        ]
        outcome = import_feeds(
            openers, opened.get_event_processor(), opened.get_catalog(), how, listener, whole
        )
        listener.summarise()
    return outcome


class _Listener:
    """Shows an import while it runs, and writes its rejected rows."""

    def __init__(self, how: ImportOptions) -> None:
        self.bar = render.ProgressBar(None, None)
        self.rejects: RejectsFile | None = None
        self._how = how
        self._done = 0, 0
        """Rows and events at the last report: whole chunks, wherever a signal tears the next."""
        self._feed: Feed | None = None
        self._feeds: list[Feed] = []
        self._unnamed_rejects = 0
        self._repeated = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Say how to go on after a signal, or after an error in the middle."""
        read, events = self._done
        if error is None or isinstance(error, SettingsError):
            return  # what is wrong with the settings, another run does not mend
        if not (read or isinstance(error, SystemExit)):
            return
        render.warning(f"stopped after {read:,} rows, {events:,} events; {self._how_to_go_on()}")

    def _how_to_go_on(self) -> str:
        if self._how.dry_run:
            return "nothing was changed"
        if self._how.republish:
            return "run the same command again"
        return "run the same command again: what is published is not published twice"

    def listening_to(self, opener: partial[Feed]) -> Feed:
        self._feed = opener()
        self._feeds.append(self._feed)
        return self._feed

    def rejected(self, row: RejectedRow) -> None:
        if self.rejects:
            self.rejects.write(row)
        self._unnamed_rejects += 1
        if self._unnamed_rejects <= SHOWN:
            render.warning(f"rejected: {row.file}, line {row.line}: {row.reason}")

    def duplicate(self, row: FeedRow) -> None:
        self._repeated += 1
        if self._repeated <= SHOWN:
            render.warning(
                f"repeated: {row.file}, line {row.line}: id {row.product_id!r} was there before; "
                "the last one wins"
            )

    def progress(self, report: ImportReport) -> None:
        self._done = report.read, report.events
        if self._feed is not None:
            self.bar.update(
                done=self._feed.bytes_read,
                total=self._feed.total_bytes,
                counts=f"{report.read:,} rows, {report.events:,} events",
                description=PurePath(self._feed.name).name,
            )

    def summarise(self) -> None:
        for feed in self._feeds:
            if feed.folded:
                render.notice(f"{feed.name}: {feed.folded:,} rows continued the product above them")
        if self._unnamed_rejects > SHOWN:
            hint = "" if self.rejects else "; --rejects FILE writes them all"
            render.warning(f"rejected: {self._unnamed_rejects - SHOWN:,} more rows{hint}")
        if self._repeated > SHOWN:
            render.warning(f"repeated: {self._repeated - SHOWN:,} more ids")


def show_import(outcome: ImportOutcome, how: ImportOptions, *, json: bool = False) -> None:
    for error in outcome.errors:
        render.error(error)
    if outcome.sync_refusal:
        render.warning(outcome.sync_refusal)
    report = outcome.report
    counts = {
        "read": report.read,
        "created": report.created,
        "updated": report.updated,
        "deleted": report.deleted,
        "unchanged": report.unchanged,
        "repeated": report.duplicates,
        "rejected": report.rejected,
    }
    if json:
        timing = {
            "seconds": round(report.seconds, 3),
            "events_per_second": round(report.events_per_second, 1),
        }
        render.json_line(counts | timing | {"dry_run": how.dry_run})
        return
    pairs = [(name, render.number(count)) for name, count in counts.items()]
    pairs.append(("seconds", f"{report.seconds:,.2f}"))
    pairs.append(("events per second", render.number(report.events_per_second)))
    render.facts("import (dry run)" if how.dry_run else "import", pairs)
    if how.dry_run:
        render.notice("nothing was changed")


def _exit_code(outcome: ImportOutcome) -> int:
    if outcome.fruitless:
        return 1
    return 0 if outcome.is_complete else 3
