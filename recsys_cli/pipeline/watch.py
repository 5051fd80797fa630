"""What a consumer keeps an eye on beside its events: its group, its stream, and the index."""

from __future__ import annotations

from collections.abc import Callable

from recsys_cli.domain import Position, StreamStatus
from recsys_cli.errors import IndexMismatch
from recsys_cli.generations import serving
from recsys_cli.ports import EventProcessor, Generations, VectorStore


class Watch:
    """Mends what is missing, and tells ``notify`` what was lost with it.

    ``dimension``: of the model. ``claim_idle_ms``: a consumer that asked for nothing for so long,
    and holds nothing, is gone.
    """

    def __init__(
        self,
        events: EventProcessor,
        generations: Generations,
        dimension: int,
        claim_idle_ms: int,
        notify: Callable[[str], None],
    ) -> None:
        self._events = events
        self._generations = generations
        self._dimension = dimension
        self._claim_idle_ms = claim_idle_ms
        self._notify = notify
        self._last_seen: StreamStatus | None = None

    def look_round(self) -> StreamStatus:
        """See how things stand, and mend what is missing."""
        if self.ensure_index():
            self._notify("the index was gone, and is made again over the embeddings that are left")
        status = self._events.status()
        self._tell_if_stream_went_back(status)
        self._last_seen = status
        gone = [
            c.name
            for c in status.consumers
            if not c.pending and (c.idle_ms or 0) >= self._claim_idle_ms
        ]
        if gone:
            self._events.forget_consumers(gone)
        return status

    def begin_anew(self) -> None:
        """Go on after the stream, or the group on it, has vanished under a running consumer."""
        self._events.create_group()
        self.ensure_index()
        last, self._last_seen = self._last_seen, None
        waiting = (
            ""
            if last is None
            else f"; {last.pending + (last.lag or 0):,} events were waiting when last seen"
        )
        self._notify(
            "the stream's consumer group was gone (flushed, deleted, or restarted without its data)"
            f" and is made again{waiting}; what the backend had not kept is lost:"
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

    def ensure_index(self, *, until_built: bool = False) -> bool:
        """Create the index if it is missing; return whether it was. Raises IndexMismatch.

        ``until_built``: wait where another consumer has just created it. What is written before it
        is built, a backend may take up twice.
        """
        generation = serving(self._generations.all())
        vectors = self._generations.store(generation)
        dimension = vectors.dimension()
        if dimension is None or (until_built and _is_building(vectors)):
            return vectors.create_index(generation.spec)
        if dimension != self._dimension:
            raise IndexMismatch(
                f"the index has {dimension} dimensions, the model {self._dimension}",
                hint="recsys index drop, or set VECTOR_DIMENSION",
            )
        return False


def _is_building(vectors: VectorStore) -> bool:
    info = vectors.info()
    return info is not None and info.is_building
