"""Who is in the shop while something is done to it: some ask, and some change things."""

from __future__ import annotations

import threading

import numpy as np

from recsys_cli.domain import EventType, Product, ProductEvent
from recsys_cli.pipeline.publish import publish_events
from recsys_cli.pipeline.similar import Query, Similar, SimilarProducts
from recsys_cli.ports import EmbeddingModel
from recsys_cli.settings import load
from recsys_cli.wiring import Backends

WORDS = "lamp tent mug boot desk kettle chair bottle shelf radio glove scarf".split()


class Busy(threading.Thread):
    """Does something again and again until it is over, and keeps the error that ended it."""

    def __init__(self, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self._over = over
        self.done = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with Backends(load()) as backends:
                while not self._over.is_set():
                    self.once(backends)
                    self.done += 1
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.error = error

    def once(self, backends: Backends) -> None:
        raise NotImplementedError


class Asking(Busy):
    """Asks for neighbors of ``m-0`` and so on; all scores of an answer must be of one model."""

    def __init__(self, over: threading.Event, products: int) -> None:
        super().__init__(over)
        self._products = products
        self._models: dict[str, EmbeddingModel] = {}

    def once(self, backends: Backends) -> None:
        catalog, every = backends.get_catalog(), backends.get_generations()
        queried = f"m-{self.done * 7 % self._products}"
        products = SimilarProducts(backends.get_event_processor(), catalog, every)
        (found,) = products.of([queried], Query(limit=5))
        assert isinstance(found, Similar), found
        assert len(found.neighbors) == 5
        if self.done % 20 == 0:
            self._learn(backends)
        # The others change while we look.
        scores = {
            n.product_id: n.similarity_score
            for n in found.neighbors
            if n.product_id.startswith("m-")
        }
        states = catalog.get([queried, *scores])
        texts = [p for i in (queried, *scores) if (p := states[i].product(i))]
        assert self._is_of_one(texts, scores) or self._learn(backends)
        assert self._is_of_one(texts, scores), (queried, scores, self._models.keys())

    def _is_of_one(self, products: list[Product], scores: dict[str, float]) -> bool:
        for model in self._models.values():
            queried, *rows = model.embed(products)
            if np.allclose([queried @ row for row in rows], list(scores.values()), atol=1e-5):
                return True
        return False

    def _learn(self, backends: Backends) -> bool:
        catalog, factory = backends.get_catalog(), backends.get_model_factory()
        for stored in catalog.models():
            artifact = catalog.model(stored.version)
            if artifact is not None and stored.version not in self._models:
                self._models[stored.version] = factory.load(artifact)
        return True


class Shopping(Busy):
    """Creates a product, changes it, and deletes every third."""

    def once(self, backends: Backends) -> None:
        product_id, name = f"live-{self.done}", f"{WORDS[self.done % 12]} live {self.done}"
        kinds = [(EventType.CREATE, {"name": name}), (EventType.UPDATE, {"name": f"{name} new"})]
        if self.done % 3 == 0:
            kinds.append((EventType.DELETE, {}))
        events = [ProductEvent(type=k, product_id=product_id, fields=dict(f)) for k, f in kinds]
        publish_events(backends.get_event_processor(), backends.get_catalog(), events)
        self._over.wait(0.01)
