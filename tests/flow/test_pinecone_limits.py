"""What Pinecone takes and gives at once: never more than it says, and the stand-in refuses more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recsys_cli.connections.pinecone import PineconeIndex, Record
from recsys_cli.errors import BackendRefused
from tests.pinecone_planes import DataPlane
from tests.pinecone_server import PineconeServer

ONE = [1.0, *[0.0] * 383]


@pytest.mark.parametrize("letter", ['"', "\x01", "x", "🧸"])
def test_what_is_written_at_once_is_counted_as_it_is_sent(
    letter: str, pinecone_server: PineconeServer, pinecone_index: PineconeIndex
) -> None:
    row = np.random.default_rng(1).normal(size=384).astype(np.float32).tolist()
    pinecone_index.upsert("n", [Record(f"p{n}", row, {"x": letter * 10_000}) for n in range(200)])
    assert len(pinecone_server.data.namespaces["n"]) == 200


def test_an_answer_that_is_too_large_is_asked_for_by_halves(
    pinecone_server: PineconeServer, pinecone_index: PineconeIndex
) -> None:
    rows = [[1.0, n / 1000, *[0.0] * 382] for n in range(1000)]
    pinecone_index.upsert(
        "n", [Record(f"p{n}", row, {"x": "x" * 9000}) for n, row in enumerate(rows)]
    )
    pinecone_server.requests.clear()
    (found,) = pinecone_index.query("n", [ONE], 1000, None)
    assert [record.key for record in found] == [f"p{n}" for n in range(250)]
    assert len(pinecone_server.requests) == 3
    assert len(pinecone_index.query("n", [ONE], 90, None)[0]) == 90


def test_another_refusal_of_a_query_is_said(
    pinecone_server: PineconeServer, pinecone_index: PineconeIndex
) -> None:
    pinecone_server.fail_next(*[400] * 20)
    with pytest.raises(BackendRefused, match="refuses: 400 injected"):
        pinecone_index.query("n", [ONE], 10_000, None)
    assert 1 < len(pinecone_server.requests) < 10
    pinecone_server.requests.clear()
    with pytest.raises(BackendRefused, match="refuses: 400 injected"):
        pinecone_index.query("n", [ONE], 10, None)
    assert len(pinecone_server.requests) == 1


def vectors(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"id": f"p{n}", "values": [1.0], **fields} for n in range(count)]


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (vectors(1001), "1001 vectors"),
        (vectors(60, metadata={"x": "x" * 40_000}), "bytes"),
        (vectors(1, values=[0.0]), "non-zero"),
        (vectors(1, metadata={"price": None}), "Metadata value"),
        (vectors(1, metadata={"x": "x" * 41_000}), "metadata is too large"),
    ],
)
def test_the_stand_in_takes_no_more_than_pinecone(written: list[dict[str, Any]], why: str) -> None:
    plane = DataPlane(dimension=1)
    refused = plane.answer("POST /vectors/upsert", {}, {"vectors": written})
    assert refused is not None
    assert refused[0] == 400
    assert why in refused[1]["message"]
    assert plane.namespaces == {}


def test_the_stand_in_gives_no_more_than_pinecone() -> None:
    plane = DataPlane(dimension=1)
    large = vectors(40, metadata={"x": "x" * 40_000})
    for batch in ("a", "b", "c"):
        rows = [{**row, "id": batch + row["id"]} for row in large]
        assert plane.answer("POST /vectors/upsert", {}, {"vectors": rows}) == (
            200,
            {"upsertedCount": 40},
        )
    keys = [f"p{n}" for n in range(1001)]
    for answer in (
        plane.answer("POST /query", {}, {"vector": [1.0], "topK": 120}),
        plane.answer("GET /vectors/fetch", {"ids": keys}, {}),
        plane.answer("POST /vectors/delete", {}, {"ids": keys}),
    ):
        assert answer is not None
        assert answer[0] == 400
    assert len(plane.namespaces[""]) == 120
