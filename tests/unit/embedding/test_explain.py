from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given

from recsys_cli.domain import Explanation, Product
from recsys_cli.embedding.features import features
from recsys_cli.embedding.frequencies import bucket, idf
from recsys_cli.embedding.text import WEIGHTS, texts_of
from recsys_cli.embedding.tfidf import TfidfFactory, TfidfModel
from recsys_cli.embedding.tokens import words
from tests.unit.embedding.test_tfidf import CATALOG, PRODUCTS

MODEL = TfidfFactory().fit(CATALOG)


def parts(found: Explanation) -> float:
    return sum(word.share for word in found.words) + found.pieces + found.collisions


def naive_collisions(model: TfidfModel, one: Product, other: Product) -> float:
    """Every pair of features in turn: what meets in a coordinate without being the same."""
    return sum(
        a * b
        for hash_a, coordinate_a, a in naive_features(model, one)
        for hash_b, coordinate_b, b in naive_features(model, other)
        if coordinate_a == coordinate_b and hash_a != hash_b
    )


def naive_features(model: TfidfModel, product: Product) -> Iterator[tuple[int, int, float]]:
    weights = idf(model._counted)
    texts = []
    for text in texts_of(product):
        found = []
        for word in words(text):
            sizes, hashes = features([word])
            for hash_ in hashes.tolist():
                value = weights[bucket(np.array([hash_], np.uint64))[0]] / sizes[0] ** 0.25
                found.append((hash_, (hash_ >> 1) % 2**32 % 384, value * (1 - 2 * (hash_ & 1))))
        texts.append(found)
    lengths = [np.linalg.norm(row(found)) or 1 for found in texts]
    whole = sum(row(f) / n * w for f, n, w in zip(texts, lengths, WEIGHTS, strict=True))
    total = np.linalg.norm(whole) or 1
    for found, length, weight in zip(texts, lengths, WEIGHTS, strict=True):
        for hash_, coordinate, value in found:
            yield hash_, coordinate, float(value * weight / length / total)


def row(found: list[tuple[int, int, float]]) -> np.ndarray:
    sums = np.zeros(384)
    for _, coordinate, value in found:
        sums[coordinate] += value
    return sums


@given(PRODUCTS, PRODUCTS)
def test_the_parts_sum_up_to_the_score(one: Product, other: Product) -> None:
    found = MODEL.explain(one, other)
    left, right = MODEL.embed([one, other])
    assert found.score == pytest.approx(float(left @ right), abs=1e-6)
    assert parts(found) == pytest.approx(found.score, abs=1e-6)


@pytest.mark.parametrize(
    ("one", "other"), [(CATALOG[0], CATALOG[1]), (CATALOG[2], CATALOG[2]), (CATALOG[3], CATALOG[4])]
)
def test_collisions_are_collisions_and_nothing_else(one: Product, other: Product) -> None:
    found = MODEL.explain(one, other)
    assert found.collisions == pytest.approx(naive_collisions(MODEL, one, other), abs=1e-5)


def test_words_are_named_with_the_fields_they_stand_in() -> None:
    one = Product(id="1", name="Steel kettle", attributes={"brand": "Brewmark", "url": "kettle"})
    other = Product(id="2", name="Kettles", description="By Brewmark; a kettle")
    found = MODEL.explain(one, other)
    by_pair = {(word.word, word.other_word): word for word in found.words}
    assert by_pair["kettle", "kettle"].fields == ["name"]
    assert by_pair["kettle", "kettle"].other_fields == ["description"]
    assert by_pair["kettle", "kettles"].other_fields == ["name"]
    assert by_pair["brewmark", "brewmark"].fields == ["brand"]
    assert ("steel", "kettle") not in by_pair
    shares = [word.share for word in found.words]
    assert shares == sorted(shares, reverse=True)


def test_strangers_have_no_words_in_common() -> None:
    found = MODEL.explain(Product(id="1", name="oak"), Product(id="2", name="緑茶"))
    assert found.words == []
    assert found.pieces == 0
    assert found.collisions == pytest.approx(found.score)


def test_a_product_is_all_of_itself() -> None:
    assert MODEL.explain(CATALOG[2], CATALOG[2]).score == pytest.approx(1, abs=1e-6)


def test_long_texts_are_explained_whole() -> None:
    words_ = " ".join(f"word{n}" for n in range(1000))
    found = MODEL.explain(
        Product(id="1", name="lamp", description=words_), Product(id="2", description=words_)
    )
    assert parts(found) == pytest.approx(found.score, abs=1e-6)
