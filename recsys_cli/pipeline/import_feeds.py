"""Import: read feeds, publish what changed, and with sync delete what the feeds no longer have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol, TypeAlias

from recsys_cli.batches import batched
from recsys_cli.domain import FeedRow, RejectedRow
from recsys_cli.errors import FeedError, UsageError
from recsys_cli.pipeline.publish import CHUNK, FeedPublisher, ImportReport
from recsys_cli.ports import Catalog, EventProcessor

FeedOpener: TypeAlias = Callable[[], AbstractContextManager[Iterable[FeedRow | RejectedRow]]]


class Listener(Protocol):
    """Who wants to hear how an import goes."""

    def rejected(self, row: RejectedRow) -> None: ...
    def duplicate(self, row: FeedRow) -> None: ...
    def progress(self, report: ImportReport) -> None: ...


@dataclass(frozen=True)
class MaxDelete:
    """How many products a sync may delete: a share of the catalog, or a number of products."""

    limit: float
    is_share: bool

    @classmethod
    def parse(cls, text: str) -> MaxDelete:
        """Read ``10%`` or ``250``. Raises UsageError."""
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", text)
        if not match:
            raise UsageError(
                f"--max-delete is {text!r}: it must be a share such as 10% or a number"
            )
        is_share = bool(match[2])
        return cls(float(match[1]) / (100 if is_share else 1), is_share)

    def allows(self, deletes: int, products: int) -> bool:
        return deletes <= (self.limit * products if self.is_share else self.limit)

    def __str__(self) -> str:
        return f"{self.limit * 100:g} %" if self.is_share else f"{self.limit:g}"


@dataclass(frozen=True)
class ImportOptions:
    """``limit``: rows to read in all, None for every row. ``sync``: delete what is missing."""

    dry_run: bool = False
    republish: bool = False
    strict: bool = False
    limit: int | None = None
    sync: MaxDelete | None = None


@dataclass
class ImportOutcome:
    """The counts, and what kept the import from being complete.

    ``errors``: files that could not be read, or not to the end. ``fruitless``: an unreadable file,
    or one that was not empty and gave no product. ``sync_refusal``: why nothing was deleted.
    """

    report: ImportReport
    errors: list[FeedError] = field(default_factory=list)
    fruitless: bool = False
    sync_refusal: str = ""

    @property
    def is_complete(self) -> bool:
        return not (self.report.rejected or self.errors or self.sync_refusal)


def import_feeds(
    openers: Sequence[FeedOpener],
    events: EventProcessor,
    catalog: Catalog,
    options: ImportOptions,
    listener: Listener,
    whole: AbstractContextManager[object],
) -> ImportOutcome:
    """Import the feeds in the given order; a file that cannot be read does not stop the others.

    ``whole``: see FeedPublisher.
    """
    publisher = FeedPublisher(
        events, catalog, dry_run=options.dry_run, republish=options.republish, whole=whole
    )
    outcome = ImportOutcome(publisher.report)
    for opener in openers:
        before = publisher.report.read, publisher.report.accepted
        try:
            with opener() as feed:
                publisher.publish(
                    _rows(feed, options, publisher.report),
                    on_rejected=listener.rejected,
                    on_duplicate=listener.duplicate,
                    on_progress=listener.progress,
                )
        except FeedError as error:
            outcome.errors.append(error)
        read, accepted = (
            publisher.report.read - before[0],
            publisher.report.accepted - before[1],
        )
        outcome.fruitless |= accepted == 0 and (read > 0 or bool(outcome.errors))
        if options.strict and not outcome.is_complete:
            break
    if options.sync is not None:
        _sync(publisher, catalog, options, outcome, listener)
    publisher.report.stop_clock()
    return outcome


def _rows(
    feed: Iterable[FeedRow | RejectedRow], options: ImportOptions, report: ImportReport
) -> Iterator[FeedRow | RejectedRow]:
    remaining = None if options.limit is None else max(0, options.limit - report.read)
    for row in islice(feed, remaining):
        if options.strict and report.rejected:
            return  # one that the stream has not taken, which shows a chunk later
        yield row
        if options.strict and isinstance(row, RejectedRow):
            return


def _sync(
    publisher: FeedPublisher,
    catalog: Catalog,
    options: ImportOptions,
    outcome: ImportOutcome,
    listener: Listener,
) -> None:
    """Delete what no feed had, unless that cannot be known or is more than is allowed."""
    if outcome.errors:
        outcome.sync_refusal = "nothing was deleted: a file could not be read to its end"
        return
    if publisher.has_nameless_rejects:
        outcome.sync_refusal = (
            "nothing was deleted: rejected rows without an id could be of any product"
        )
        return
    missing, products = _missing(publisher, catalog)
    assert options.sync is not None  # noqa: S101 - the caller's condition, for the type checker
    if not options.sync.allows(len(missing), products):
        outcome.sync_refusal = (
            f"nothing was deleted: the feed lacks {len(missing)} of {products} products "
            f"({len(missing) / products:.0%}), and --max-delete is {options.sync}"
        )
        return
    publisher.delete(missing, listener.progress)


def _missing(publisher: FeedPublisher, catalog: Catalog) -> tuple[list[str], int]:
    missing: list[str] = []
    products = 0
    for chunk in batched((product.id for product in catalog.products()), CHUNK):
        products += len(chunk)
        was_seen = publisher.seen.contains(chunk)
        missing += [i for i, seen in zip(chunk, was_seen, strict=True) if not seen]
    return missing, products
