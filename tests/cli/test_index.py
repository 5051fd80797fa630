from __future__ import annotations

import inspect

import msgspec
import pytest

from recsys_cli.cli.index import create
from recsys_cli.domain import IndexSpec
from tests.commands import Recsys
from tests.servers import RedisServer


def test_the_defaults_are_those_of_the_index() -> None:
    spec = msgspec.structs.asdict(IndexSpec())
    parameters = inspect.signature(create).parameters
    assert {n: p.default for n, p in parameters.items() if n in spec} == {
        name: value for name, value in spec.items() if name not in ("dimension", "attributes")
    }


def test_create_info_drop(recsys: Recsys) -> None:
    assert "recsys index create" in recsys("index", "info", exits=1).err
    assert "created" in recsys("index", "create").err
    assert "exists already, as asked" in recsys("index", "create").err
    recsys("product", "put", "a", "--name", "Lamp")
    recsys("consume", "--drain")

    info = recsys("index", "info", "--json").json
    assert (info["documents"], info["indexed"], info["failures"]) == (1, 1, 0)
    assert info["bytes_per_product"] > 0
    assert len(info["model_versions"]) == 1

    recsys("index", "drop", "--yes")
    assert "recsys index create" in recsys("similar", "a", exits=1).err
    assert f"serving\t{info['model_versions'][0]}\tno index" in recsys("index", "generations").out
    recsys("index", "create")
    assert recsys("similar", "a", "--json").json["neighbors"] == []
    recsys("index", "drop", "--yes", "--embeddings")
    lost = recsys("similar", "a", exits=4).err
    assert "no embedding" in lost
    assert "recsys doctor --fix" in lost
    recsys("product", "put", "b", "--name", "Rug")
    assert "recsys doctor --fix" in recsys("similar", "a", exits=4).err
    recsys("index", "create")
    recsys("doctor", "--fix")
    recsys("consume", "--drain")
    assert recsys("similar", "a", "--json").json["neighbors"]


def test_before_anything_the_generation_has_neither_index_nor_model(recsys: Recsys) -> None:
    assert "1\tserving\tnone\tno index\t" in recsys("index", "generations").out
    recsys("index", "create")
    assert "1\tserving\tnone\t0\t" in recsys("index", "generations").out


def test_dropping_unasked_needs_yes(
    recsys_embedded: Recsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert "say --yes" in recsys_embedded("index", "drop", exits=2).err


def test_another_schema_is_refused_with_both_values(
    recsys_embedded: Recsys, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    recsys_embedded("index", "create", "--m", 8)
    refused = recsys_embedded("index", "create", "--m", 32, exits=1)
    assert "exists with m 8, not 32" in refused.err
    assert "recsys reembed --m 32, while this one serves; or recsys index drop" in refused.err
    others = ("--m", 8, "--attribute", "brand", "--attribute", "color")
    refused = recsys_embedded("index", "create", *others, exits=1)
    assert "  recsys reembed --attribute brand --attribute color, while" in refused.err
    recsys_embedded("product", "put", "a", "--name", "Lamp", "--set", "brand=Halden")
    recsys_embedded("consume", "--drain")
    recsys_embedded("reembed", *others)
    assert "exists already" in recsys_embedded("index", "create", *others).err
    cannot = recsys_embedded("index", "create", "--m", 8, exits=1).err
    assert "attributes brand, color, not none\n  recsys index drop" in cannot


def test_an_index_of_another_dimension_stops_the_consumer(
    recsys: Recsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    recsys("index", "create")
    monkeypatch.setenv("VECTOR_DIMENSION", "128")
    assert "has 384 dimensions, the model 128" in recsys("consume", "--drain", exits=1).err
