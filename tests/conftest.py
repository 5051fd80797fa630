from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.commands import Recsys
from tests.nats_cluster import NatsCluster
from tests.nats_server import NatsServer, running_nats
from tests.postgres import PostgresServer, running_postgres
from tests.servers import RedisServer, running_redis
from tests.shops import move_to
from tests.tls import Authority

if TYPE_CHECKING:
    from recsys_cli.connections.pinecone import PineconeIndex
    from tests.pinecone_server import PineconeServer

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"

SETTINGS = (
    "PINECONE_",
    "REDIS_",
    "SUPABASE_",
    "NATS_",
    "RECSYS_",
    "PRODUCT_",
    "VECTOR_",
    "EVENT_",
    "CATALOG_",
    "SIMILARITY_",
    "EMBEDDING_",
)
"""How the names begin that recsys reads from the environment."""


# How fast an example runs says something of the machine, and nothing of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each test starts with nothing configured and an embedded file of its own."""
    for name in list(os.environ):
        if name.startswith(SETTINGS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def _redis_session() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def redis_server(_redis_session: RedisServer) -> RedisServer:
    """A running, empty Redis with search."""
    with _redis_session.client() as client:
        client.flushall()
    return _redis_session


@pytest.fixture
def pinecone_server(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PineconeServer]:
    """A running stand-in for Pinecone, with an empty index of 384 dimensions."""
    from tests.pinecone_server import PineconeServer

    # Each client reads all it could trust, though nothing is encrypted here: let that be little.
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with PineconeServer(dimension=384).running() as server:
        yield server


@pytest.fixture
def pinecone_index(pinecone_server: PineconeServer) -> Iterator[PineconeIndex]:
    """What we reach the stand-in by: its index, and its control plane."""
    from recsys_cli.connections.pinecone import PineconeIndex
    from tests.pinecone_server import API_KEY

    host = pinecone_server.host
    index = PineconeIndex(host, api_key=API_KEY, cloud="aws", region="us-east-1", control=host)
    yield index
    index.close()


@pytest.fixture(scope="session")
def postgres_session() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_server(postgres_session: PostgresServer) -> PostgresServer:
    """A running Postgres with pgvector and pgmq, and nothing of recsys in it."""
    postgres_session.clear()
    return postgres_session


@pytest.fixture(scope="session")
def _nats_session() -> Iterator[NatsServer]:
    with running_nats() as server:
        yield server


@pytest.fixture
def nats_server(_nats_session: NatsServer) -> NatsServer:
    """A running NATS with JetStream and no stream."""
    _nats_session.clear()
    return _nats_session


@pytest.fixture(scope="session")
def _nats_cluster_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    cluster = NatsCluster(tmp_path_factory.mktemp("nats-cluster"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def nats_cluster(_nats_cluster_session: NatsCluster) -> NatsCluster:
    """Three running servers and no stream."""
    _nats_cluster_session.clear()
    return _nats_cluster_session


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA of the tests' own, which no system trusts."""
    return Authority.in_folder(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def real_data() -> Path:
    """The folder of real catalogues; skips with the reason where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"the real catalogues are not beside this checkout: {REAL_DATA}")
    return REAL_DATA


@pytest.fixture(params=["embedded", "redis", pytest.param("supabase", marks=pytest.mark.long)])
def recsys(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Recsys:
    """The command line, on an empty embedded file and an empty Redis; at length on Postgres too.

    Tests of what depends on the backend name the shops of ``tests/shops.py`` instead.
    """
    move_to(request.param, request, monkeypatch)
    return Recsys(monkeypatch, capsys)


@pytest.fixture
def recsys_embedded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Recsys:
    """The command line where the backend makes no difference: on an empty embedded file."""
    return Recsys(monkeypatch, capsys)


@pytest.fixture
def closing() -> Iterator[Callable[[object], None]]:
    """Close what a test opened, in reverse order."""
    opened: list[object] = []
    yield opened.append
    for thing in reversed(opened):
        thing.close()  # type: ignore[attr-defined]


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than there are cores: many a test waits for a server, or for its turn."""
    return (os.cpu_count() or 1) + 1
