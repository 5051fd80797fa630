"""Events -> catalog -> embeddings -> vector store -> acknowledged, a batch at a time.

One read, one merge, one embedding call, one write, one acknowledgement per batch. An event is
acknowledged only after its effect is stored. A batch that fails is halved until the event that
fails is alone, so that a bad event keeps no good one waiting; see ``failures.py`` for what becomes
of it. A backend that is away is waited for, with the batch in hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event as Flag

from recsys_cli.deliveries import DeadLetter, Delivery, LostEvent
from recsys_cli.domain import Position, ProductEvent, StreamStatus
from recsys_cli.errors import (
    BackendUnavailable,
    GroupMissing,
    IndexMismatch,
    InvalidData,
    InvalidEvent,
    InvalidProduct,
    RecsysError,
)
from recsys_cli.generations import serving
from recsys_cli.merge import states_of
from recsys_cli.pipeline import failures
from recsys_cli.pipeline.claims import ClaimKeeper
from recsys_cli.pipeline.embed import EmbedCounts, Target, embed_states
from recsys_cli.pipeline.model import SharedModels
from recsys_cli.pipeline.outage import Outage
from recsys_cli.ports import (
    Catalog,
    EventProcessor,
    Generations,
    ModelFactory,
)

LONGEST_WAIT_MS = 500
THE_EVENTS_FAULT = (InvalidData, InvalidEvent, InvalidProduct)
"""Of our own errors; the others would meet every event. Any foreign exception may be its fault."""

DRAIN_PATIENCE_S = 120.0
"""A drain ends, cron starts the next; only a consumer that stays waits for ever."""


@dataclass(frozen=True)
class ConsumeOptions:
    """``drain``: stop when nothing is left. ``max_events``: stop after so many, None for never.

    ``claim_idle_ms`` is the stream's: a batch that takes longer is claimed anew.
    """

    consumer: str
    batch_size: int = 10
    block_ms: int = 2000
    drain: bool = False
    max_events: int | None = None
    max_deliveries: int = 5
    claim_idle_ms: int = 60_000
    status_interval_s: float = 5.0


@dataclass
class ConsumeReport:
    """What a consumer has done since ``started``.

    ``redelivered`` events had been delivered before. ``failed`` counts failures: of events that are
    left for another try. ``lost`` events were gone from the stream before anybody stored them.
    """

    processed: int = 0
    redelivered: int = 0
    embedded: int = 0
    refreshed: int = 0
    removed: int = 0
    wordless: int = 0
    failed: int = 0
    dead: int = 0
    lost: int = 0
    lag: int | None = None
    pending: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Events processed per second since the start."""
        return self.processed / max(self.seconds, 1e-9)

    def add(self, counts: EmbedCounts) -> None:
        self.embedded += counts.embedded
        self.refreshed += counts.refreshed
        self.removed += counts.removed
        self.wordless += len(counts.wordless)


