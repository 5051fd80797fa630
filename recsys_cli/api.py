"""The Python API: one shared backend per process, opened when first used, safe in threads.

    from recsys_cli import ProductEventProducer, get_embedding_model, get_vector_store

    ProductEventProducer().publish_product_created({"id": "p-1", "name": "Desk lamp"})
    vector = get_vector_store().get_product_embedding("p-1")
    get_vector_store().find_similar_products(vector, limit=5)

Settings come from the environment and ``recsys.toml``, as on the command line.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from recsys_cli import ports
from recsys_cli.cleaning import clean_fields, clean_id
from recsys_cli.domain import (
    BEGINNING,
    EventType,
    IndexSpec,
    Neighbor,
    Product,
    ProductEvent,
    ProductMetadata,
    StoredEmbedding,
    utc_now,
)
from recsys_cli.errors import BackendUnavailable
from recsys_cli.generations import serving
from recsys_cli.pipeline.consume import ConsumeOptions, Consumer, ConsumeReport
from recsys_cli.pipeline.model import SharedModels
from recsys_cli.pipeline.products import created
from recsys_cli.pipeline.publish import publish_events
from recsys_cli.settings import NEIGHBOR_IS_STRONG, load
from recsys_cli.wiring import Backends

_log = logging.getLogger("recsys_cli")
_lock = threading.RLock()
_opened: Backends | None = None
_models: SharedModels | None = None


def get_event_processor() -> ports.EventProcessor:
    """Return the process's stream of product events, seen through its consumer group."""
    return _backends().get_event_processor()


def get_embedding_model() -> ports.EmbeddingModel:
    """Return the embedding model in use; fit it on what is published if there is none yet."""
    global _models  # noqa: PLW0603 - one per process is the promise
    opened = _backends()
    with _lock:
        if _models is None:
            _models = SharedModels(
                opened.get_event_processor(), opened.get_catalog(), opened.get_model_factory()
            )
        return _models.of(serving(opened.get_generations().all()))


def get_vector_store() -> VectorStore:
    """Return the process's vector store."""
    opened = _backends()
    return VectorStore(
        opened.get_generations(),
        dimension=opened.settings.vector_dimension,
        threshold=opened.settings.similarity_threshold,
    )


def close() -> None:
    """Close what this process has opened; the next use opens it again, with fresh settings."""
    global _opened, _models  # noqa: PLW0603
    with _lock:
        if _opened is not None:
            _opened.close()
        _opened = _models = None


def _backends() -> Backends:
    global _opened  # noqa: PLW0603
    with _lock:
        if _opened is None:
            _opened = Backends(load())
        return _opened


