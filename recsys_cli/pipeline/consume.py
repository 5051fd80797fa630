"""Events -> catalog -> embeddings -> vector store -> acknowledged, a batch at a time.

One read, one merge, one embedding call, one write, one acknowledgement per batch. An event is
acknowledged only after its effect is stored. A batch that fails is halved until the event that
fails is alone, so that a bad event keeps no good one waiting; see ``failures.py`` for what becomes
of it. A backend that is away is waited for, with the batch in hand.

While the backend stores one batch, which takes it longest, the next one is read and embedded. To
everybody else it is as if two consumers took turns. An event that was delivered before is not
handled until the batch before it is done: it may be the one that kills its consumer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from threading import Event as Flag
from typing import NamedTuple

from recsys_cli.deliveries import DeadLetter, Delivery, LostEvent
from recsys_cli.domain import ProductEvent
from recsys_cli.errors import BackendUnavailable, GroupMissing
from recsys_cli.merge import states_of
from recsys_cli.pipeline import failures
from recsys_cli.pipeline.claims import ClaimKeeper
from recsys_cli.pipeline.embed import Begun, EmbedCounts, Target, begin, finish
from recsys_cli.pipeline.model import SharedModels
from recsys_cli.pipeline.outage import Outage
from recsys_cli.pipeline.watch import Watch
from recsys_cli.ports import Catalog, EventProcessor, Generations, ModelFactory

LONGEST_WAIT_MS = 500

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
        self.wordless += counts.wordless


class _Flight(NamedTuple):
    """A batch whose embeddings are being stored; or why it could not be begun."""

    deliveries: Sequence[Delivery]
    begun: Begun | Exception


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
        self._options = options
        self._notify = notify
        self._in_hand: dict[str, Delivery] = {}
        self._flight: _Flight | None = None
        self._followed: list[Target] = []
        self._claims = ClaimKeeper(events, options.claim_idle_ms)
        self._watch = Watch(events, generations, models.dimension, options.claim_idle_ms, notify)
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
        self._watch.ensure_index(until_built=True)
        patience_s = DRAIN_PATIENCE_S if self._options.drain else None
        outage = Outage(stop, self._notify, patience_s=patience_s)
        next_status = time.monotonic() + self._options.status_interval_s
        with self._claims.running():
            while (self._flight or not stop.is_set()) and (self._in_hand or self._wanted() > 0):
                try:
                    if self._is_adrift:
                        self._watch.begin_anew()
                        self._is_adrift = False
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
                    self._set_down()
                    outage.wait(error)
        if not outage.is_on:
            self._leave()
        return self.report

    def _wanted(self) -> int:
        if self._options.max_events is None:
            return self._options.batch_size
        left = self._options.max_events - self.report.processed - len(self._in_hand)
        return min(self._options.batch_size, left)

    def _consume_batch(self, stop: Flag) -> bool:
        """Begin a batch, then finish the one before; return False where a drain is at its end."""
        before = self._flight
        taken = self._left_over() or self._take(stop)
        left = self._sorted_out(taken)
        self._flight = self._departed(left)
        if before:
            self._finish_or_halve(before.deliveries, before)
        if left and not self._flight:
            self._finish_or_halve(left)
        self._hold()
        if not self._flight:
            self._followed = []
        return bool(taken or before) or not self._options.drain

    def _left_over(self) -> list[Delivery]:
        """Return what is in hand and not under way: so an outage leaves it, and it is still ours.

        One that was delivered before comes alone, as from the stream.
        """
        left = [] if self._flight else list(self._in_hand.values())
        return [d for d in left if d.attempt == 1] or left[:1]

    def _take(self, stop: Flag) -> list[Delivery]:
        if stop.is_set() or self._wanted() < 1:
            return []
        # Where claims lapse at once, what is under way may come once more.
        taken = [d for d in self._receive(stop) if d.entry_id not in self._in_hand]
        self._in_hand |= {d.entry_id: d for d in taken}
        self.report.redelivered += sum(d.attempt > 1 for d in taken)
        self._hold()
        return taken

    def _receive(self, stop: Flag) -> list[Delivery]:
        """Wait for deliveries in short waits, so that ``stop`` is heeded soon."""
        does_wait = not (self._options.drain or self._flight)
        remaining_ms = self._options.block_ms if does_wait else 0
        while True:
            wait_ms = min(remaining_ms, LONGEST_WAIT_MS)
            deliveries = self._events.receive(self._options.consumer, self._wanted(), wait_ms)
            remaining_ms -= wait_ms
            if deliveries or remaining_ms <= 0 or stop.is_set():
                return deliveries

    def _hold(self) -> None:
        self._claims.hold(tuple(self._in_hand.values()))

    def _sorted_out(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """See to what is lost or hopeless; return what is left to be applied."""
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
        return left

    def _departed(self, deliveries: Sequence[Delivery]) -> _Flight | None:
        """Begin to apply a batch; None where it is to be applied by itself, when it is alone."""
        if not deliveries or any(d.attempt > 1 for d in deliveries):
            return None
        try:
            return self._begin(deliveries)
        except Exception as error:
            if not failures.may_be_of_events(error):
                raise
            return _Flight(deliveries, error)

    def _set_down(self) -> None:
        """Leave what is under way in hand, to be begun again."""
        flight, self._flight = self._flight, None
        if flight and isinstance(flight.begun, Begun):
            flight.begun.abandon()

    def _finish_or_halve(self, batch: Sequence[Delivery], flight: _Flight | None = None) -> None:
        try:
            self._finish(flight or self._begin(batch))
        except Exception as error:
            if not failures.may_be_of_events(error):
                raise
            if len(batch) == 1:
                self._failed(batch[0], error)
                return
            middle = len(batch) // 2
            self._finish_or_halve(batch[:middle])
            self._finish_or_halve(batch[middle:])

    def _begin(self, deliveries: Sequence[Delivery]) -> _Flight:
        events = [(d.position, d.event) for d in deliveries if isinstance(d.event, ProductEvent)]
        states = self._catalog.merge(states_of(events))
        # What was seen after the batch before will do: it is looked at again after this one.
        return _Flight(deliveries, begin(states, self._followed or self._look_again()))

    def _finish(self, flight: _Flight) -> None:
        if isinstance(flight.begun, Exception):
            raise flight.begun
        self.report.add(finish(flight.begun, self._catalog, self._look_again))
        self._events.acknowledge(flight.deliveries)
        self._done(d.entry_id for d in flight.deliveries)

    def _look_again(self) -> list[Target]:
        followed = [g for g in self._generations.all() if g.is_followed]
        self._followed = [
            Target(g, self._generations.store(g), self._models.of(g)) for g in followed
        ]
        return self._followed

    def _done(self, entry_ids: Iterable[str]) -> None:
        for entry_id in entry_ids:
            del self._in_hand[entry_id]
            self.report.processed += 1

    def _write_off(self, lost: Sequence[Delivery]) -> None:
        if not lost:
            return
        self._events.acknowledge(lost)
        self._done(d.entry_id for d in lost)
        self.report.lost += len(lost)
        self._notify(
            f"lost {', '.join(d.entry_id for d in lost[:5])}: taken off the stream before it was "
            "stored; import the feeds again with --republish"
        )

    def _bury(self, letters: Sequence[DeadLetter]) -> None:
        if not letters:
            return
        self._events.bury(letters)
        self._done(letter.entry_id for letter in letters)
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
        status = self._watch.look_round()
        self.report.lag, self.report.pending = status.lag, status.pending

    def _leave(self) -> None:
        """Take the name off the group, which must not fill up with the names of the dead."""
        try:
            self._look_round()
            self._events.forget_consumers([self._options.consumer])
        except BackendUnavailable:
            self.report.lag = None
