"""Consumers with a fault: ``python -m tests.faults kill|fail NAME`` meets it at that product.

The fault lies in the embedding model, where a product too much for memory, or a bug, would be.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence

from recsys_cli.domain import Product
from recsys_cli.pipeline.consume import ConsumeOptions, Consumer
from recsys_cli.ports import EmbeddingModel, Matrix, ModelFactory
from recsys_cli.settings import load
from recsys_cli.wiring import Backends


class FaultyModels:
    """A ModelFactory whose models call ``before_embedding`` with what they are to embed."""

    def __init__(
        self, inner: ModelFactory, before_embedding: Callable[[Sequence[Product]], None]
    ) -> None:
        self._inner = inner
        self._before_embedding = before_embedding
        self.dimension = inner.dimension

    def merge(self, artifacts: Sequence[bytes]) -> EmbeddingModel:
        return _FaultyModel(self._inner.merge(artifacts), self._before_embedding)

    def fit(self, products: Iterable[Product]) -> EmbeddingModel:
        return _FaultyModel(self._inner.fit(products), self._before_embedding)

    def load(self, artifact: bytes) -> EmbeddingModel:
        return _FaultyModel(self._inner.load(artifact), self._before_embedding)


class _FaultyModel:
    def __init__(
        self, inner: EmbeddingModel, before_embedding: Callable[[Sequence[Product]], None]
    ) -> None:
        self._before_embedding = before_embedding
        self._embed = inner.embed
        self.version = inner.version
        self.dimension = inner.dimension
        self.info = inner.info
        self.explain = inner.explain
        self.text_digest = inner.text_digest
        self.unknown_words = inner.unknown_words
        self.to_bytes = inner.to_bytes

    def embed(self, products: Sequence[Product]) -> Matrix:
        self._before_embedding(products)
        return self._embed(products)


def main() -> None:
    fault, name = sys.argv[1:]

    def meet(products: Sequence[Product]) -> None:
        if any(product.name == name for product in products):
            if fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise MemoryError(f"no room for {name}")

    with Backends(load()) as opened:
        Consumer(
            opened.get_event_processor(),
            opened.get_catalog(),
            opened.get_generations(),
            FaultyModels(opened.get_model_factory(), meet),
            # One name, as a supervisor would give it: what it left is its own again at once.
            ConsumeOptions(consumer="worker", batch_size=50, drain=True),
        ).run(threading.Event())


if __name__ == "__main__":
    main()
