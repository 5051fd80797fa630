"""Every backend with its settings and its bare driver; each is ready, and empty, for a block."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from recsys_cli.ports import Matrix, Vector
from tests.benchmarks.limits import embedded, nats, pinecone, redis, supabase
from tests.benchmarks.workbench import Workbench
from tests.nats_server import running_nats
from tests.pinecone_server import pinecone_apart
from tests.postgres import running_postgres


class Writer(Protocol):
    def __call__(
        self, ids: Sequence[str], vectors: Matrix, metadata: Sequence[Mapping[str, object]]
    ) -> Callable[[], None]: ...


class Contender(NamedTuple):
    """``on``: the settings; ``empty`` takes away what a shop and the limits have left there.

    ``has_events``, ``has_vectors``: whether these are its own, or in the embedded file.
    """

    name: str
    on: Mapping[str, str]
    empty: Callable[[], None]
    publisher: Callable[[Sequence[str]], Callable[[], None]]
    drainer: Callable[[], Callable[[], int]]
    writer: Writer
    asker: Callable[[], Callable[[Vector], list[str]]]
    has_events: bool = True
    has_vectors: bool = True


@contextlib.contextmanager
def _embedded(bench: Workbench) -> Iterator[Contender]:
    with bench.home() as home:
        path = f"{home['RECSYS_HOME']}-bare.db"
        yield Contender(
            "embedded",
            home,
            lambda: shutil.rmtree(home["RECSYS_HOME"], ignore_errors=True),
            partial(embedded.publisher, path),
            partial(embedded.drainer, path),
            partial(embedded.writer, path),
            partial(embedded.asker, path),
        )


@contextlib.contextmanager
def _redis(bench: Workbench) -> Iterator[Contender]:
    url = bench.server.url
    yield Contender(
        "redis",
        bench.on_redis,
        bench.flush,
        partial(redis.publisher, url),
        partial(redis.drainer, url),
        partial(redis.writer, url),
        partial(redis.asker, url),
    )


@contextlib.contextmanager
def _nats(bench: Workbench) -> Iterator[Contender]:
    with running_nats() as server, _embedded(bench) as file:

        def empty() -> None:
            file.empty()
            server.clear()

        yield file._replace(
            name="nats",
            on={**file.on, **server.settings},
            empty=empty,
            publisher=partial(nats.publisher, server.url),
            drainer=partial(nats.drainer, server.url),
            has_vectors=False,
        )


@contextlib.contextmanager
def _supabase(bench: Workbench) -> Iterator[Contender]:
    del bench
    with running_postgres() as server:
        yield Contender(
            "supabase",
            server.settings,
            server.clear,
            partial(supabase.publisher, server.url),
            partial(supabase.drainer, server.url),
            partial(supabase.writer, server.url),
            partial(supabase.asker, server.url),
        )


@contextlib.contextmanager
def _pinecone(bench: Workbench) -> Iterator[Contender]:
    """Events in the embedded file, embeddings on the stand-in, whose share is most of the time."""
    with pinecone_apart() as settings, _embedded(bench) as file:
        host = settings["PINECONE_HOST"]

        def empty() -> None:
            file.empty()
            pinecone.empty(host)

        yield file._replace(
            name="pinecone's stand-in",
            on={**file.on, **settings},
            empty=empty,
            writer=partial(pinecone.writer, host),
            asker=partial(pinecone.asker, host),
            has_events=False,
        )


CONTENDERS = (_embedded, _redis, _nats, _supabase, _pinecone)