class VectorStore:
    """Product embeddings and their neighbors. Vectors have shape (dimension,)."""

    def __init__(
        self,
        generations: ports.Generations,
        *,
        dimension: int = 384,
        threshold: float | None = None,
    ) -> None:
        self._generations = generations
        self._dimension = dimension
        self._threshold = NEIGHBOR_IS_STRONG if threshold is None else threshold

    def store_product_embedding(
        self,
        product_id: str,
        embedding: Sequence[float] | npt.NDArray[np.floating],
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        """Store an embedding, scaled to unit length, with ``name``, ``category``, ``price``.

        Raises ValueError for a vector of another size, of length zero, or not finite, and
        InvalidProduct for metadata that no product can have.
        """
        product_id = clean_id(product_id)
        fields = Product.from_fields(product_id, clean_fields(metadata or {}))
        store = self._serving()
        before = store.stored([product_id]).get(product_id)
        source = StoredEmbedding(
            position=before.position if before else BEGINNING, model_version="", text_digest=""
        )
        if store.dimension() is None:
            store.create_index(IndexSpec(dimension=self._dimension))
        entry = ports.Embedding(
            product_id,
            _unit(embedding),
            ProductMetadata(name=fields.name, category=fields.category, price=fields.price),
            source,
            utc_now(),
        )
        store.write([entry])

    def find_similar_products(
        self,
        embedding: Sequence[float] | npt.NDArray[np.floating],
        limit: int = 10,
        min_score: float | None = None,
    ) -> list[Neighbor]:
        """Return up to ``limit`` products whose cosine is at least ``min_score``, closest first.

        ``min_score`` is SIMILARITY_THRESHOLD, or 0.75, unless it is given.
        """
        threshold = self._threshold if min_score is None else min_score
        found = self._serving().search(_unit(embedding), limit)
        return [neighbor for neighbor in found if neighbor.similarity_score >= threshold]

    def _serving(self) -> ports.VectorStore:
        return self._generations.store(serving(self._generations.all()))

    def get_product_embedding(self, product_id: str) -> ports.Vector | None:
        """Return the product's vector, float32 of unit length, or None."""
        return self._serving().get([product_id]).get(product_id)

    def delete_product_embedding(self, product_id: str) -> bool:
        """Remove the product's embedding; return False where there was none."""
        store = self._serving()
        stored = store.stored([product_id]).get(product_id)
        if stored is None:
            return False
        store.remove({product_id: stored.position})
        return True


class ProductEventProducer:
    """Publishes the changes of single products; each method returns the event's id."""

    def publish_product_created(self, product: Product | Mapping[str, object]) -> str:
        """Publish a whole product: a Product, or a mapping with ``id`` and its fields."""
        if isinstance(product, Product):
            product = {"id": product.id, **product.to_fields()}
        fields = {name: value for name, value in product.items() if name != "id"}
        return self._publish(created(product.get("id"), fields))

    def publish_product_updated(self, product_id: str, changes: Mapping[str, object]) -> str:
        """Publish the changed fields; None empties a field."""
        return self._publish(_event(EventType.UPDATE, product_id, changes))

    def publish_product_deleted(self, product_id: str) -> str:
        """Publish that the product is gone."""
        return self._publish(_event(EventType.DELETE, product_id, {}))

    def _publish(self, event: ProductEvent) -> str:
        opened = _backends()
        (position,) = publish_events(opened.get_event_processor(), opened.get_catalog(), [event])
        return str(position)


def _event(kind: EventType, product_id: str, fields: Mapping[str, object]) -> ProductEvent:
    return ProductEvent(type=kind, product_id=clean_id(product_id), fields=clean_fields(fields))


class ProductEventConsumer:
    """Consumes product events, in a background thread or in the foreground."""

    def __init__(self, consumer_id: str | None = None) -> None:
        self._consumer_id = consumer_id
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, batch_size: int = 10, block_ms: int = 2000) -> None:
        """Start consuming in a thread of its own; harmless when it runs already."""
        if self.is_running:
            return
        self._stop = threading.Event()
        consumer = self._consumer(batch_size, block_ms)
        self._thread = threading.Thread(
            target=self._keep_running, args=(consumer,), name="recsys-consumer", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch in hand and end the thread, within 5 s. Stopping twice is harmless."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def run(
        self, batch_size: int = 10, block_ms: int = 2000, *, drain: bool = False
    ) -> ConsumeReport:
        """Consume in the foreground until stopped from elsewhere or, with ``drain``, all done."""
        return self._consumer(batch_size, block_ms, drain=drain).run(self._stop)

    def _consumer(self, batch_size: int, block_ms: int, *, drain: bool = False) -> Consumer:
        opened = _backends()
        return Consumer(
            opened.get_event_processor(),
            opened.get_catalog(),
            opened.get_generations(),
            opened.get_model_factory(),
            ConsumeOptions(
                consumer=self._consumer_id or opened.settings.consumer_id,
                batch_size=batch_size,
                block_ms=block_ms,
                drain=drain,
            ),
            _log.warning,
        )

    def _keep_running(self, consumer: Consumer) -> None:
        while not self._stop.is_set():
            try:
                consumer.run(self._stop)
            except BackendUnavailable as error:
                _log.warning("%s; trying again", error)
                self._stop.wait(1.0)
            except Exception:
                _log.exception("the consumer %s has stopped", self._consumer_id or "")
                raise


def _unit(embedding: Sequence[float] | npt.NDArray[np.floating]) -> ports.Vector:
    vector = np.asarray(embedding, dtype=np.float32)
    length = float(np.linalg.norm(vector))
    if vector.ndim != 1 or not np.isfinite(length) or length == 0.0:
        raise ValueError("an embedding is one row of finite numbers that are not all zero")
    return (vector / length).astype(np.float32)
