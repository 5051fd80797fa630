"""Which backend carries what, and in what they differ: drawn from the adapters and their tests."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from recsys_cli.settings import EventsBackend, VectorsBackend
from recsys_cli.vectors.embedded import EmbeddedVectors
from recsys_cli.vectors.pgvector import Pgvector
from recsys_cli.vectors.pinecone import PineconeVectors
from recsys_cli.vectors.redis_hnsw import RedisHnsw
from tests.contract.backends import CATALOGS, EVENTS, VECTORS

CHECKOUT = Path(__file__).parents[1]
BACKENDS = tuple(dict.fromkeys((*EventsBackend, *VectorsBackend)))

STORES: Mapping[str, type] = {
    VectorsBackend.EMBEDDED: EmbeddedVectors,
    VectorsBackend.REDIS: RedisHnsw,
    VectorsBackend.SUPABASE: Pgvector,
    VectorsBackend.PINECONE: PineconeVectors,
}


class Capability(NamedTuple):
    """An attribute that the adapters of a port declare; ``text`` is what holds where it ``is``."""

    attribute: str
    text: str
    is_: bool = True


OF_STORES = (
    Capability("is_eventually_consistent", "what was written is found at once", is_=False),
    Capability("can_search_exactly", "`--exact` compares with every product"),
    Capability("can_tell_unindexed", "`recsys doctor` names what no search finds"),
)


def support_table() -> str:
    """Return a column for each backend: the ports whose contract it is tested for, and the rest."""
    rows = [
        ("", *(f"`{backend}`" for backend in BACKENDS)),
        ("---", *("---" for _ in BACKENDS)),
        ("to install", *(f"`{_package(backend)}`" for backend in BACKENDS)),
        ("events and dead letters", *_marks(EVENTS.__contains__)),
        ("catalog and models", *_marks(CATALOGS.__contains__)),
        ("embeddings and search", *_marks(VECTORS.__contains__)),
        *((c.text, *_declared(c, STORES)) for c in OF_STORES),
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _package(backend: str) -> str:
    """Return what brings its driver: an extra, or the package itself."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    has_extra = backend in project["optional-dependencies"]
    return f"{project['name']}[{backend}]" if has_extra else str(project["name"])


def _declared(capability: Capability, adapters: Mapping[str, type]) -> Iterator[str]:
    for backend in BACKENDS:
        adapter = adapters.get(backend)
        has = adapter and getattr(adapter, capability.attribute) == capability.is_
        yield "" if adapter is None else "yes" if has else "no"


def _marks(is_tested: Callable[[str], bool]) -> Sequence[str]:
    return ["yes" if is_tested(backend) else "" for backend in BACKENDS]
