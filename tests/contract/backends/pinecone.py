from __future__ import annotations

from pathlib import Path

import pytest

from recsys_cli.ports import Generations, VectorStore
from tests.pinecone_server import API_KEY, PineconeServer


class PineconeBackend:
    """Vectors on the stand-in, the table of generations in an embedded catalog."""

    def __init__(
        self, server: PineconeServer, folder: Path, *, waits_until_visible: bool = False
    ) -> None:
        self._server = server
        self._waits = waits_until_visible
        self._path = folder / "recsys.db"

    def vectors(self, *, dimension: int = 384) -> VectorStore:
        from recsys_cli.generations import Generation

        return self.generations(dimension=dimension).store(Generation())

    def generations(self, *, dimension: int = 384) -> Generations:
        from recsys_cli.catalogs.embedded import EmbeddedCatalog
        from recsys_cli.connections.pinecone import PineconeIndex
        from recsys_cli.connections.sqlite import EmbeddedFile
        from recsys_cli.vectors.pinecone_generations import PineconeGenerations

        self._server.data.dimension = dimension
        index = PineconeIndex(
            self._server.host, api_key=API_KEY, cloud="aws", region="r", control=""
        )
        notes = EmbeddedCatalog(EmbeddedFile(self._path))
        return PineconeGenerations(
            index,
            notes,
            index="product:vectors",
            dimension=dimension,
            waits_until_visible=self._waits,
        )


@pytest.fixture
def pinecone_backend(pinecone_server: PineconeServer, tmp_path: Path) -> PineconeBackend:
    return PineconeBackend(pinecone_server, tmp_path)


@pytest.fixture
def pinecone_stale_backend(pinecone_server: PineconeServer, tmp_path: Path) -> PineconeBackend:
    """A service that shows each write late, and writes that wait until it does."""
    pinecone_server.data.stale_reads = 2
    return PineconeBackend(pinecone_server, tmp_path, waits_until_visible=True)
