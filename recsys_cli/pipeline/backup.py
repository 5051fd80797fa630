"""Catalog, model and vectors out of one backend, and into another.

Positions are not carried over: the stream of the target has its own. What is restored is published
there first, merged at once, and each vector is stored under the position of its own event. So
restored products are older than everything that comes later, and a consumer that takes their events
finds the embeddings there already. Killed in the middle, a restore leaves events that consumers
embed; run again, it publishes only what differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from recsys_cli.backups import Backup, BackupHeader, SavedProduct
from recsys_cli.batches import batched
from recsys_cli.cleaning import clean_fields, clean_id
from recsys_cli.domain import (
    EventType,
    Fields,
    Position,
    Product,
    ProductEvent,
    StoredEmbedding,
    filled,
    utc_now,
)
from recsys_cli.errors import InvalidData, InvalidProduct, NotEmbedded, UsageError
from recsys_cli.generations import serving
from recsys_cli.pipeline.embed import Target, embed_states, metadata_of
from recsys_cli.pipeline.exact import is_unit, sound_vectors
from recsys_cli.pipeline.models import artifact_of, version_in
from recsys_cli.pipeline.publish import changed_fields, publish_events
from recsys_cli.pipeline.reembed import Reembedding
from recsys_cli.ports import (
    Catalog,
    Embedding,
    EmbeddingModel,
    EventProcessor,
    Generations,
    ModelFactory,
    Vector,
    VectorStore,
    version_of,
)

PAGE = 500
_FLOAT32 = np.dtype("<f4")


@dataclass
class Restored:
    """``unchanged``: products that were there as they are in the backup.

    ``carries_vectors``: whether the model of the backup is the one in use; if not, and for products
    without a vector, consumers embed.
    """

    products: int = 0
    unchanged: int = 0
    vectors: int = 0
    carries_vectors: bool = False


def take_backup(
    catalog: Catalog, generations: Generations, models: ModelFactory, *, vectors: bool = True
) -> Backup:
    """Return all products, with the vectors that the generation that serves has of them now.

    A vector that is damaged, or of an earlier state of its product, is left out.
    """
    generation = serving(generations.all())
    try:
        artifact = artifact_of(catalog, generation)
    except NotEmbedded:
        artifact = None
    header = BackupHeader(
        created_at=utc_now(),
        model_version=version_of(artifact) if artifact else "",
        spec=generation.spec,
        artifact=artifact,
    )
    if artifact is None or not vectors:
        return Backup(header, (_saved(product) for product in catalog.products()))
    store, model = generations.store(generation), models.load(artifact)
    return Backup(header, _with_vectors(catalog, store, model))


def read_checked(path: Path, read: Callable[[Path], Backup]) -> Backup:
    """Return the backup, to be read again once all of it was seen to be sound.

    Raises InvalidData with the number of the first product that is not.
    """
    backup = read(path)
    for number, saved in enumerate(backup.products, start=1):
        try:
            clean_id(saved.product_id)
            clean_fields(saved.fields)
            _checked(saved, backup.header.spec.dimension)
        except (InvalidData, InvalidProduct) as error:
            raise InvalidData(f"{path}, product {number:,}: {error}") from error
    return read(path)


class Restoring:
    """Puts backups into a backend."""

    def __init__(
        self,
        events: EventProcessor,
        catalog: Catalog,
        generations: Generations,
        models: ModelFactory,
    ) -> None:
        self._events = events
        self._catalog = catalog
        self._generations = generations
        self._models = models

    def restore(
        self, backup: Backup, *, replace: bool, progress: Callable[[Restored], None]
    ) -> Restored:
        """Restore; products that the backup lacks stay as they are.

        Raises UsageError where the catalog has products, unless ``replace``.
        """
        if not replace and next(self._catalog.products(), None) is not None:
            raise UsageError(
                "the catalog is not empty; with --replace the products of the backup replace those"
                " of the same id, and the others stay"
            )
        done = Restored()
        model = self._model(backup.header)
        done.carries_vectors = model is not None
        for page in batched(backup.products, PAGE):
            fields = {clean_id(saved.product_id): clean_fields(saved.fields) for saved in page}
            positions = self._published(fields, done)
            if model is not None:
                done.vectors += self._write(page, fields, positions, model)
            done.products += len(page)
            progress(done)
        return done

    def _model(self, header: BackupHeader) -> EmbeddingModel | None:
        """Return the model of the backup if it is in use here by now."""
        if header.artifact is None:
            return None
        model = self._models.load(header.artifact)
        self._catalog.save_model(header.artifact)
        using = Reembedding(self._events, self._catalog, self._generations, self._models)
        if not using.use_model(model.version):
            return None
        generation = serving(self._generations.all())
        store = self._generations.store(generation)
        if store.dimension() is None:
            store.create_index(header.spec)
        return model

    def _published(self, fields: dict[str, Fields], done: Restored) -> dict[str, Position]:
        """Publish what differs; return the position under which each product stands."""
        known = self._catalog.get(list(fields))
        events = []
        for product_id, wanted in fields.items():
            state = known.get(product_id)
            whole: Fields = dict.fromkeys(state.values) if state else {}
            if state and state.exists and not changed_fields(state, whole | wanted):
                done.unchanged += 1
                continue
            events.append(
                ProductEvent(type=EventType.CREATE, product_id=product_id, fields=filled(wanted))
            )
        positions = {i: state.position for i, state in known.items()}
        if events:
            new = publish_events(self._events, self._catalog, events, known)
            positions |= {e.product_id: at for e, at in zip(events, new, strict=True)}
        return positions

    def _write(
        self,
        page: Sequence[SavedProduct],
        fields: dict[str, Fields],
        positions: dict[str, Position],
        model: EmbeddingModel,
    ) -> int:
        generation = serving(self._generations.all())
        if version_in(self._catalog, generation) != model.version:
            return 0  # another one serves by now: consumers embed with its model
        entries = []
        for saved in page:
            product_id = clean_id(saved.product_id)
            product = Product.from_fields(product_id, fields[product_id])
            row = _checked(saved, model.dimension)
            digest = model.text_digest(product)
            if row is None or saved.text_digest != digest:
                continue  # a vector of another text is no better than none
            source = StoredEmbedding(
                position=positions[product_id], model_version=model.version, text_digest=digest
            )
            metadata = metadata_of(product, generation.spec.attributes)
            entries.append(Embedding(product_id, row, metadata, source, utc_now()))
        target = Target(generation, self._generations.store(generation), model)
        target.vectors.write(entries)
        states = self._catalog.get([entry.product_id for entry in entries])
        newer = {i: state for i, state in states.items() if state.position != positions[i]}
        embed_states(newer, self._catalog, [target], lambda: [target])
        return len(entries)


def _with_vectors(
    catalog: Catalog, store: VectorStore, model: EmbeddingModel
) -> Iterator[SavedProduct]:
    for entries in batched(catalog.products(), PAGE):
        rows = _current(entries, store, model)
        for product in entries:
            row = rows.get(product.id)
            vector = None if row is None else row.astype(_FLOAT32).tobytes()
            digest = "" if row is None else model.text_digest(product)
            yield msgspec.structs.replace(_saved(product), vector=vector, text_digest=digest)


def _current(
    products: Sequence[Product], store: VectorStore, model: EmbeddingModel
) -> dict[str, Vector]:
    """Return the sound vectors of what the products are now."""
    stored = store.stored([product.id for product in products])
    ids = [
        product.id
        for product in products
        if (source := stored.get(product.id))
        and source.model_version == model.version
        and source.text_digest == model.text_digest(product)
    ]
    found = sound_vectors(store, ids)
    # A vector that was written in between may be of another text.
    again = store.stored(list(found))
    return {i: row for i, row in found.items() if again.get(i) == stored[i] and is_unit(row)}


def _saved(product: Product) -> SavedProduct:
    return SavedProduct(product_id=product.id, fields=product.to_fields())


def _checked(saved: SavedProduct, dimension: int) -> Vector | None:
    """Return the vector. Raises InvalidData where it cannot be one."""
    if saved.vector is None:
        return None
    if len(saved.vector) == dimension * _FLOAT32.itemsize:
        row = np.frombuffer(saved.vector, _FLOAT32)
        if is_unit(row):
            return row
    raise InvalidData(
        f"the backup's vector of product {saved.product_id!r} is not one of {dimension} numbers,"
        " of unit length"
    )
