from __future__ import annotations

from collections.abc import Iterator

import pytest

from recsys_cli.ports import Catalog, DeadLetters, EventProcessor, Generations, VectorStore
from tests.pooler import transaction_pooler
from tests.postgres import PostgresServer


class SupabaseBackend:
    def __init__(self, url: str) -> None:
        self._url = url

    def events(
        self, *, group: str = "product-processors", claim_idle_ms: int = 60_000
    ) -> EventProcessor:
        from recsys_cli.connections.postgres import PostgresConnection
        from recsys_cli.events.supabase_queue import SupabaseQueue

        return SupabaseQueue(
            PostgresConnection(self._url, schema="recsys"),
            stream="product:updates",
            group=group,
            claim_idle_ms=claim_idle_ms,
        )

    def dead_letters(self) -> DeadLetters:
        from recsys_cli.connections.postgres import PostgresConnection
        from recsys_cli.events.supabase_letters import SupabaseDeadLetters

        return SupabaseDeadLetters(
            PostgresConnection(self._url, schema="recsys"), stream="product:updates"
        )

    def catalog(self) -> Catalog:
        from recsys_cli.catalogs.supabase import SupabaseCatalog
        from recsys_cli.connections.postgres import PostgresConnection

        return SupabaseCatalog(PostgresConnection(self._url, schema="recsys"))

    def vectors(self, *, dimension: int = 384) -> VectorStore:
        from recsys_cli.connections.postgres import PostgresConnection
        from recsys_cli.vectors.pgvector import Pgvector

        return Pgvector(
            PostgresConnection(self._url, schema="recsys"),
            index="product:vectors",
            dimension=dimension,
        )

    def generations(self, *, dimension: int = 384) -> Generations:
        from recsys_cli.connections.postgres import PostgresConnection
        from recsys_cli.vectors.pgvector_generations import PgvectorGenerations

        return PgvectorGenerations(
            PostgresConnection(self._url, schema="recsys"),
            index="product:vectors",
            dimension=dimension,
        )


@pytest.fixture
def supabase_backend(postgres_server: PostgresServer) -> SupabaseBackend:
    return SupabaseBackend(postgres_server.url)


@pytest.fixture
def supabase_pooled_backend(postgres_server: PostgresServer) -> Iterator[SupabaseBackend]:
    """The same by way of a pooler that gives each transaction another session of the server."""
    with transaction_pooler(postgres_server.port) as port:
        yield SupabaseBackend(postgres_server.url_at(port))
