"""Seeded traffic: creates, partial updates, deletes, repeats, replays from old ids, and poison."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator

from recsys_cli.domain import EventType, Fields, ProductEvent
from tests.chaos.oracle import POISON

WORDS = (
    "lamp desk oak steel kettle gooseneck headphones wireless noise cancelling bottle thermos "
    "insulated camping tent waterproof jacket wool socks merino keyboard mechanical mouse vertical "
    "monitor stand arm cable usb-c charger travel adapter EU-230 KX-7 H700 D4 speaker beach towel"
).split()
CATEGORIES = ["Lighting", "Kitchen", "Audio", "Outdoor", None]
BROKEN = 3
"""So many products have a state in the catalog that cannot be read; their events fail."""

OVERSIZED_BYTES = 2_100_000


class Traffic:
    def __init__(self, chance: random.Random, products: int) -> None:
        self._chance = chance
        self._products = products
        self._numbers = itertools.count()

    @property
    def broken_ids(self) -> list[str]:
        return [f"broken-{number}" for number in range(BROKEN)]

    def events(self, count: int) -> list[ProductEvent]:
        return [self._event() for _ in range(count)]

    def poison(self, count: int) -> Iterator[dict[str, str]]:
        """Yield entries that can never be applied, each of another kind."""
        for _ in range(count):
            number = next(self._numbers)
            good = ProductEvent(
                type=EventType.UPDATE,
                product_id=self._id(),
                fields={"name": f"poison {number}"},
                timestamp=f"{POISON}{number}",
            ).as_text()
            kinds = [
                {"event_type": "explode"},
                {"data": "{not json"},
                {"data": json.dumps({"id": "another product"})},
                {"data": json.dumps({"price": -1})},
                {"product_id": ""},
                {"product_id": self._chance.choice(self.broken_ids)},
                {"product_id": self._chance.choice(self.broken_ids)},
                {"data": json.dumps({"name": "x" * OVERSIZED_BYTES})},
            ]
            # The last kind is large, so it is rare.
            weights = [8] * (len(kinds) - 1) + [1]
            yield good | self._chance.choices(kinds, weights)[0]

    def _event(self) -> ProductEvent:
        kind = self._chance.choices(list(EventType), weights=[35, 50, 15])[0]
        fields: Fields = {}
        if kind is EventType.CREATE:
            fields = {n: v for n, v in self._fields().items() if v is not None}
        elif kind is EventType.UPDATE:
            every = self._fields()
            fields = {name: every[name] for name in self._chance.sample(list(every), 2)}
        return ProductEvent(type=kind, product_id=self._id(), fields=fields)

    def _id(self) -> str:
        return f"p{self._chance.randrange(self._products)}"

    def _fields(self) -> Fields:
        chance = self._chance
        return {
            # Now and then no words at all: such a product has no vector.
            "name": chance.choice([" ".join(chance.sample(WORDS, 3))] * 9 + ["..."]),
            "description": chance.choice([None, " ".join(chance.sample(WORDS, 8))]),
            "category": chance.choice(CATEGORIES),
            "price": chance.choice([None, chance.randrange(1, 10_000) / 100]),
            "color": chance.choice(["red", "blue", None]),
        }
