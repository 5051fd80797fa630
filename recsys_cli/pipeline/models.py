"""Embedding models: fitted on the catalog or on feeds, found where they serve, listed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from recsys_cli.domain import FeedRow, ModelInfo, Position, Product, RejectedRow
from recsys_cli.errors import InvalidModel, NotEmbedded
from recsys_cli.generations import Generation, GenerationState, serving
from recsys_cli.ports import (
    Catalog,
    ConsumerGroup,
    EmbeddingModel,
    Generations,
    ModelFactory,
    version_of,
)


@dataclass
class FeedProducts:
    """The products of feeds, as they are read; ``rejected`` counts the rows that are none."""

    rows: Iterable[FeedRow | RejectedRow]
    rejected: int = 0

    def __iter__(self) -> Iterator[Product]:
        for row in self.rows:
            if isinstance(row, FeedRow):
                yield Product.from_fields(row.product_id, row.fields)
            else:
                self.rejected += 1


def artifact_of(catalog: Catalog, generation: Generation) -> bytes:
    """Return the artifact of the model that made the generation's vectors.

    Raises NotEmbedded before the first model, and InvalidModel where the catalog has lost it.
    """
    version = generation.model_version
    artifact = catalog.model(version) if version else catalog.active_model()
    if artifact is not None:
        return artifact
    if version:
        raise InvalidModel(
            f"the catalog has lost the model {version} of generation {generation.number}",
            hint="recsys model import FILE, or recsys reembed",
        )
    raise NotEmbedded("there is no embedding model yet", hint="recsys consume --drain")


def version_in(catalog: Catalog, generation: Generation) -> str:
    """Return the version of the model that made the generation's vectors; empty before the first.

    Where nobody noted it, nothing but the model in use can have made them.
    """
    if generation.model_version:
        return generation.model_version
    checksum = catalog.model_checksum()  # that is what a version is made of
    return version_of(checksum) if checksum else ""


def serving_artifact(catalog: Catalog, generations: Generations) -> bytes:
    """Return the artifact of the model that answers queries now. Raises as ``artifact_of``."""
    return artifact_of(catalog, serving(generations.all()))


def fit_on_catalog(
    events: ConsumerGroup, catalog: Catalog, models: ModelFactory
) -> tuple[EmbeddingModel, Position]:
    """Return a model of the catalog, and the last event that was published before."""
    fitted_at = Position.parse(events.status().last_entry_id)
    return models.fit(catalog.products()), fitted_at


class ListedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A stored model; ``kind`` says so where it cannot be opened, and ``products`` is None."""

    version: str
    is_in_use: bool
    generations: list[int]
    kind: str
    products: int | None
    size_bytes: int
    saved_at: str


def list_models(
    catalog: Catalog, generations: Generations, models: ModelFactory
) -> list[ListedModel]:
    """Return the stored models, the oldest first."""
    there = generations.all()
    in_use = version_in(catalog, serving(there))
    used = {
        g.number: in_use if g.state is GenerationState.SERVING else g.model_version for g in there
    }
    found = []
    for stored in catalog.models():
        info = _info(catalog.model(stored.version), models)
        found.append(
            ListedModel(
                version=stored.version,
                is_in_use=stored.version == in_use,
                generations=[
                    number for number, version in used.items() if version == stored.version
                ],
                kind=info.kind if info else "not readable here",
                products=info.products if info else None,
                size_bytes=stored.size_bytes,
                saved_at=stored.saved_at,
            )
        )
    return found


def _info(artifact: bytes | None, models: ModelFactory) -> ModelInfo | None:
    try:
        return models.load(artifact).info if artifact else None
    except InvalidModel:
        return None
