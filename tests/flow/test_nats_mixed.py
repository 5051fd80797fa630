"""NATS for a part of the shop, another backend for the rest."""

from __future__ import annotations

import pytest

from tests.commands import Recsys
from tests.flow.test_reembed import SHOP
from tests.nats_server import NatsServer
from tests.servers import RedisServer

MIXTURES = {
    "events and catalog on NATS, vectors on Redis": {"EVENT_PROCESSOR_TYPE": "nats"},
    "events on NATS, the rest on Redis": {"EVENT_PROCESSOR_TYPE": "nats", "CATALOG_TYPE": "redis"},
    "the catalog on NATS, the rest on Redis": {"CATALOG_TYPE": "nats"},
    "the catalog on NATS, events in the file": {
        "CATALOG_TYPE": "nats",
        "EVENT_PROCESSOR_TYPE": "embedded",
    },
}


@pytest.mark.parametrize("mixture", MIXTURES)
def test_parts_of_a_shop_may_lie_apart(
    mixture: str,
    recsys_embedded: Recsys,
    nats_server: NatsServer,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NATS_URL", nats_server.url)
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    for name, value in MIXTURES[mixture].items():
        monkeypatch.setenv(name, value)
    recsys = recsys_embedded.stock(SHOP)
    before = recsys("similar", "prod-101", "--json").json["neighbors"]
    assert before
    assert recsys("doctor", "--json").json["findings"] == []
    recsys("reembed")
    after = recsys("similar", "prod-101", "--json").json["neighbors"]
    assert {n["product_id"] for n in after} == {n["product_id"] for n in before}
    kinds = [part["version"].split()[0] for part in recsys("health", "--json").json_lines]
    assert "NATS" in kinds
    assert len(kinds) == 3
