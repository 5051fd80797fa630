"""The neural model, with an encoder that the tests make: each token has a vector of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from recsys_cli.domain import Product
from recsys_cli.embedding.neural import NeuralFactory
from recsys_cli.embedding.tfidf import TfidfFactory
from recsys_cli.errors import InvalidModel, SettingsError, UsageError
from recsys_cli.ports import EmbeddingModel, ModelFactory
from tests.commands import Recsys

WORDS = ["[UNK]", "steel", "kettle", "pot", "oak", "table", "lamp"]
DIMENSION = 384


def make_folder(folder: Path, seed: int = 1, dimension: int = DIMENSION) -> Path:
    """Write an encoder whose hidden states are rows of a random table."""
    folder.mkdir()
    rows = np.random.default_rng(seed).normal(size=(len(WORDS), dimension)).astype(np.float32)
    shape = ["batch", "tokens"]
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])],
        "tiny",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, shape)],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*shape, None])],
        [numpy_helper.from_array(rows, "table")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "model.onnx")
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, WORDS[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "encoder")


def named(*names: str) -> list[Product]:
    return [Product(id=str(n), name=name) for n, name in enumerate(names)]


def test_a_row_is_the_unit_mean_of_the_hidden_states(folder: Path) -> None:
    factory: ModelFactory = NeuralFactory(str(folder))
    model: EmbeddingModel = factory.fit([])
    (row,) = model.embed(named("steel kettle"))
    table = np.random.default_rng(1).normal(size=(len(WORDS), DIMENSION))
    mean = (table[1] + table[2]) / 2
    assert row == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    assert row.dtype == np.float32


def test_a_row_does_not_depend_on_its_company(folder: Path) -> None:
    model = NeuralFactory(str(folder)).fit([])
    company = named("steel kettle", "oak", "", "oak table lamp", *["lamp"] * 70, "kettle pot")
    together = model.embed(company)
    apart = np.concatenate([model.embed([product]) for product in company])
    assert together == pytest.approx(apart, abs=1e-6)
    assert not together[2].any()
    assert model.embed([]).shape == (0, DIMENSION)


def test_what_comes_after_many_words_does_not_count(folder: Path) -> None:
    model = NeuralFactory(str(folder)).fit([])
    one, other = model.embed(named("oak " * 256, "oak " * 256 + "lamp " * 9))
    assert np.array_equal(one, other)


def test_the_artifact_names_the_encoder_by_its_content(folder: Path, tmp_path: Path) -> None:
    factory = NeuralFactory(str(folder))
    model = factory.fit([])
    again = NeuralFactory(str(make_folder(tmp_path / "same"))).load(model.to_bytes())
    assert again.version == model.version
    assert factory.merge([model.to_bytes(), again.to_bytes()]).info == model.info
    other = NeuralFactory(str(make_folder(tmp_path / "other", seed=2)))
    with pytest.raises(InvalidModel, match="does not hold the embedding model in use"):
        other.load(model.to_bytes())


def test_the_other_kind_of_model_is_refused_by_both(folder: Path) -> None:
    tfidf, neural = TfidfFactory(), NeuralFactory(str(folder))
    with pytest.raises(InvalidModel, match="is of kind 'tfidf', and EMBEDDING_MODEL is 'neural'"):
        neural.load(tfidf.fit([]).to_bytes())
    with pytest.raises(InvalidModel, match="is of kind 'neural', and EMBEDDING_MODEL is 'tfidf'"):
        tfidf.load(neural.fit([]).to_bytes())


def test_it_says_that_it_cannot_explain(folder: Path) -> None:
    with pytest.raises(UsageError, match="cannot say which words"):
        NeuralFactory(str(folder)).fit([]).explain(*named("oak", "lamp"))


def test_another_dimension_is_said(tmp_path: Path) -> None:
    small = NeuralFactory(str(make_folder(tmp_path / "small", dimension=16)))
    with pytest.raises(InvalidModel, match="has 16 dimensions, not 384"):
        small.fit([]).embed(named("oak"))


def test_a_folder_that_is_no_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="needs EMBEDDING_MODEL_PATH"):
        NeuralFactory(None)
    with pytest.raises(SettingsError, match="no such folder"):
        NeuralFactory(str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match=r"has no model.onnx and no onnx/model.onnx"):
        NeuralFactory(str(tmp_path))
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / name).write_text("nonsense")
    with pytest.raises(InvalidModel, match="is unusable"):
        NeuralFactory(str(tmp_path)).fit([]).embed(named("oak"))


def test_from_feed_to_neighbors(
    recsys: Recsys, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDDING_MODEL", "neural")
    monkeypatch.setenv("EMBEDDING_MODEL_PATH", str(folder))
    feed = tmp_path / "feed.csv"
    feed.write_text("id,name\n1,steel kettle\n2,steel pot\n3,oak table\n4,oak lamp\n")
    recsys.stock(feed)
    neighbors = recsys("similar", "1", "--json").json["neighbors"]
    assert neighbors[0]["product_id"] == "2"
    assert neighbors[0]["similarity_score"] == pytest.approx(0.5, abs=0.15)
    assert recsys("model", "info", "--json").json["kind"] == "neural"
    assert "cannot say which words" in recsys("explain", "1", "2", exits=2).err
    monkeypatch.setenv("EMBEDDING_MODEL", "tfidf")
    assert "set EMBEDDING_MODEL=neural" in recsys("similar", "--text", "oak", exits=1).err