class Consumer:
    """One member of the consumer group; ``run`` it in the foreground or in a thread.

    ``notify`` gets sentences for an operator: an outage, an event that failed.
    """

    def __init__(
        self,
        events: EventProcessor,
        catalog: Catalog,
        generations: Generations,
        models: ModelFactory,
        options: ConsumeOptions,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._events = events
        self._catalog = catalog
        self._generations = generations
        self._models = SharedModels(events, catalog, models)
        self._dimension = models.dimension
        self._options = options
        self._notify = notify
        self._in_hand: dict[str, Delivery] = {}
        self._claims = ClaimKeeper(events, options.claim_idle_ms)
        self._last_seen: StreamStatus | None = None
        self._is_adrift = False
        self.report = ConsumeReport()

    def run(
        self, stop: Flag, on_status: Callable[[ConsumeReport], None] = lambda _: None
    ) -> ConsumeReport:
        """Consume until ``stop`` is set or the options say so; finish the batch in hand first.

        A backend that goes away is waited for; a drain gives up after two minutes. One that does
        not answer at the start raises BackendUnavailable, one that refuses BackendRefused.
        """
        self._events.create_group()
        self._ensure_index()
        patience_s = DRAIN_PATIENCE_S if self._options.drain else None
        outage = Outage(stop, self._notify, patience_s=patience_s)
        next_status = time.monotonic() + self._options.status_interval_s
        with self._claims.running():
            while not stop.is_set() and (self._in_hand or self._wanted() > 0):
                try:
                    if self._is_adrift:
                        self._begin_anew()
                    elif outage.is_on:
                        self._look_round()
                    if not self._consume_batch(stop):
                        break
                    if time.monotonic() >= next_status:
                        next_status = time.monotonic() + self._options.status_interval_s
                        self._look_round()
                        on_status(self.report)
                    outage.end()
                except (BackendUnavailable, GroupMissing) as error:
                    self._is_adrift |= isinstance(error, GroupMissing)
                    outage.wait(error)
        if not outage.is_on:
            self._leave()
        return self.report

    def _wanted(self) -> int:
        if self._options.max_events is None:
            return self._options.batch_size
        return min(self._options.batch_size, self._options.max_events - self.report.processed)

    def _consume_batch(self, stop: Flag) -> bool:
        """Take a batch and process it; return False where a drain is at its end."""
        # After an outage the batch in hand is still ours: it is renewed while we wait.
        if not self._in_hand:
            self._in_hand = {d.entry_id: d for d in self._receive(stop)}
            self.report.redelivered += sum(d.attempt > 1 for d in self._in_hand.values())
        batch = tuple(self._in_hand.values())
        self._claims.hold(batch)
        self._process(batch)
        self._claims.hold(())
        return bool(batch) or not self._options.drain

    def _receive(self, stop: Flag) -> list[Delivery]:
        """Wait for deliveries in short waits, so that ``stop`` is heeded soon."""
        remaining_ms = 0 if self._options.drain else self._options.block_ms
        while True:
            wait_ms = min(remaining_ms, LONGEST_WAIT_MS)
            deliveries = self._events.receive(self._options.consumer, self._wanted(), wait_ms)
            remaining_ms -= wait_ms
            if deliveries or remaining_ms <= 0 or stop.is_set():
                return deliveries

    def _process(self, deliveries: Sequence[Delivery]) -> None:
        lost = [d for d in deliveries if isinstance(d.event, LostEvent)]
        dead = [
            letter
            for d in deliveries
            if (letter := failures.hopeless(d, self._options.max_deliveries))
        ]
        self._write_off(lost)
        self._bury(dead)
        left = [d for d in deliveries if d.entry_id in self._in_hand]
        for delivery in left:
            # On record before the next try: it may kill this process too.
            known = failures.known_failure(delivery)
            if known and known != delivery.failure:
                self._events.postpone(delivery, known, self._options.claim_idle_ms)
        if left:
            self._apply_or_halve(left, self._targets())

    def _apply_or_halve(self, deliveries: Sequence[Delivery], targets: list[Target]) -> None:
        try:
            self._apply(deliveries, targets)
        except Exception as error:
            if isinstance(error, RecsysError) and not isinstance(error, THE_EVENTS_FAULT):
                raise
            if len(deliveries) == 1:
                self._failed(deliveries[0], error)
                return
            middle = len(deliveries) // 2
            self._apply_or_halve(deliveries[:middle], targets)
            self._apply_or_halve(deliveries[middle:], targets)

    def _apply(self, deliveries: Sequence[Delivery], targets: list[Target]) -> None:
        events = [(d.position, d.event) for d in deliveries if isinstance(d.event, ProductEvent)]
        states = self._catalog.merge(states_of(events))
        self.report.add(embed_states(states, self._catalog, targets, self._targets))
        self._events.acknowledge(deliveries)
        self._done([d.entry_id for d in deliveries])

    def _targets(self) -> list[Target]:
        followed = [g for g in self._generations.all() if g.is_followed]
        return [Target(g, self._generations.store(g), self._models.of(g)) for g in followed]

    def _done(self, entry_ids: Sequence[str]) -> None:
        self.report.processed += len(entry_ids)
        for entry_id in entry_ids:
            del self._in_hand[entry_id]

    def _write_off(self, lost: Sequence[Delivery]) -> None:
        if not lost:
            return
        self._events.acknowledge(lost)
        self._done([d.entry_id for d in lost])
        self.report.lost += len(lost)
        self._notify(
            f"lost {', '.join(d.entry_id for d in lost[:5])}: taken off the stream before it was "
            "stored; import the feeds again with --republish"
        )

    def _bury(self, letters: Sequence[DeadLetter]) -> None:
        if not letters:
            return
        self._events.bury(letters)
        self._done([letter.entry_id for letter in letters])
        self.report.dead += len(letters)
        for letter in letters:
            again = f" again, though replayed {letter.replays}x" if letter.replays else ""
            self._notify(
                f"event {letter.entry_id} is a dead letter{again} ({letter.cause}): {letter.error}"
            )

    def _failed(self, delivery: Delivery, error: Exception) -> None:
        said = f"{type(error).__name__}: {error}"
        failure = failures.failure(delivery, said)
        if delivery.attempt >= self._options.max_deliveries:
            self._bury([failures.letter(delivery, failures.FAILING, failure)])
            return
        delay_ms = failures.retry_after_ms(delivery.attempt, self._options.claim_idle_ms)
        self._events.postpone(delivery, failure, delay_ms)
        del self._in_hand[delivery.entry_id]
        self.report.failed += 1
        self._notify(
            f"event {delivery.entry_id} failed on attempt {delivery.attempt} of "
            f"{self._options.max_deliveries} and is tried again in {delay_ms / 1000:.1f} s: {said}"
        )

    def _look_round(self) -> None:
        """See how things stand, and mend what is missing."""
        if self._ensure_index():
            self._notify("the index was gone, and is made again over the embeddings that are left")
        status = self._events.status()
        self._tell_if_stream_went_back(status)
        self._last_seen = status
        self.report.lag, self.report.pending = status.lag, status.pending
        gone = [
            c.name
            for c in status.consumers
            if not c.pending and (c.idle_ms or 0) >= self._options.claim_idle_ms
        ]
        if gone:
            self._events.forget_consumers(gone)

    def _leave(self) -> None:
        """Take the name off the group, which must not fill up with the names of the dead."""
        try:
            self._look_round()
            self._events.forget_consumers([self._options.consumer])
        except BackendUnavailable:
            self.report.lag = None

    def _begin_anew(self) -> None:
        """Go on after the stream, or the group on it, has vanished under a running consumer."""
        self._events.create_group()
        self._ensure_index()
        self._is_adrift = False
        last, self._last_seen = self._last_seen, None
        waiting = (
            "" if last is None else f"; {last.pending + (last.lag or 0):,} events were waiting"
        )
        self._notify(
            "the stream's consumer group was gone (flushed, deleted, or restarted without its data)"
            f" and is made again{waiting} when last seen; what the backend had not kept is lost:"
            " import the feeds again"
        )

    def _tell_if_stream_went_back(self, status: StreamStatus) -> None:
        before = self._last_seen
        if before and Position.parse(status.last_entry_id) < Position.parse(before.last_entry_id):
            self._notify(
                f"the stream has gone back from {before.last_entry_id} to {status.last_entry_id}: "
                "the backend was restarted from older data, and what came in between is lost; "
                "import the feeds again"
            )

    def _ensure_index(self) -> bool:
        """Create the index if it is missing; return whether it was. Raises IndexMismatch."""
        generation = serving(self._generations.all())
        vectors = self._generations.store(generation)
        info = vectors.info()
        if info is None:
            return vectors.create_index(generation.spec)
        if info.dimension != self._dimension:
            raise IndexMismatch(
                f"the index {info.name} has {info.dimension} dimensions, the model "
                f"{self._dimension}",
                hint="recsys index drop, or set VECTOR_DIMENSION",
            )
        return False
