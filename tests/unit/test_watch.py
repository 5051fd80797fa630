"""How often a consumer looks at its index, by a clock of the test's own."""

from __future__ import annotations

import pytest

from recsys_cli.domain import IndexInfo, IndexSpec, StreamStatus
from recsys_cli.generations import Generation
from recsys_cli.pipeline import watch
from recsys_cli.pipeline.watch import Watch


class Slow:
    """A stream, generations and a store in one; to count the index takes ``takes_s``."""

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s
        self.now_s = 1000.0
        self.looks = 0

    def monotonic(self) -> float:
        return self.now_s

    def info(self) -> IndexInfo:
        self.looks += 1
        self.now_s += self.takes_s
        return IndexInfo(
            name="",
            algorithm="HNSW",
            dimension=IndexSpec().dimension,
            documents=10**6,
            indexed=10**6,
            failures=0,
            memory_bytes=0,
            parameters={},
            model_versions=[],
        )

    def all(self) -> list[Generation]:
        return [Generation()]

    def store(self, _: Generation) -> Slow:
        return self

    def status(self) -> StreamStatus:
        return StreamStatus(
            stream="",
            group="",
            length=0,
            last_entry_id="0-0",
            lag=0,
            pending=0,
            oldest_pending_ms=None,
            dead_letters=0,
            consumers=[],
            groups=[],
        )


@pytest.mark.parametrize(("takes_s", "looks"), [(0.013, 12), (0.2, 3), (1.6, 1)])
def test_an_index_that_takes_long_to_count_is_looked_at_less_often(
    monkeypatch: pytest.MonkeyPatch, takes_s: float, looks: int
) -> None:
    slow = Slow(takes_s)
    monkeypatch.setattr(watch, "time", slow)
    watching = Watch(slow, slow, IndexSpec().dimension, 60_000, lambda _: None)  # type: ignore[arg-type]
    began_s = slow.now_s
    while slow.now_s < began_s + 58:
        watching.look_round()
        slow.now_s += 5
    assert slow.looks == looks
    watching.look_round(after_outage=True)
    assert slow.looks == looks + 1
    slow.now_s += 61
    watching.look_round()
    assert slow.looks == looks + 2
