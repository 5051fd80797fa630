"""An event on its way: handed out, failed, handed out again, given up, replayed."""

from __future__ import annotations

import msgspec

from recsys_cli.domain import Position, ProductEvent

_NOT_KEPT_WHOLE = frozenset({"oversized", "not-utf-8"})


class UndecodableEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the stream that cannot be an event, and never will be.

    ``cause`` is a word to group by, ``reason`` a sentence, ``raw`` what the entry held.
    """

    cause: str
    reason: str
    raw: dict[str, str]


class LostEvent(msgspec.Struct, frozen=True):
    """Nothing is left of the event: it was taken off the stream before it was acknowledged."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong with an event, last on ``attempt``. Times are ISO 8601 in UTC."""

    attempt: int
    error: str
    first_failed_at: str
    last_failed_at: str


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """An event handed to a consumer. ``attempt`` is 1 the first time, counted by the backend.

    ``entry_id`` names the entry, ``position`` is where the event counts: the same place, but for a
    replayed event, which counts where it first stood. ``failure``: of the earlier attempts.
    """

    entry_id: str
    position: Position
    consumer: str
    attempt: int
    event: ProductEvent | UndecodableEvent | LostEvent
    failure: Failure | None = None
    replays: int = 0

    @property
    def raw(self) -> dict[str, str]:
        """The entry as text, as it was or would have been on the stream."""
        if isinstance(self.event, ProductEvent):
            place = str(self.position)
            moved = self.replays or place != self.entry_id
            return self.event.as_text() | (replay_fields(place, self.replays) if moved else {})
        return self.event.raw if isinstance(self.event, UndecodableEvent) else {}


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was given up, with why. Times are ISO 8601 in UTC.

    ``id`` names the letter, given by the backend; ``entry_id`` the entry that the event was.
    """

    id: str = ""
    entry_id: str
    raw: dict[str, str]
    cause: str
    error: str
    attempts: int
    first_failed_at: str
    last_failed_at: str

    @property
    def is_whole(self) -> bool:
        """Whether it holds all of its event, and not the beginning or a transcript only."""
        return self.cause not in _NOT_KEPT_WHOLE

    @property
    def replays(self) -> int:
        """How often the event had been replayed before it died this time."""
        return counted(self.raw.get("replays", ""))

    @property
    def as_replayed(self) -> dict[str, str]:
        """The entry to put on the stream again; it will count where the event first stood."""
        origin = self.raw.get("original_id") or self.entry_id
        return self.raw | replay_fields(origin, self.replays + 1)


def counted(text: str) -> int:
    """Return a count that a stranger may have written; 0 where it is none."""
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def replay_fields(original_id: str, replays: int) -> dict[str, str]:
    """Return what a replayed event has on the stream beside its own four fields."""
    return {"original_id": original_id, "replays": str(replays)}


class PendingEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that is not acknowledged yet. ``product_id`` is None where the body is gone.

    ``idle_ms`` counts towards the claim time; of an event that waits for its next try it is not the
    time since anything happened, which ``failure`` tells.
    """

    entry_id: str
    product_id: str | None
    event_type: str | None
    consumer: str
    idle_ms: int
    deliveries: int
    failure: Failure | None = None
