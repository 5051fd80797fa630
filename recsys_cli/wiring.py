"""The only place that chooses: settings in, adapters out.

Each branch imports its own adapter, so a command loads the driver it uses and no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from threading import RLock
from typing import TYPE_CHECKING

from recsys_cli.errors import MissingDependency, UsageError
from recsys_cli.generations import Generation, serving
from recsys_cli.settings import EventsBackend, ModelKind, Settings, VectorsBackend

if TYPE_CHECKING:
    from recsys_cli.connections.nats import NatsConnection
    from recsys_cli.connections.pinecone import PineconeIndex
    from recsys_cli.connections.postgres import PostgresConnection
    from recsys_cli.connections.redis import RedisConnection
    from recsys_cli.connections.sqlite import EmbeddedFile
    from recsys_cli.ports import (
        Catalog,
        DeadLetters,
        EventProcessor,
        Generations,
        ModelFactory,
        NeighborSink,
        VectorStore,
    )


class Backends:
    """The adapters that the settings choose: opened when first asked for, closed together."""

    def __init__(self, settings: Settings, *, claim_idle_ms: int = 60_000) -> None:
        self.settings = settings
        self._claim_idle_ms = claim_idle_ms
        self._lock = RLock()

    def get_event_processor(self) -> EventProcessor:
        with self._lock:
            return self._events

    def get_dead_letters(self) -> DeadLetters:
        with self._lock:
            return self._letters

    def get_catalog(self) -> Catalog:
        with self._lock:
            return self._catalog

    def get_generations(self) -> Generations:
        with self._lock:
            return self._generations

    def get_vector_store(self) -> VectorStore:
        """Return the store of the generation that serves now. Ask again, it may change."""
        generations = self.get_generations()
        return generations.store(serving(generations.all()))

    def get_model_factory(self) -> ModelFactory:
        with self._lock:
            return self._models

    def get_neighbor_sink(self, generation: Generation, of: str) -> NeighborSink:
        """Return where the neighbor lists of a generation go in Redis. Raises UsageError."""
        if self.settings.vectors_backend is not VectorsBackend.REDIS:
            raise UsageError(
                "neighbor lists for one GET need Redis, and the vectors are not there"
                f" (VECTOR_STORE_TYPE is {self.settings.vectors_backend})",
                hint="name it by --redis or REDIS_URL, or export to a file",
            )
        from recsys_cli.vectors.redis_neighbors import RedisNeighbors

        with self._lock:
            return RedisNeighbors(self._redis, generation=generation.number, of=of)

    def setup_sql(self) -> str:
        """Return what an operator may run on Postgres instead of us. Raises UsageError."""
        chosen = self.settings
        parts: list[str] = []
        if chosen.catalog_backend is EventsBackend.SUPABASE:
            connection = self._postgres
            from recsys_cli.catalogs import supabase

            parts.append(connection.shown(supabase.PART))
        if chosen.events_backend is EventsBackend.SUPABASE:
            connection = self._postgres
            from recsys_cli.events.supabase_groups import setup_sql as of_stream

            stream, group = chosen.product_stream_key, chosen.product_stream_group
            parts.append(of_stream(connection, stream, group))
        if chosen.vectors_backend is VectorsBackend.SUPABASE:
            connection = self._postgres
            from recsys_cli.vectors.pgvector_setup import setup_sql as of_vectors

            index, dimension = chosen.vector_index_name, chosen.vector_dimension
            parts.append(of_vectors(connection, index=index, dimension=dimension))
        if not parts:
            raise UsageError(
                "nothing of this shop is in Postgres, so there is no SQL to print",
                hint="set EVENT_PROCESSOR_TYPE=supabase and SUPABASE_DB_URL",
            )
        return "\n".join(parts)

    def close(self) -> None:
        """Close what was opened; harmless when nothing was."""
        with self._lock:
            for name in (
                "_events",
                "_letters",
                "_catalog",
                "_generations",
                "_nats",
                "_pinecone",
                "_postgres",
                "_redis",
                "_file",
            ):
                adapter = self.__dict__.pop(name, None)
                if adapter is not None:
                    adapter.close()

    def __enter__(self) -> Backends:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def _events(self) -> EventProcessor:
        stream, group = self.settings.product_stream_key, self.settings.product_stream_group
        match self.settings.events_backend:
            case EventsBackend.EMBEDDED:
                from recsys_cli.events.embedded import EmbeddedStream

                return EmbeddedStream(
                    self._file, stream=stream, group=group, claim_idle_ms=self._claim_idle_ms
                )
            case EventsBackend.REDIS:
                from recsys_cli.events.redis_streams import RedisStreams

                return RedisStreams(
                    self._redis, stream=stream, group=group, claim_idle_ms=self._claim_idle_ms
                )
            case EventsBackend.SUPABASE:
                connection = self._postgres
                from recsys_cli.events.supabase_queue import SupabaseQueue

                return SupabaseQueue(
                    connection, stream=stream, group=group, claim_idle_ms=self._claim_idle_ms
                )
            case EventsBackend.NATS:
                nats = self._nats
                from recsys_cli.events.nats_stream import NatsStream

                return NatsStream(
                    nats, stream=stream, group=group, claim_idle_ms=self._claim_idle_ms
                )

    @cached_property
    def _letters(self) -> DeadLetters:
        stream = self.settings.product_stream_key
        match self.settings.events_backend:
            case EventsBackend.EMBEDDED:
                from recsys_cli.events.embedded_letters import EmbeddedDeadLetters

                return EmbeddedDeadLetters(self._file, stream=stream)
            case EventsBackend.REDIS:
                from recsys_cli.events.redis_letters import RedisDeadLetters

                return RedisDeadLetters(self._redis, stream=stream)
            case EventsBackend.SUPABASE:
                connection = self._postgres
                from recsys_cli.events.supabase_letters import SupabaseDeadLetters

                return SupabaseDeadLetters(connection, stream=stream)
            case EventsBackend.NATS:
                nats = self._nats
                from recsys_cli.events.nats_letters import NatsDeadLetters

                return NatsDeadLetters(nats, stream=stream)

    @cached_property
    def _catalog(self) -> Catalog:
        match self.settings.catalog_backend:
            case EventsBackend.EMBEDDED:
                from recsys_cli.catalogs.embedded import EmbeddedCatalog

                return EmbeddedCatalog(self._file)
            case EventsBackend.REDIS:
                from recsys_cli.catalogs.redis import RedisCatalog

                return RedisCatalog(self._redis)
            case EventsBackend.SUPABASE:
                connection = self._postgres
                from recsys_cli.catalogs.supabase import SupabaseCatalog

                return SupabaseCatalog(connection)
            case EventsBackend.NATS:
                nats = self._nats
                from recsys_cli.catalogs.nats_kv import NatsCatalog

                return NatsCatalog(nats)

    @cached_property
    def _generations(self) -> Generations:
        index, dimension = self.settings.vector_index_name, self.settings.vector_dimension
        match self.settings.vectors_backend:
            case VectorsBackend.EMBEDDED:
                from recsys_cli.vectors.embedded_generations import EmbeddedGenerations

                return EmbeddedGenerations(self._file, index=index, dimension=dimension)
            case VectorsBackend.REDIS:
                from recsys_cli.vectors.redis_generations import RedisGenerations

                return RedisGenerations(self._redis, index=index, dimension=dimension)
            case VectorsBackend.PINECONE:
                pinecone = self._pinecone
                from recsys_cli.vectors.pinecone_generations import PineconeGenerations

                return PineconeGenerations(
                    pinecone,
                    self._catalog,
                    index=index,
                    dimension=dimension,
                    waits_until_visible=self.settings.pinecone_wait_visible,
                )
            case VectorsBackend.SUPABASE:
                connection = self._postgres
                from recsys_cli.vectors.pgvector_generations import PgvectorGenerations

                return PgvectorGenerations(connection, index=index, dimension=dimension)

    @cached_property
    def _models(self) -> ModelFactory:
        dimension = self.settings.vector_dimension
        match self.settings.embedding_model:
            case ModelKind.TFIDF:
                from recsys_cli.embedding.tfidf import TfidfFactory

                return TfidfFactory(dimension, keep_marks=self.settings.embedding_keep_marks)
            case ModelKind.NEURAL:
                from recsys_cli.embedding.neural import NeuralFactory

                return NeuralFactory(self.settings.embedding_model_path, dimension)

    @cached_property
    def _redis(self) -> RedisConnection:
        from recsys_cli.connections.redis import RedisConnection

        return RedisConnection(
            self.settings.redis_address,
            username=self.settings.redis_username,
            password=self.settings.redis_password,
            ca_certs=self.settings.redis_ca_certs,
        )

    # Asked for before the adapters are imported: they import the driver too, and only here its
    # absence is one sentence.

    @cached_property
    def _nats(self) -> NatsConnection:
        with _extra("nats"):
            from recsys_cli.connections.nats import NatsConnection

        return NatsConnection(
            self.settings.nats_url,
            user=self.settings.nats_user,
            password=self.settings.nats_password,
            token=self.settings.nats_token,
            credentials=self.settings.nats_credentials,
            ca_certs=self.settings.nats_ca_certs,
        )

    @cached_property
    def _postgres(self) -> PostgresConnection:
        with _extra("supabase"):
            from recsys_cli.connections.postgres import PostgresConnection

        return PostgresConnection(
            self.settings.supabase_db_url or "", schema=self.settings.supabase_schema
        )

    @cached_property
    def _pinecone(self) -> PineconeIndex:
        with _extra("pinecone"):
            from recsys_cli.connections.pinecone import PineconeIndex

        return PineconeIndex(
            self.settings.pinecone_host,
            api_key=self.settings.pinecone_api_key,
            cloud=self.settings.pinecone_cloud,
            region=self.settings.pinecone_region,
            control=self.settings.pinecone_controller_host,
        )

    @cached_property
    def _file(self) -> EmbeddedFile:
        from recsys_cli.connections.sqlite import EmbeddedFile

        return EmbeddedFile(self.settings.embedded_path)


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Say what to install where a package of this extra is missing. Raises MissingDependency."""
    try:
        yield
    except ImportError as error:
        raise MissingDependency(
            f"{name} is chosen, and the package {error.name} is not installed",
            hint=f"pip install 'recsys-cli[{name}]'",
        ) from error
