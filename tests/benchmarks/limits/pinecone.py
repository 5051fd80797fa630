"""What the bare SDK does against the index at ``address``: the limits for our own adapter."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy.typing as npt
import pinecone

from tests.pinecone_server import API_KEY

_NAMESPACE = "bare"
_BATCH = 200


def writer(
    address: str,
    ids: Sequence[str],
    vectors: npt.NDArray[Any],
    metadata: Sequence[Mapping[str, object]],
) -> Callable[[], None]:
    """Return what upserts all, in batches of 200, by the SDK's own threads."""
    index = pinecone.Index(host=address, api_key=API_KEY)
    rows = [
        {"id": key, "values": row.tolist(), "metadata": dict(fields)}
        for key, row, fields in zip(ids, vectors, metadata, strict=True)
    ]

    def write() -> None:
        with index:
            index.upsert(vectors=rows, namespace=_NAMESPACE, batch_size=_BATCH, show_progress=False)

    return write


def asker(address: str) -> Callable[[npt.NDArray[Any]], list[str]]:
    """Return what asks for the ten nearest of one vector."""
    index = pinecone.Index(host=address, api_key=API_KEY)

    def ask(vector: npt.NDArray[Any]) -> list[str]:
        found = index.query(
            vector=vector.tolist(), top_k=10, namespace=_NAMESPACE, include_metadata=True
        )
        return [match.id for match in found.matches]

    weakref.finalize(ask, index.close)
    return ask
