from __future__ import annotations

import os

import pytest

from tests.commands import Recsys
from tests.shops import SHOPS

MADE = ["group product-processors created", "index product:vectors created"]
THERE = ["group product-processors exists already", "index product:vectors exists already"]


@pytest.mark.parametrize("recsys", SHOPS, indirect=True)
def test_what_is_missing_is_made_once(recsys: Recsys) -> None:
    assert recsys("init").err.splitlines()[1:] == MADE
    assert recsys("lag", "--json").json["lag"] == 0
    assert recsys("index", "info", "--json").json["documents"] == 0
    assert recsys("init").err.splitlines()[1:] == THERE


@pytest.mark.parametrize("recsys", ["redis"], indirect=True)
def test_where_redis_cannot_search_it_says_where_it_can(
    recsys: Recsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", f"{os.environ['REDIS_URL']}?db=3")
    assert "searches in its database 0 alone: set REDIS_DB=0" in recsys("init", exits=5).err


@pytest.mark.parametrize("recsys", ["embedded", "redis"], indirect=True)
def test_there_is_sql_for_postgres_only(recsys: Recsys) -> None:
    result = recsys("init", "--print-sql", exits=2)
    assert "nothing of this shop is in Postgres" in result.err
    assert result.out == ""


@pytest.mark.parametrize("recsys", ["supabase"], indirect=True)
def test_only_what_is_in_postgres_is_in_the_sql(
    recsys: Recsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = recsys("init", "--print-sql").out
    assert all(name in whole for name in ("products", "letters", "product_vectors_1_hnsw"))
    monkeypatch.setenv("VECTOR_STORE_TYPE", "embedded")
    assert "product_vectors" not in recsys("init", "--print-sql").out
    monkeypatch.setenv("CATALOG_TYPE", "embedded")
    events = recsys("init", "--print-sql").out
    assert "letters" in events
    assert "products" not in events
