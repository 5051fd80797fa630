from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_cli.domain import Product
from recsys_cli.embedding import tfidf
from recsys_cli.embedding.tfidf import TfidfFactory, TfidfModel
from recsys_cli.errors import InvalidModel
from recsys_cli.ports import EmbeddingModel, ModelFactory

CATALOG = [
    Product(id="1", name="Gooseneck kettle 1 l", description="Steel, for pour-over coffee"),
    Product(id="2", name="Electric kettle 1.7 l", description="Switches off by itself"),
    Product(id="3", name="Sony WH-1000XM4 headphones", category="Audio"),
    Product(id="4", name="Điện thoại Nokia 105", attributes={"brand": "Nokia"}),
    Product(id="5", name="煎茶 50 g", description="宇治の緑茶。さわやかな香りの煎茶。"),
    Product(id="6", name="!!!", price=3.0),
]
MODEL = TfidfFactory().fit(CATALOG)

PRODUCTS = st.builds(
    Product,
    id=st.just("x"),
    name=st.text(max_size=30),
    description=st.text(max_size=80),
    category=st.sampled_from(["", "Audio", "Toys & Games"]),
    attributes=st.dictionaries(st.sampled_from(["brand", "url"]), st.text(max_size=9)),
)


def score(one: str, other: str, model: TfidfModel = MODEL) -> float:
    left, right = model.embed([Product(id="l", name=one), Product(id="r", name=other)])
    return float(left @ right)


def test_it_is_what_the_ports_ask_for() -> None:
    factory: ModelFactory = TfidfFactory()
    model: EmbeddingModel = factory.fit(CATALOG)
    assert model.dimension == 384


@given(st.lists(PRODUCTS, max_size=5))
def test_rows_are_float32_finite_and_of_unit_length_or_zero(products: list[Product]) -> None:
    rows = MODEL.embed(products)
    assert rows.dtype == np.float32
    assert rows.shape == (len(products), 384)
    lengths = np.linalg.norm(rows, axis=1)
    assert np.all((lengths == 0) | (np.abs(lengths - 1) < 1e-6))


@pytest.mark.parametrize("product", [Product(id="1"), Product(id="2", name="!? …", price=9.0)])
def test_a_product_without_words_is_a_zero_row(product: Product) -> None:
    assert not MODEL.embed([product]).any()
    assert MODEL.embed([*CATALOG, product])[:5].any(axis=1).all()


@given(PRODUCTS, st.lists(PRODUCTS, max_size=4))
def test_a_row_is_the_same_to_the_bit_in_any_company(
    product: Product, company: list[Product]
) -> None:
    alone = MODEL.embed([product])[0]
    assert np.array_equal(MODEL.embed([*company, product])[-1], alone)
    assert np.array_equal(MODEL.embed([product, *company])[0], alone)
    assert np.array_equal(TfidfFactory().load(MODEL.to_bytes()).embed([product])[0], alone)


def test_slices_and_a_full_cache_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = MODEL.embed(CATALOG)
    monkeypatch.setattr(tfidf, "_PRODUCTS_AT_ONCE", 2)
    monkeypatch.setattr(tfidf, "_CHARACTERS_AT_ONCE", 40)
    monkeypatch.setattr(tfidf, "_CACHE_BYTES", 0)
    small = TfidfFactory().load(MODEL.to_bytes())
    for _ in range(2):
        assert np.array_equal(small.embed(CATALOG), expected)


