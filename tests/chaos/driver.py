"""A bad night, seeded: traffic, consumers that die, a server that restarts; then the reckoning.

    python -m tests.chaos --backend redis --seed 1

Consumers are real processes. While events are published, they are killed, terminated and stopped
for longer than the claim time; the server is restarted; the index is dropped; dead letters are
replayed. In the end everything is drained, and catalog, index and dead letters must be what the
oracle makes of the stream, which a group that reads nothing has kept whole.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from recsys_cli.domain import Position, ProductEvent
from recsys_cli.errors import BackendUnavailable
from recsys_cli.pipeline.publish import publish_events
from recsys_cli.settings import load
from recsys_cli.wiring import Backends
from tests.chaos.fleet import Fleet
from tests.chaos.reckoning import reckon
from tests.chaos.traffic import Traffic
from tests.chaos.world import AUDIT, World
from tests.servers import wait_until


@dataclass(frozen=True)
class Plan:
    """How much of everything; a server that there is not cannot be restarted."""

    seed: int
    events: int
    products: int
    consumers: int = 3
    kills: int = 0
    terminations: int = 0
    stops: int = 0
    restarts: int = 0
    index_drops: int = 0
    replays: int = 0
    poison: int = 0


@dataclass
class Verdict:
    """What happened, and what was wrong in the end: ``problems`` must be empty."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        counts = ", ".join(f"{what} {number:,}" for what, number in self.counts.items())
        if not self.problems:
            return f"{counts}, {self.seconds:.0f} s: nothing lost, nothing wrong"
        shown = "\n  ".join(self.problems[:20])
        return f"{counts}, {self.seconds:.0f} s: {len(self.problems)} PROBLEMS\n  {shown}"


class Night:
    def __init__(self, plan: Plan, world: World, folder: Path) -> None:
        self._plan = plan
        self._world = world
        self._chance = random.Random(plan.seed)
        self._traffic = Traffic(self._chance, plan.products)
        self._backends = Backends(load(environ=world.environment))
        self._published: list[tuple[Position, ProductEvent]] = []
        self._count: Counter[str] = Counter()
        self._prepare()
        self._fleet = Fleet(plan.consumers, world.environment, folder)

    def run(self) -> Verdict:
        start_s = time.monotonic()
        try:
            self._live_through()
            self._fleet.end()
            self._drain()
            problems = [*self._fleet.problems, *self._fleet.alarms()]
            problems += reckon(self._world, self._backends, self._count)
            self._count["redelivered"] = self._fleet.redelivered()
        finally:
            self._fleet.kill()
            self._backends.close()
        return Verdict(self._count, problems, time.monotonic() - start_s)

    def _prepare(self) -> None:
        self._backends.get_event_processor().create_group()
        audit = Backends(load(environ={**self._world.environment, "PRODUCT_STREAM_GROUP": AUDIT}))
        audit.get_event_processor().create_group()
        audit.get_catalog().get([])
        audit.close()
        for product_id in self._traffic.broken_ids:
            self._world.damage(product_id)

    def _live_through(self) -> None:
        plan = self._plan
        acts: list[Callable[[], None]] = [
            *[self._kill] * plan.kills,
            *[self._terminate] * plan.terminations,
            *[self._stop] * plan.stops,
            *[self._restart] * plan.restarts,
            *[self._drop_index] * plan.index_drops,
            *[self._replay_dead_letter] * plan.replays,
            *[self._poison] * plan.poison,
        ]
        self._chance.shuffle(acts)
        for number, act in enumerate(acts):
            remaining = plan.events - self._count["events"]
            self._publish(remaining // (len(acts) - number))
            wait_until(self._has_kept_up, 300, "the consumers keep up")
            act()
            self._fleet.supervise()

    def _publish(self, count: int) -> None:
        """Publish in pieces: in order, sometimes twice, sometimes from where it once stood."""
        while count > 0:
            events = self._traffic.events(min(count, self._chance.randrange(1, 200)))
            self._eventually(lambda events=events: self._publish_some(events))  # type: ignore[misc]
            for position, event in self._chance.sample(self._published, 3):
                again = {"original_id": str(position), "replays": "1"}
                how = self._chance.choice([again, {}, None])
                if how is not None:
                    entry = event.as_text() | how
                    self._eventually(lambda entry=entry: self._world.append(entry))  # type: ignore[misc]
                    self._count["repeated"] += 1
            self._count["events"] += len(events)
            count -= len(events)
            self._fleet.supervise()

    def _publish_some(self, events: list[ProductEvent]) -> None:
        processor = self._backends.get_event_processor()
        if self._chance.random() < 0.5:
            positions = processor.publish(events)
        else:
            positions = publish_events(processor, self._backends.get_catalog(), events)
        self._published += zip(positions, events, strict=True)
        self._published += self._published[:3]
        self._published = self._chance.sample(self._published, min(500, len(self._published)))

    def _kill(self) -> None:
        self._count["kills"] += self._fleet.strike(signal.SIGKILL, self._chance)

    def _terminate(self) -> None:
        self._count["terminations"] += self._fleet.strike(signal.SIGTERM, self._chance)

    def _stop(self) -> None:
        self._count["stops"] += self._fleet.strike(signal.SIGSTOP, self._chance)

    def _restart(self) -> None:
        self._count["restarts"] += self._world.restart(kill=self._chance.random() < 0.5)

    def _drop_index(self) -> None:
        vectors = self._backends.get_vector_store()
        self._eventually(lambda: vectors.drop_index(embeddings=False))
        self._count["index drops"] += 1

    def _replay_dead_letter(self) -> None:
        dead = self._backends.get_dead_letters()
        letter = next(dead.letters(newest_first=self._chance.random() < 0.5), None)
        if letter is not None and letter.is_whole:
            self._count["replayed letters"] += dead.replay(letter)

    def _poison(self) -> None:
        for entry in self._traffic.poison(1):
            self._world.append(entry)
        self._count["poison"] += 1

    def _has_kept_up(self) -> bool:
        self._fleet.supervise()
        status = self._backends.get_event_processor().status()
        # So that they have work left whenever they are hit, and all of it is not left for the end.
        return status.lag is not None and status.lag < max(100, self._plan.events // 50)

    def _eventually(self, act: Callable[[], object]) -> None:
        def is_done() -> bool:
            self._fleet.supervise()
            try:
                act()
            except BackendUnavailable:
                return False
            return True

        wait_until(is_done, 60, "the backend answers")

    def _drain(self) -> None:
        def is_drained() -> bool:
            self._fleet.drain()
            status = self._backends.get_event_processor().status()
            return status.lag == 0 and status.pending == 0

        wait_until(is_drained, 120, "nothing is left to consume")
