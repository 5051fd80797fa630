from __future__ import annotations

import struct

import numpy as np
import pytest

from recsys_cli.connections.postgres import PostgresConnection
from recsys_cli.domain import BEGINNING, ProductMetadata, StoredEmbedding
from recsys_cli.ports import Embedding
from recsys_cli.vectors.pgvector_query import answer
from recsys_cli.vectors.pgvector_rows import rounds
from recsys_cli.vectors.pgvector_table import Extension, Pgvectors, Table, numbers, received


def table(index: str, generation: int = 1) -> Table:
    connection = PostgresConnection("postgresql://localhost", schema="recsys")
    return Table(Pgvectors(connection), index, generation)


def named(index: str, generation: int = 1) -> str:
    return table(index, generation).name


def test_a_table_is_named_for_its_index_and_generation() -> None:
    assert named("product:vectors") == "product_vectors_1"
    assert named("product:vectors", 12) == "product_vectors_12"


def test_no_two_indexes_share_a_table_and_names_are_legal() -> None:
    indexes = ["a:b", "a_b", "A:b", "ä", "", "1", 'a"; DROP', "x" * 200, "x" * 201, "a:b:1"]
    names = [named(index, number) for index in indexes for number in (1, 11)]
    assert len(set(names)) == len(names)
    assert all(len(f"{name}_category") <= 63 for name in names)
    of_brands = {table(index, 11).attribute_index(name) for index in indexes for name in ("a", "b")}
    assert len(of_brands) == 2 * len(indexes)
    assert all(len(name) <= 63 for name in of_brands)
    assert all(name[0].isalpha() and name.replace("_", "a").isalnum() for name in names)


@pytest.mark.parametrize(
    ("version", "is_iterative"),
    [("0.8.0", True), ("0.8", True), ("0.10.1", True), ("1.0", True), ("0.7.4", False)],
)
def test_iterative_scan_came_with_0_8(version: str, is_iterative: bool) -> None:
    assert Extension("public", version).is_iterative is is_iterative


def test_numbers_travel_as_postgres_reads_an_array() -> None:
    rows = [np.array([1.5, -2], np.float32), np.array([0, 3e38], np.float32)]
    raw = numbers(rows).raw
    assert struct.unpack(">iiiii", raw[:20]) == (1, 0, 700, 4, 1)
    sizes_and_values = [struct.unpack(">if", raw[at : at + 8]) for at in range(20, len(raw), 8)]
    assert [size for size, _ in sizes_and_values] == [4] * 4
    np.testing.assert_array_equal([v for _, v in sizes_and_values], np.concatenate(rows))
    assert struct.unpack(">iii", numbers([]).raw) == (0, 0, 700)


def test_a_vector_is_read_as_it_was_sent() -> None:
    sent = struct.pack(">hh3f", 3, 0, 1.5, -0.0, 1e-30)
    found = received(sent)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([1.5, -0.0, 1e-30], np.float32))


def test_rounds_have_each_product_once_and_keep_the_order() -> None:
    source = StoredEmbedding(position=BEGINNING, model_version="", text_digest="")
    every = [Embedding(i, None, ProductMetadata(), source, str(n)) for n, i in enumerate("abacaa")]
    found = [[(e.product_id, e.updated_at) for e in some] for some in rounds(every)]
    assert found == [
        [("a", "0"), ("b", "1"), ("c", "3")],
        [("a", "2")],
        [("a", "4")],
        [("a", "5")],
    ]
    assert rounds([]) == []


def test_an_answer_is_in_order_and_a_query_may_have_none() -> None:
    rows = [
        ("q", True, "b", 0.50000004, "", "", None, ""),
        ("q", True, "a", 0.5, "", "", 1.0, ""),
        ("q", True, "c", 1.0000001, "", "", None, ""),
        ("q", True, "d", float("nan"), "", "", None, ""),
        ("none", True, None, None, None, None, None, None),
    ]
    found = answer(rows)
    assert found.has_index
    assert [n.product_id for n in found.neighbors["q"]] == ["c", "a", "b", "d"]
    assert [n.similarity_score for n in found.neighbors["q"]] == [1.0, 0.5, 0.50000004, 0.0]
    assert found.neighbors["none"] == []
    assert not answer([("q", False, *[None] * 6)]).has_index
