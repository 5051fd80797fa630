from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys_cli.ports import Generations, VectorStore
from tests.pinecone_server import API_KEY, PineconeServer


class PineconeBackend:
    """Vectors on the stand-in, the table of generations in an embedded catalog."""

    def __init__(self, server: PineconeServer, folder: Path) -> None:
        self._server = server
        self._path = folder / "recsys.db"

    def vectors(self, *, dimension: int = 384) -> VectorStore:
        from recsys_cli.generations import Generation

        return self.generations(dimension=dimension).store(Generation())

    def generations(self, *, dimension: int = 384) -> Generations:
        from recsys_cli.catalogs.embedded import EmbeddedCatalog
        from recsys_cli.connections.pinecone import PineconeIndex
        from recsys_cli.connections.sqlite import EmbeddedFile
        from recsys_cli.vectors.pinecone_generations import PineconeGenerations

        self._server.dimension = dimension
        index = PineconeIndex(self._server.host, api_key=API_KEY, cloud="aws", region="us-east-1")
        notes = EmbeddedCatalog(EmbeddedFile(self._path))
        return PineconeGenerations(index, notes, index="product:vectors", dimension=dimension)


@pytest.fixture
def pinecone_backend(tmp_path: Path) -> Iterator[PineconeBackend]:
    with PineconeServer(dimension=384).running() as server:
        yield PineconeBackend(server, tmp_path)