def test_threads_share_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfidf, "_CACHE_BYTES", 1000)
    model = TfidfFactory().load(MODEL.to_bytes())
    expected = MODEL.embed(CATALOG)
    wrong: list[int] = []

    def embed(number: int) -> None:
        for _ in range(30):
            shift = random.randrange(len(CATALOG))
            rows = model.embed(CATALOG[shift:] + CATALOG[:shift])
            if not np.array_equal(np.roll(rows, shift, axis=0), expected):
                wrong.append(number)

    threads = [threading.Thread(target=embed, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_same_catalog_in_any_order_is_the_same_model() -> None:
    shuffled = random.Random(5).sample(CATALOG, len(CATALOG))
    again = TfidfFactory().fit(iter(shuffled))
    assert again.to_bytes() == MODEL.to_bytes()
    assert again.version == MODEL.version
    assert TfidfFactory().fit(CATALOG[1:]).version != MODEL.version


def test_how_the_words_are_portioned_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys_cli.embedding.frequencies._WORDS_AT_ONCE", 3)
    assert TfidfFactory().fit(CATALOG).to_bytes() == MODEL.to_bytes()


@given(st.lists(PRODUCTS, max_size=12), st.lists(st.integers(0, 12), max_size=3), st.randoms())
def test_models_of_parts_merge_into_the_model_of_the_whole(
    products: list[Product], cuts: list[int], chance: random.Random
) -> None:
    factory = TfidfFactory()
    bounds = [0, *sorted(cuts), len(products)]
    parts = [factory.fit(products[start:end]).to_bytes() for start, end in pairwise(bounds)]
    chance.shuffle(parts)
    nested = [factory.merge(parts[:1]).to_bytes(), *parts[1:]]
    assert factory.merge(nested).to_bytes() == factory.fit(products).to_bytes()


def test_models_that_differ_in_marks_do_not_merge() -> None:
    other = TfidfFactory(keep_marks=True).fit(CATALOG)
    with pytest.raises(InvalidModel, match="cannot be merged"):
        TfidfFactory().merge([MODEL.to_bytes(), other.to_bytes()])


def test_marks_are_kept_where_asked_and_a_model_remembers() -> None:
    keeping = TfidfFactory(keep_marks=True).fit(CATALOG)
    assert keeping.version != MODEL.version
    assert score("dien thoai", "điện thoại") > 0.3
    assert abs(score("dien thoai", "điện thoại", keeping)) < 0.2
    assert score("điện thoại", "Điện thoại", keeping) == pytest.approx(1)
    opened = TfidfFactory().load(keeping.to_bytes())
    assert score("dien thoai", "điện thoại", opened) == score("dien thoai", "điện thoại", keeping)
    assert opened.info == keeping.info
    assert keeping.info.options == ["keeps marks"]


def test_an_opened_artifact_is_the_same_model() -> None:
    opened = TfidfFactory().load(MODEL.to_bytes())
    assert opened.to_bytes() == MODEL.to_bytes()
    assert opened.version == MODEL.version
    assert opened.dimension == 384


def test_an_artifact_opens_within_a_tenth_of_a_second() -> None:
    artifact = MODEL.to_bytes()
    started = time.perf_counter()
    TfidfFactory().load(artifact)
    assert time.perf_counter() - started < 0.1


@pytest.mark.parametrize("catalog", [[], CATALOG[:1], CATALOG[5:]], ids=["none", "one", "wordless"])
def test_it_works_from_the_first_product_on(catalog: list[Product]) -> None:
    model = TfidfFactory().fit(catalog)
    assert score("electric kettle", "gooseneck kettle", model) > score(
        "electric kettle", "trail shoes", model
    )


def test_other_dimensions() -> None:
    model = TfidfFactory(dimension=64).fit(CATALOG)
    assert model.embed(CATALOG).shape == (6, 64)
    assert TfidfFactory(64).load(model.to_bytes()).version == model.version


BASE = Product(
    id="7", name="Desk lamp", description="Dimmable", category="Lighting", attributes={"brand": "A"}
)


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        ({"name": "Floor lamp"}, True),
        ({"description": "Not dimmable"}, True),
        ({"category": "Office"}, True),
        ({"attributes": {"brand": "B"}}, True),
        ({"price": 9.5}, False),
        ({"id": "8"}, False),
        ({"attributes": {"brand": "A", "image_url": "https://shop/lamp.jpg"}}, False),
    ],
)
def test_the_digest_changes_exactly_where_the_embedding_does(
    change: dict[str, object], matters: bool
) -> None:
    fields = {name: getattr(BASE, name) for name in BASE.__struct_fields__}
    changed = Product(**(fields | change))
    assert (MODEL.text_digest(changed) != MODEL.text_digest(BASE)) == matters
    before, after = MODEL.embed([BASE, changed])
    assert (not np.array_equal(before, after)) == matters


@given(PRODUCTS, PRODUCTS)
def test_equal_digests_are_equal_embeddings(one: Product, other: Product) -> None:
    if MODEL.text_digest(one) == MODEL.text_digest(other):
        left, right = MODEL.embed([one, other])
        assert np.array_equal(left, right)


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("WH1000XM4", "Sony WH-1000XM4", "Sony MDR-7506"),
        ("dien thoai", "điện thoại", "diện tích nhà"),
        ("Küchenmaschine", "Küchenmaschinen Zubehör", "Gartenschere"),
        ("Kaffeemühle", "Elektrische Kaffeemühlen", "Waschmaschine"),
        ("Handschuh", "Lederhandschuhe", "Lederschuhe"),
        ("手机", "华为手机 128GB", "笔记本电脑"),
        ("wh 1000 xm4", "WH-1000XM4", "XB-900N"),
        ("緑茶", "宇治の緑茶", "石臼挽きの抹茶"),
        ("กล้อง", "กล้องถ่ายรูปดิจิตอล", "รองเท้าวิ่ง"),
        ("headphnes", "headphones", "speakers"),
        ("unheardofword", "unheardofwords", "kettle"),
        ("🎧", "🎧 blue", "👟 blue"),
    ],
)
def test_any_language_and_words_never_seen(text: str, near: str, far: str) -> None:
    assert score(text, near) > score(text, far) + 0.1


def test_a_huge_text_is_embedded_in_bounded_time() -> None:
    words = " ".join(f"word{n}" for n in range(100_000))
    huge = [Product(id=str(n), name="lamp", description=words) for n in range(20)]
    started = time.perf_counter()
    assert MODEL.embed(huge).any(axis=1).all()
    assert time.perf_counter() - started < 5


def test_opening_and_embedding_load_neither_scikit_learn_nor_pandas() -> None:
    code = """
import sys
from recsys_cli.domain import Product
from recsys_cli.embedding.tfidf import TfidfFactory
model = TfidfFactory().load(sys.stdin.buffer.read())
assert model.embed([Product(id="1", name="kettle")]).any()
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], input=MODEL.to_bytes(), capture_output=True, check=True
    )
    assert not {"sklearn", "scipy", "pandas"} & set(done.stdout.decode().split())
