"""One suite per port, every adapter a parameter: ids read ``test_unacked_event_returns[redis]``."""

from __future__ import annotations

from typing import Protocol, cast

import pytest

from recsys_cli.ports import Catalog, DeadLetters, EventProcessor, Generations, VectorStore
from tests.contract.backends import CATALOGS, EVENTS, VECTORS
from tests.contract.backends.embedded import embedded_backend
from tests.contract.backends.nats import nats_backend, nats_cluster_backend
from tests.contract.backends.pinecone import pinecone_backend, pinecone_stale_backend
from tests.contract.backends.redis import redis_acl_backend, redis_backend
from tests.contract.backends.supabase import supabase_backend, supabase_pooled_backend

__all__ = [
    "embedded_backend",
    "nats_backend",
    "nats_cluster_backend",
    "pinecone_backend",
    "pinecone_stale_backend",
    "redis_acl_backend",
    "redis_backend",
    "supabase_backend",
    "supabase_pooled_backend",
]

CLUSTER = pytest.param("nats_cluster", marks=pytest.mark.long)


class EventsSide(Protocol):
    """Opens fresh adapters, each with connections of its own, on one shared, empty backend."""

    def events(
        self, *, group: str = "product-processors", claim_idle_ms: int = 60_000
    ) -> EventProcessor: ...

    def dead_letters(self) -> DeadLetters: ...


class CatalogSide(Protocol):
    """The same for the catalog."""

    def catalog(self) -> Catalog: ...


class VectorsSide(Protocol):
    """The same for the vector store."""

    def vectors(self, *, dimension: int = 384) -> VectorStore: ...

    def generations(self, *, dimension: int = 384) -> Generations: ...


@pytest.fixture(params=[*EVENTS, CLUSTER])
def events_side(request: pytest.FixtureRequest) -> EventsSide:
    return cast("EventsSide", request.getfixturevalue(f"{request.param}_backend"))


@pytest.fixture(params=[*CATALOGS, CLUSTER])
def catalog_side(request: pytest.FixtureRequest) -> CatalogSide:
    return cast("CatalogSide", request.getfixturevalue(f"{request.param}_backend"))


@pytest.fixture(params=VECTORS)
def vectors_side(request: pytest.FixtureRequest) -> VectorsSide:
    return cast("VectorsSide", request.getfixturevalue(f"{request.param}_backend"))
