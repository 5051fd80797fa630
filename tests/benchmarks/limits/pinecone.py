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
        {"id": key, "values": row.tolist(), "metadata": _without_none(fields)}
        for key, row, fields in zip(ids, vectors, metadata, strict=True)
    ]

    def write() -> None:
        with index:
            index.upsert(vectors=rows, namespace=_NAMESPACE, batch_size=_BATCH, show_progress=False)

    return write


def empty(address: str) -> None:
    """Delete all that anybody has put there."""
    with pinecone.Index(host=address, api_key=API_KEY) as index:
        for namespace in index.describe_index_stats().namespaces:
            index.delete(delete_all=True, namespace=namespace)


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


def _without_none(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}
