"""Events -> catalog -> embeddings -> vector store -> acknowledged, a batch at a time.

One read, one merge, one embedding call, one write, one acknowledgement per batch. An event is
acknowledged only after its effect is stored. A batch that fails as a whole is tried again event by
event, so that a bad event keeps no good one waiting; what fails alone stays pending, is delivered
again after the claim time, and becomes a dead letter after ``max_deliveries``.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event as Flag

from recsys_cli.domain import (
    DeadLetter,
    Delivery,
    IndexSpec,
    ProductEvent,
    UndecodableEvent,
    utc_now,
)
from recsys_cli.errors import BackendRefused, BackendUnavailable, IndexMismatch
from recsys_cli.merge import states_of
from recsys_cli.pipeline.embed import EmbedCounts, embed_states
from recsys_cli.pipeline.model import shared_model
from recsys_cli.ports import Catalog, EmbeddingModel, EventProcessor, ModelFactory, VectorStore

LONGEST_BACKOFF_S = 30.0
LONGEST_WAIT_MS = 500


@dataclass(frozen=True)
class ConsumeOptions:
    """``drain``: stop when nothing is left. ``max_events``: stop after so many, None for never."""

    consumer: str
    batch_size: int = 10
    block_ms: int = 2000
    drain: bool = False
    max_events: int | None = None
    max_deliveries: int = 5
    status_interval_s: float = 5.0


@dataclass
class ConsumeReport:
    """What a consumer has done since ``started``. ``failed`` events are left for another try."""

    processed: int = 0
    embedded: int = 0
    refreshed: int = 0
    removed: int = 0
    wordless: int = 0
    failed: int = 0
    dead: int = 0
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
        vectors: VectorStore,
        models: ModelFactory,
        options: ConsumeOptions,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._events = events
        self._catalog = catalog
        self._vectors = vectors
        self._models = models
        self._options = options
        self._notify = notify
        self._model: EmbeddingModel | None = None
        self.report = ConsumeReport()

    def run(
        self, stop: Flag, on_status: Callable[[ConsumeReport], None] = lambda _: None
    ) -> ConsumeReport:
        """Consume until ``stop`` is set or the options say so; finish the batch in hand first.

        A backend that goes away is waited for. One that does not answer at the start raises
        BackendUnavailable, and one that refuses raises BackendRefused.
        """
        self._ensure_index()
        backoff = _Backoff(stop, self._notify)
        in_hand: list[Delivery] = []
        next_status = time.monotonic() + self._options.status_interval_s
        while not stop.is_set() and (in_hand or self._wanted() > 0):
            try:
                # After an outage the batch in hand is still ours: nobody else may claim it yet.
                in_hand = in_hand or self._receive(stop)
                if not in_hand and self._options.drain:
                    break
                self._process(in_hand)
                in_hand = []
                if time.monotonic() >= next_status:
                    next_status = time.monotonic() + self._options.status_interval_s
                    self._ensure_index()
                    on_status(self._with_lag())
                backoff.reset()
            except BackendUnavailable as error:
                backoff.wait(error)
        return self._with_lag()

    def _wanted(self) -> int:
        if self._options.max_events is None:
            return self._options.batch_size
        return min(self._options.batch_size, self._options.max_events - self.report.processed)

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
        hopeless = [letter for d in deliveries if (letter := self._dead_letter(d))]
        if hopeless:
            self._events.bury(hopeless)
            self._count_dead(hopeless)
        buried = {letter.entry_id for letter in hopeless}
        good = [d for d in deliveries if d.entry_id not in buried]
        if not good:
            return
        try:
            self._apply(good)
        except (BackendUnavailable, BackendRefused):
            raise
        except Exception as error:  # noqa: BLE001 - whatever one event does, the others go on
            if len(good) == 1:
                self._failed(good[0], error)
                return
            for delivery in good:
                self._process([delivery])

    def _apply(self, deliveries: Sequence[Delivery]) -> None:
        events = [(d.position, d.event) for d in deliveries if isinstance(d.event, ProductEvent)]
        if self._model is None:
            self._model = shared_model(self._events, self._catalog, self._models)
        states = self._catalog.merge(states_of(events))
        self.report.add(embed_states(states, self._catalog, self._vectors, self._model))
        self._events.acknowledge(deliveries)
        self.report.processed += len(deliveries)

    def _dead_letter(self, delivery: Delivery) -> DeadLetter | None:
        """Return the letter for an event that no further try can help, else None."""
        event, now = delivery.event, utc_now()
        if isinstance(event, UndecodableEvent):
            cause, error, raw = "undecodable", event.reason, event.raw
        elif delivery.attempt > self._options.max_deliveries:
            tries = delivery.attempt - 1
            cause, error = "max-deliveries", f"given up after {tries} deliveries without success"
            raw = event.as_text()
        else:
            return None
        return DeadLetter(
            entry_id=delivery.entry_id,
            raw=raw,
            cause=cause,
            error=error,
            attempts=delivery.attempt,
            first_failed_at=now,
            last_failed_at=now,
        )

    def _count_dead(self, letters: Sequence[DeadLetter]) -> None:
        self.report.dead += len(letters)
        self.report.processed += len(letters)
        for letter in letters:
            self._notify(f"event {letter.entry_id} is now a dead letter: {letter.error}")

    def _failed(self, delivery: Delivery, error: Exception) -> None:
        self.report.failed += 1
        self._notify(
            f"event {delivery.entry_id} failed on attempt {delivery.attempt} and will be tried "
            f"again: {type(error).__name__}: {error}"
        )

    def _ensure_index(self) -> None:
        info = self._vectors.info()
        dimension = self._models.dimension
        if info is None:
            self._vectors.create_index(IndexSpec(dimension=dimension))
        elif info.dimension != dimension:
            raise IndexMismatch(
                f"the index {info.name} has {info.dimension} dimensions, the model {dimension}",
                hint="recsys index drop, or set VECTOR_DIMENSION",
            )

    def _with_lag(self) -> ConsumeReport:
        status = self._events.status()
        self.report.lag, self.report.pending = status.lag, status.pending
        return self.report


class _Backoff:
    """Waits for a backend: twice as long each time, with jitter, and never deaf to ``stop``."""

    def __init__(self, stop: Flag, notify: Callable[[str], None]) -> None:
        self._stop = stop
        self._notify = notify
        self._delay_s = 0.0

    def reset(self) -> None:
        if self._delay_s:
            self._notify("the backend answers again")
        self._delay_s = 0.0

    def wait(self, error: BackendUnavailable) -> None:
        self._delay_s = min(LONGEST_BACKOFF_S, max(0.5, self._delay_s * 2))
        self._notify(f"{error}; trying again in about {self._delay_s:g} s")
        self._stop.wait(self._delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
