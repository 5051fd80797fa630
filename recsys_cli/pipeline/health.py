"""Whether the backends answer."""

from __future__ import annotations

from recsys_cli.domain import Health
from recsys_cli.ports import Catalog, EventProcessor, VectorStore


def check_health(events: EventProcessor, catalog: Catalog, vectors: VectorStore) -> list[Health]:
    """Return one answer per part. Raises BackendUnavailable for the first that gives none."""
    return [events.health(), catalog.health(), vectors.health()]
