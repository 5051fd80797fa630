from __future__ import annotations

from pathlib import Path

import pytest

from recsys_cli.ports import Catalog, DeadLetters, EventProcessor, Generations, VectorStore


class EmbeddedBackend:
    def __init__(self, folder: Path) -> None:
        self._path = folder / "recsys.db"

    def events(
        self, *, group: str = "product-processors", claim_idle_ms: int = 60_000
    ) -> EventProcessor:
        from recsys_cli.connections.sqlite import EmbeddedFile
        from recsys_cli.events.embedded import EmbeddedStream

        return EmbeddedStream(
            EmbeddedFile(self._path),
            stream="product:updates",
            group=group,
            claim_idle_ms=claim_idle_ms,
        )

    def dead_letters(self) -> DeadLetters:
        from recsys_cli.connections.sqlite import EmbeddedFile
        from recsys_cli.events.embedded_letters import EmbeddedDeadLetters

        return EmbeddedDeadLetters(EmbeddedFile(self._path), stream="product:updates")

    def catalog(self) -> Catalog:
        from recsys_cli.catalogs.embedded import EmbeddedCatalog
        from recsys_cli.connections.sqlite import EmbeddedFile

        return EmbeddedCatalog(EmbeddedFile(self._path))

    def vectors(self, *, dimension: int = 384) -> VectorStore:
        from recsys_cli.connections.sqlite import EmbeddedFile
        from recsys_cli.vectors.embedded import EmbeddedVectors

        return EmbeddedVectors(
            EmbeddedFile(self._path), index="product:vectors", dimension=dimension
        )

    def generations(self, *, dimension: int = 384) -> Generations:
        from recsys_cli.connections.sqlite import EmbeddedFile
        from recsys_cli.vectors.embedded_generations import EmbeddedGenerations

        return EmbeddedGenerations(
            EmbeddedFile(self._path), index="product:vectors", dimension=dimension
        )


@pytest.fixture
def embedded_backend(tmp_path: Path) -> EmbeddedBackend:
    return EmbeddedBackend(tmp_path)
