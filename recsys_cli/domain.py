"""The values that move through recsys: frozen, no I/O, and valid (``cleaning.py`` sees to that)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple, TypeAlias

import msgspec

CORE_FIELDS = ("name", "description", "category", "price")

SCORE_DECIMALS = 6
"""Scores that agree so far are a tie: float32 says no more."""

FieldValue: TypeAlias = str | float | None
"""Text, the price as a number, or None: the field is (to be) empty. Only ``price`` is a number."""

Fields: TypeAlias = dict[str, FieldValue]


def filled(fields: Fields) -> Fields:
    """Return those of the fields that are not empty: the very same where none is."""
    if None not in fields.values():
        return fields
    return {name: value for name, value in fields.items() if value is not None}


def utc_now() -> str:
    """Return the current time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Position(NamedTuple):
    """Where an event stands in the stream. Positions of one stream are totally ordered.

    Its text form, ``"1732400000000-0"``, is the entry id of a Redis stream; backends that number
    their entries simply use ``Position(number, 0)``.
    """

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}-{self.minor}"

    @classmethod
    def parse(cls, text: str) -> Position:
        major, _, minor = text.partition("-")
        return cls(int(major), int(minor or 0))


BEGINNING = Position(0, 0)


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """One product of the catalog. Text is NFC, ``price`` finite and not negative, or None."""

    id: str
    name: str = ""
    description: str = ""
    category: str = ""
    price: float | None = None
    attributes: dict[str, str] = msgspec.field(default_factory=dict)

    @classmethod
    def from_fields(cls, product_id: str, fields: Mapping[str, FieldValue]) -> Product:
        """Build a product from clean fields; fields that are not core become attributes."""
        price = fields.get("price")
        return cls(
            id=product_id,
            name=str(fields.get("name") or ""),
            description=str(fields.get("description") or ""),
            category=str(fields.get("category") or ""),
            price=None if price is None else float(price),
            attributes={
                name: str(value)
                for name, value in fields.items()
                if name not in CORE_FIELDS and value is not None
            },
        )

    def to_fields(self) -> Fields:
        """Return the flat form that events carry: no ``id``, and no field that is empty."""
        core: Fields = {
            "name": self.name or None,
            "description": self.description or None,
            "category": self.category or None,
            "price": self.price,
        }
        return filled({**core, **self.attributes})


