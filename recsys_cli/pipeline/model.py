"""The embedding model that all consumers share: taken from the catalog, or fitted by the first."""

from __future__ import annotations

from itertools import islice

from recsys_cli.merge import states_of
from recsys_cli.ports import Catalog, EmbeddingModel, EventProcessor, ModelFactory

CHUNK = 1000


def shared_model(events: EventProcessor, catalog: Catalog, models: ModelFactory) -> EmbeddingModel:
    """Return the model in use. Where there is none, fit one on everything published so far.

    Consumers that start at the same moment may each fit one; the catalog takes the first, and
    everyone goes on with that.
    """
    artifact = catalog.active_model()
    if artifact is None:
        _merge_backlog(events, catalog)
        artifact = catalog.offer_model(models.fit(catalog.products()).to_bytes())
    return models.load(artifact)


def _merge_backlog(events: EventProcessor, catalog: Catalog) -> None:
    """Merge what waits in the stream into the catalog; its delivery will then change nothing."""
    backlog = events.backlog()
    while chunk := list(islice(backlog, CHUNK)):
        catalog.merge(states_of(chunk))
