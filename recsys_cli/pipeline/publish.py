"""Turn the rows of a feed into the events that make the catalog agree with it.

New products become creates, changed ones updates with only the changed fields, unchanged ones
nothing. What the stream has accepted is merged into the catalog at once, by the same rule as
consumers use: so a second import compares with everything published so far, also while no consumer
runs, and whoever comes second, publisher or consumer, changes nothing.

While the stream takes the events of one chunk, the next is read and compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

from recsys_cli.batches import batched
from recsys_cli.domain import (
    EventType,
    FeedRow,
    Fields,
    Position,
    ProductEvent,
    RejectedRow,
    filled,
    utc_now,
)
from recsys_cli.errors import EventsTooLarge, SettingsError
from recsys_cli.merge import NOTHING, ProductState, states_of
from recsys_cli.ports import Catalog, EventProcessor
from recsys_cli.seen import SeenIds

CHUNK = 1000
"""Rows compared and published together: one round trip each to read, publish and merge."""


@dataclass
class ImportReport:
    """What an import did. ``duplicates`` are rows that a later row of the same id replaced."""

    read: int = 0
    created: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    rejected: int = 0
    duplicates: int = 0
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    @property
    def events(self) -> int:
        return self.created + self.updated + self.deleted

    @property
    def accepted(self) -> int:
        return self.created + self.updated + self.unchanged

    @property
    def events_per_second(self) -> float:
        return self.events / self.seconds if self.seconds else 0.0

    def count(self, events: Iterable[ProductEvent], known: Mapping[str, ProductState]) -> None:
        """Count what the stream has accepted; a create of a ``known`` product is an update."""
        for event in events:
            if event.type is EventType.DELETE:
                self.deleted += 1
            elif known.get(event.product_id, NOTHING).exists:
                self.updated += 1
            else:
                self.created += 1

    def stop_clock(self) -> None:
        self.seconds = time.monotonic() - self.started


class _Flight(NamedTuple):
    """Events on their way to the stream, where they come from, and what waits for them.

    ``rows``: of the feed, by product; a delete has none.
    """

    events: Sequence[ProductEvent]
    rows: Mapping[str, FeedRow]
    known: Mapping[str, ProductState]
    positions: Callable[[], list[Position]]


class FeedPublisher:
    """Publishes feeds, one after the other, into one report.

    ``whole`` is entered around what a signal must not tear, lest events be published twice.
    ``dry_run`` compares and counts, and changes nothing. ``republish`` sends a create for every
    row, changed or not. ``seen`` remembers the ids of all feeds in 8 bytes each, and
    ``has_nameless_rejects`` whether some rejected row may have been of any product.
    """

    def __init__(
        self,
        events: EventProcessor,
        catalog: Catalog,
        *,
        dry_run: bool = False,
        republish: bool = False,
        whole: AbstractContextManager[object] | None = None,
    ) -> None:
        self._events = events
        self._catalog = catalog
        self._whole = whole or nullcontext()
        self._dry_run = dry_run
        self._republish = republish
        self.report = ImportReport()
        self.seen = SeenIds()
        self.has_nameless_rejects = False
        self._flight: _Flight | None = None
        self._on_rejected: Callable[[RejectedRow], None] = lambda _: None

    def publish(
        self,
        rows: Iterable[FeedRow | RejectedRow],
        *,
        on_rejected: Callable[[RejectedRow], None],
        on_duplicate: Callable[[FeedRow], None],
        on_progress: Callable[[ImportReport], None] = lambda _: None,
    ) -> None:
        """Publish one feed."""
        self._on_rejected = on_rejected
        with self._landing(on_progress):
            for chunk, rejected in _chunks(rows):
                self.report.read += len(chunk) + len(rejected)
                self._publish_chunk(self._newest(chunk, on_duplicate))
                for row in rejected:
                    self._reject(row)
                on_progress(self.report)

    def delete(
        self,
        product_ids: Sequence[str],
        on_progress: Callable[[ImportReport], None] = lambda _: None,
    ) -> None:
        """Publish a delete for each product."""
        with self._landing(on_progress):
            for chunk in batched(product_ids, CHUNK):
                gone = [ProductEvent(type=EventType.DELETE, product_id=i) for i in chunk]
                self._send(gone, {}, self._catalog.get(chunk))
                on_progress(self.report)

    def _reject(self, row: RejectedRow) -> None:
        self.report.rejected += 1
        if row.product_id is None:
            self.has_nameless_rejects = True
        else:
            self.seen.add([row.product_id])
        self._on_rejected(row)

    def _newest(
        self, chunk: list[FeedRow], on_duplicate: Callable[[FeedRow], None]
    ) -> dict[str, FeedRow]:
        earlier = self.seen.add([row.product_id for row in chunk])
        newest: dict[str, FeedRow] = {}
        for row, is_repeated in zip(chunk, earlier, strict=True):
            if is_repeated:
                self.report.duplicates += 1
                on_duplicate(row)
            newest[row.product_id] = row
        return newest

    def _publish_chunk(self, rows: Mapping[str, FeedRow]) -> None:
        if self._flight and any(event.product_id in rows for event in self._flight.events):
            # Its rows are to be compared with what these events make of the product.
            self._land()
        known = dict.fromkeys(rows, NOTHING) | self._catalog.get(list(rows))
        now = utc_now()
        changes = [self._event(row, known[i], now) for i, row in rows.items()]
        events = [event for event in changes if event is not None]
        self._send(events, rows, known)
        self.report.unchanged += len(changes) - len(events)

    def _event(self, row: FeedRow, state: ProductState, now: str) -> ProductEvent | None:
        if not state.exists:
            kind, fields = EventType.CREATE, filled(row.fields)
        elif self._republish:
            kind, fields = EventType.CREATE, filled(state.values | row.fields)
        else:
            kind, fields = EventType.UPDATE, changed_fields(state, row.fields)
            if not fields:
                return None
        return ProductEvent(type=kind, product_id=row.product_id, fields=fields, timestamp=now)

    def _send(
        self,
        events: list[ProductEvent],
        rows: Mapping[str, FeedRow],
        known: Mapping[str, ProductState],
    ) -> None:
        """Publish the events, when those before have landed."""
        self._land()
        if self._dry_run:
            self.report.count(events, known)
        elif events:
            with self._whole:
                self._flight = _Flight(events, rows, known, self._events.begin_publish(events))

    @contextmanager
    def _landing(self, on_progress: Callable[[ImportReport], None]) -> Iterator[None]:
        """However the block ends, wait for what is still on its way."""
        try:
            yield
        finally:
            self._land()
            on_progress(self.report)
        self.report.stop_clock()

    def _land(self) -> None:
        with self._whole:
            flight, self._flight = self._flight, None
            if flight:
                events, positions = self._landed(flight)
                _merge(self._catalog, events, positions, flight.known)
                self.report.count(events, flight.known)

    def _landed(self, flight: _Flight) -> tuple[Sequence[ProductEvent], list[Position]]:
        """Return the events that the stream has accepted; rows that it cannot take are rejected."""
        try:
            return flight.events, flight.positions()
        except EventsTooLarge as error:
            if not flight.rows:
                raise  # deletes: there is no row to reject
            for place in error.places:
                row = flight.rows[flight.events[place].product_id]
                self._reject(_rejected(row, str(error)))
            taken = [e for place, e in enumerate(flight.events) if place not in error.places]
            return taken, self._events.publish(taken)


def publish_events(
    processor: EventProcessor,
    catalog: Catalog,
    events: Sequence[ProductEvent],
    known: Mapping[str, ProductState] | None = None,
) -> list[Position]:
    """Append events to the stream, then merge what was accepted into the catalog.

    ``known``: the catalog's states of before. Raises SettingsError where they tell that it belongs
    to another stream.
    """
    if known is None:
        known = catalog.get([event.product_id for event in events])
    positions = processor.publish(events)
    _merge(catalog, events, positions, known)
    return positions


def _merge(
    catalog: Catalog,
    events: Sequence[ProductEvent],
    positions: Sequence[Position],
    known: Mapping[str, ProductState],
) -> None:
    catalog.merge(states_of(zip(positions, events, strict=True)), known)
    for event, position in zip(events, positions, strict=True):
        if known.get(event.product_id, NOTHING).position >= position:
            # What is published comes later than all that was known before.
            raise SettingsError(
                f"the catalog is of another stream: it has changes of {event.product_id!r} that are"
                f" later than event {position}, so what is published here changes nothing",
                hint="recsys export, then recsys restore into an empty catalog",
            )


def changed_fields(state: ProductState, fields: Fields) -> Fields:
    """Return those of ``fields`` that the state has otherwise; None empties a field."""
    current = state.values.get
    return {name: value for name, value in fields.items() if current(name) != value}


def _rejected(row: FeedRow, reason: str) -> RejectedRow:
    return RejectedRow(
        file=row.file,
        line=row.line,
        reason=reason,
        product_id=row.product_id,
        raw={"id": row.product_id, **row.fields},
    )


def _chunks(
    rows: Iterable[FeedRow | RejectedRow],
) -> Iterator[tuple[list[FeedRow], list[RejectedRow]]]:
    accepted: list[FeedRow] = []
    rejected: list[RejectedRow] = []
    for row in rows:
        if isinstance(row, FeedRow):
            accepted.append(row)
        else:
            rejected.append(row)
        if len(accepted) + len(rejected) >= CHUNK:
            yield accepted, rejected
            accepted, rejected = [], []
    if accepted or rejected:
        yield accepted, rejected