class EventType(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class ProductEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one product, as published.

    ``fields`` is the whole product for a create, the changed fields for an update (None empties a
    field), and ``{}`` for a delete. ``timestamp`` is ISO 8601 in UTC.
    """

    type: EventType
    product_id: str
    fields: Fields = msgspec.field(default_factory=dict)
    timestamp: str = msgspec.field(default_factory=utc_now)

    def as_text(self) -> dict[str, str]:
        """Return the four text fields that the event has on a stream."""
        data = {"id": self.product_id} if self.type is EventType.CREATE else {}
        return {
            "event_type": self.type.value,
            "product_id": self.product_id,
            "timestamp": self.timestamp,
            "data": msgspec.json.encode(data | self.fields).decode(),
        }


class ConsumerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """``idle_ms``: since it last asked for events; None where the backend does not say."""

    name: str
    pending: int
    idle_ms: int | None


class GroupStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far one group is behind; ``idle_ms``: since a consumer asked, None: it has none.

    Of one that cannot be asked now only the name is known.
    """

    name: str
    lag: int | None = None
    pending: int | None = None
    idle_ms: int | None = None

    @property
    def seems_unused(self) -> bool:
        """Whether it keeps events on the stream, and nobody has asked for them for an hour."""
        is_idle = self.idle_ms is None or self.idle_ms > 3_600_000
        return self.pending is not None and self.lag != 0 and is_idle


class StreamStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far a consumer group is behind its stream. None means unknown, never zero.

    ``groups`` are all groups of the stream: each keeps the events that it still needs on it.
    """

    stream: str
    group: str
    length: int
    last_entry_id: str
    lag: int | None
    pending: int
    oldest_pending_ms: int | None
    dead_letters: int
    consumers: list[ConsumerStatus]
    groups: list[GroupStatus]


class StoredEmbedding(msgspec.Struct, frozen=True, kw_only=True):
    """What an embedding in the vector store was computed from."""

    position: Position
    model_version: str
    text_digest: str


class ProductMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What filters and tables show of a product, kept beside its vector.

    ``attributes``: those that the index can filter by.
    """

    name: str = ""
    category: str = ""
    price: float | None = None
    attributes: dict[str, str] = msgspec.field(default_factory=dict)


class SearchFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which products may be neighbors: exact category, price bounds inclusive; None: any.

    A product without a price is within no price bound. ``attributes``: for each name, the values
    of which the product must have one.
    """

    category: str | None = None
    price_min: float | None = None
    price_max: float | None = None
    exclude_categories: tuple[str, ...] = ()
    attributes: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)


class Neighbor(msgspec.Struct, frozen=True, kw_only=True):
    """A product close to the queried one. ``similarity_score`` is the cosine, -1 to 1."""

    product_id: str
    similarity_score: float
    category: str
    name: str
    price: float | None
    embedding_updated_at: str


class IndexSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The schema of an HNSW index (Malkov & Yashunin 2016, arXiv:1603.09320).

    ``m``: links per node and layer. ``ef_construction``, ``ef_runtime``: candidates kept while
    building and while searching. Exact stores keep to ``dimension`` and ignore the rest. With the
    defaults recall@10 is above 0.99 at 100 000 products: ``python -m tests.benchmarks.recall``.
    ``attributes``: names of those that neighbors can be filtered by.
    """

    dimension: int = 384
    m: int = 16
    ef_construction: int = 200
    ef_runtime: int = 200
    attributes: tuple[str, ...] = ()


class IndexInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What an index holds. None means that the backend does not say.

    ``name``: the one that all generations share.
    ``is_building``: it still takes up what was there before it.
    """

    name: str
    algorithm: str
    dimension: int
    documents: int
    indexed: int
    failures: int
    memory_bytes: int | None
    parameters: dict[str, int]
    model_versions: list[str]
    attributes: list[str] = msgspec.field(default_factory=list)
    is_building: bool = False

    @property
    def bytes_per_product(self) -> int | None:
        if self.memory_bytes is None or self.documents == 0:
            return None
        return round(self.memory_bytes / self.documents)


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What an embedding model says of itself; ``products``: how many it was fitted on."""

    kind: str
    version: str
    dimension: int
    products: int
    size_bytes: int
    options: list[str]


class StoredModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model in the catalog.

    ``fitted_at``: the last event that its products had seen. ``saved_at``: ISO 8601 in UTC; empty
    where nobody noted it.
    """

    version: str
    size_bytes: int
    fitted_at: Position = BEGINNING
    saved_at: str = ""


class SharedWord(msgspec.Struct, frozen=True, kw_only=True):
    """What a word of one product and a word of the other add to their cosine.

    Often it is the same word; otherwise both have pieces in common, as ``kettle`` and ``kettles``.
    The fields are those that the word stands in, on each side.
    """

    word: str
    other_word: str
    share: float
    fields: list[str]
    other_fields: list[str]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why two products are close: ``score`` is the sum of the shares, pieces and collisions.

    ``words`` has the largest share first. ``pieces``: what is left of different words that have
    letters in common. ``collisions``: what has nothing to do with the words; the price of few
    dimensions, as often negative as not.
    """

    score: float
    words: list[SharedWord]
    pieces: float
    collisions: float


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the backend. ``address`` never holds a password.

    Of one that does not answer only ``details`` are known: why not.
    """

    part: str
    address: str
    version: str
    details: str = ""


class FeedRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A valid row of a feed. ``fields`` has every field the feed speaks of; None is an empty cell.

    A field that the feed has no column for is absent: the feed says nothing about it. No cycle can
    go through one, so the garbage collector need not look at the thousands that a feed has.
    """

    file: str
    line: int
    product_id: str
    fields: Fields


class Pair(NamedTuple):
    """Two products that are known to match, and the line of the file that says so."""

    line: int
    one: str
    other: str


class RejectedRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A row that cannot be a product. ``raw``: the record by its own column names, or its text.

    ``product_id`` is there where the row at least has a valid id.
    """

    file: str
    line: int
    reason: str
    product_id: str | None = None
    raw: dict[str, object] | str
