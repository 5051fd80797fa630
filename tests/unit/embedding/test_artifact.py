from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_cli.domain import Product
from recsys_cli.embedding.artifact import FORMAT_VERSION, MAGIC, pack, unpack
from recsys_cli.embedding.tfidf import TfidfFactory
from recsys_cli.errors import InvalidModel

WHOLE = pack("toy", {"dimension": 3}, {"a": np.arange(5, dtype="<u4"), "b": np.zeros(2, "<f4")})
PREFIX = len(MAGIC) + 8


def sealed(header: bytes, body: bytes = b"", *, version: int = FORMAT_VERSION) -> bytes:
    """Return an artifact with a right checksum and whatever else the test wants wrong."""
    content = MAGIC + version.to_bytes(4, "little") + len(header).to_bytes(4, "little")
    content += header + body
    return content + hashlib.sha256(content).digest()


def header_with(array: str) -> bytes:
    return b'{"kind":"toy","parameters":{},"arrays":[%s]}' % array.encode()


def test_what_is_packed_comes_out() -> None:
    opened = unpack(WHOLE)
    assert (opened.kind, opened.parameters) == ("toy", {"dimension": 3})
    assert opened.arrays["a"].tolist() == [0, 1, 2, 3, 4]
    assert opened.arrays["b"].tolist() == [0, 0]


def test_big_endian_arrays_give_the_same_bytes() -> None:
    arrays = {"a": np.arange(5, dtype=">u4"), "b": np.zeros(2, ">f4")}
    assert pack("toy", {"dimension": 3}, arrays) == WHOLE


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed(place: int, change: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[place] ^= change
    with pytest.raises(InvalidModel):
        unpack(bytes(damaged))


@given(st.integers(0, len(WHOLE) - 1))
def test_any_cut_is_noticed(length: int) -> None:
    with pytest.raises(InvalidModel):
        unpack(WHOLE[:length])


@given(st.binary())
def test_foreign_bytes_are_refused(raw: bytes) -> None:
    for artifact in (raw, MAGIC + raw, sealed(raw)):
        with pytest.raises(InvalidModel):
            unpack(artifact)


@pytest.mark.parametrize(
    ("artifact", "said"),
    [
        (b"PK\x03\x04 a spreadsheet", "begins with"),
        (WHOLE[:-1], "damaged or cut off"),
        (MAGIC, "8 bytes long"),
        (sealed(b"{}", version=FORMAT_VERSION + 1), f"format {FORMAT_VERSION + 1}"),
        (sealed(b"[" * 900_000), "header cannot be read"),
        (sealed(b" " * 1_000_001), "header claims 1000001 bytes"),
        (sealed(header_with('{"name":"a","dtype":"|O","length":1}')), "unknown type '|O'"),
        (sealed(header_with('{"name":"a","dtype":"<u4","length":-1}')), "claims -1 values"),
        (sealed(header_with('{"name":"a","dtype":"<u4","length":9999999999}')), "claims 99999999"),
        (sealed(header_with(""), b"rest"), "4 bytes belong to no array"),
    ],
)
def test_the_sentence_says_what_is_wrong(artifact: bytes, said: str) -> None:
    with pytest.raises(InvalidModel, match=said.replace("|", r"\|")) as caught:
        unpack(artifact)
    assert caught.value.hint


FITTED = TfidfFactory().fit([Product(id="1", name="kettle")]).to_bytes()


@given(st.integers(0, len(FITTED) - 1), st.integers(0, 7))
def test_any_flipped_bit_of_a_model_is_noticed(place: int, bit: int) -> None:
    damaged = bytearray(FITTED)
    damaged[place] ^= 1 << bit
    with pytest.raises(InvalidModel):
        TfidfFactory().load(bytes(damaged))


PARAMETERS = {"recipe": 1, "dimension": 384, "products": 1}
ARRAYS = unpack(FITTED).arrays


@pytest.mark.parametrize(
    ("artifact", "said"),
    [
        (pack("neural", PARAMETERS, ARRAYS), "kind 'neural'"),
        (pack("tfidf", PARAMETERS | {"recipe": 99}, ARRAYS), "recipe 99"),
        (pack("tfidf", PARAMETERS | {"dimension": 10**12}, ARRAYS), "do not fit together"),
        (pack("tfidf", PARAMETERS | {"products": -1}, ARRAYS), "do not fit together"),
        (pack("tfidf", PARAMETERS, {}), "do not fit together"),
        (pack("tfidf", PARAMETERS, ARRAYS | {"counts": ARRAYS["counts"][1:]}), "do not fit"),
        (TfidfFactory(64).fit([]).to_bytes(), "64 dimensions, not 384"),
    ],
)
def test_a_sound_artifact_that_is_no_model_for_us_is_refused(artifact: bytes, said: str) -> None:
    with pytest.raises(InvalidModel, match=said):
        TfidfFactory().load(artifact)
