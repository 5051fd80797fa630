"""The embedding models that all consumers share: taken from the catalog, or fitted by the first."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from recsys_cli.batches import batched
from recsys_cli.errors import InvalidData, InvalidProduct
from recsys_cli.generations import Generation
from recsys_cli.merge import ProductState, states_of
from recsys_cli.pipeline.models import artifact_of, fit_on_catalog
from recsys_cli.ports import CHECKSUM_BYTES, Catalog, ConsumerGroup, EmbeddingModel, ModelFactory

CHUNK = 1000


_OPEN_AT_ONCE = 4


class SharedModels:
    """The model in use, and those of other generations; each read from the catalog once."""

    def __init__(self, events: ConsumerGroup, catalog: Catalog, models: ModelFactory) -> None:
        self._events = events
        self._catalog = catalog
        self._models = models
        self._checksum: bytes | None = None
        self._model: EmbeddingModel | None = None
        self._by_version: dict[str, EmbeddingModel] = {}

    def current(self) -> EmbeddingModel:
        """Return the model in use. Where there is none, fit one on everything published so far.

        Consumers that start at the same moment may each fit one; the catalog takes the first, and
        everyone goes on with that.
        """
        checksum = self._catalog.model_checksum()
        if self._model is None or checksum is None or checksum != self._checksum:
            artifact = self._catalog.active_model() or self._fitted()
            self._model = self._models.load(artifact)
            self._checksum = artifact[-CHECKSUM_BYTES:]
        return self._model

    def of(self, generation: Generation) -> EmbeddingModel:
        """Return the model of a generation. Raises InvalidModel where the catalog lacks it."""
        version = generation.model_version
        if not version:
            return self.current()
        if version not in self._by_version:
            if len(self._by_version) == _OPEN_AT_ONCE:
                self._by_version.clear()
            artifact = artifact_of(self._catalog, generation)
            self._by_version[version] = self._models.load(artifact)
        return self._by_version[version]

    def _fitted(self) -> bytes:
        # What waits in the stream counts as well; its delivery will then change nothing.
        for chunk in batched(self._events.backlog(), CHUNK):
            self._merge(states_of(chunk))
        model, fitted_at = fit_on_catalog(self._events, self._catalog, self._models)
        return self._catalog.offer_model(model.to_bytes(), fitted_at)

    def _merge(self, states: Mapping[str, ProductState]) -> None:
        try:
            self._catalog.merge(states)
        except (InvalidData, InvalidProduct):
            # A state is damaged in the catalog, or would be too large: its own delivery will tell.
            for product_id, state in states.items():
                with contextlib.suppress(InvalidData, InvalidProduct):
                    self._catalog.merge({product_id: state})
