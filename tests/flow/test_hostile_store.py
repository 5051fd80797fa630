"""Whoever may write to Redis may write anything: each command ends in a sentence all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from recsys_cli.connections.redis import Argument, flat
from recsys_cli.embedding import artifact
from tests.commands import Recsys
from tests.servers import RedisServer

FEED = "id,name,price\nlamp,Desk lamp,9\nlamp-2,Desk lamp dimmable,12\n"

COMMANDS = (
    ("import", "FEED", "--republish"),
    ("import", "FEED", "--sync", "--max-delete", "100%"),
    ("consume", "--drain", "--consumer-id", "c"),
    ("similar", "lamp"),
    ("similar", "--text", "desk lamp"),
    ("product", "show", "lamp"),
    ("product", "show", "lamb"),
    ("product", "update", "lamp", "--price", "8"),
    ("product", "rm", "lamp-2"),
    ("lag",),
    ("pending",),
    ("health",),
    ("index", "info"),
    ("dlq", "list"),
    ("dlq", "summary"),
    ("dlq", "replay", "--all"),
)

NOISE = bytes(range(256)) * 3
DEEP = b'{"f":' * 100_000
PICKLE = b"cposix\nsystem\n(S'touch pickled'\ntR."

Garble = Callable[[redis.Redis], object]


def run(client: redis.Redis, *command: Argument) -> object:
    return client.execute_command(*command)  # type: ignore[no-untyped-call]  # the driver's


def string(key: str | bytes, value: bytes) -> Garble:
    return lambda client: (client.delete(key), client.set(key, value))


def fields(key: str | bytes, **values: bytes) -> Garble:
    return lambda client: run(client, "HSET", key, *flat(values))


def entry(key: str, **values: bytes) -> Garble:
    return lambda client: run(client, "XADD", key, "*", *flat(values))


EMBEDDING = "product:embedding:lamp"
SEALED = artifact.pack("tfidf", {"recipe": 1, "dimension": 384, "products": 1}, {})

GARBLED: dict[str, Garble] = {
    "state: noise": string("product:state:lamp", NOISE),
    "state: pickle": string("product:state:lamp", PICKLE),
    "state: deep": string("product:state:lamp", DEEP),
    "state: other types": string("product:state:lamp", b'{"c": 1, "f": []}'),
    "state: position": string("product:state:lamp", b'{"c": "x-y", "f": {"name": "a"}}'),
    "state: price": string("product:state:lamp", b'{"c": "1-0", "f": {"price": "dear"}}'),
    "model: noise": string("product:model:active", NOISE),
    "model: pickle": string("product:model:active", PICKLE),
    "model: foreign": string("product:model:active", SEALED),
    "model: empty": string("product:model:active", b""),
    "embedding: text": fields(EMBEDDING, position=b"x", name=NOISE, updated_at=NOISE),
    "embedding: price": fields(EMBEDDING, price=b"dear"),
    "embedding: vector cut": fields(EMBEDDING, vector=b"123"),
    "embedding: vector short": fields(EMBEDDING, vector=b"1234"),
    "embedding: vector empty": fields(EMBEDDING, vector=b""),
    "embedding: vector nan": fields(EMBEDDING, vector=b"\xff" * 1536),
    "embedding: source": fields(EMBEDDING, model_version=NOISE, text_digest=NOISE),
    "embedding: id": fields(b"product:embedding:\xff", vector=b"\0" * 1536),
    "embedding: a string": string(EMBEDDING, NOISE),
    "state: id": string(b"product:state:\xff", b'{"c": "1-0", "f": {"name": "a"}}'),
    "index: a string": string("product:vectors@1", NOISE),
    "index: parameter": fields("product:vectors@1", ef_runtime=b"many"),
    "event: noise": entry("product:updates", event_type=NOISE, product_id=NOISE, data=NOISE),
    "event: deep": entry("product:updates", event_type=b"create", product_id=b"p", data=DEEP),
    "event: place": entry(
        "product:updates",
        event_type=b"delete",
        product_id=b"p",
        original_id=b"9" * 5000 + b"-1",
        replays=b"9" * 5000,
    ),
    "letter: noise": entry("product:updates:dead", entry_id=NOISE, event=NOISE, attempts=NOISE),
    "letter: count": entry("product:updates:dead", attempts=b"9" * 5000),
    "failure: noise": lambda client: (
        client.xgroup_create("product:updates", "product-processors", "0", mkstream=True)
        if not client.exists("product:updates")
        else None,
        held := client.xadd("product:updates", {"event_type": "delete", "product_id": "p"}),
        client.xreadgroup("product-processors", "c", {"product:updates": ">"}),
        client.hset("product:updates:failures:product-processors", held, NOISE),
    ),
    "stream: a string": string("product:updates", NOISE),
    "letters: a string": string("product:updates:dead", NOISE),
    "failures: a string": string("product:updates:failures:product-processors", NOISE),
}


@pytest.mark.parametrize("what", GARBLED)
def test_garbled_data_ends_in_a_sentence(
    what: str,
    redis_server: RedisServer,
    recsys_embedded: Recsys,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    recsys = recsys_embedded
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    (tmp_path / "FEED").write_text(FEED)
    recsys("import", "FEED")
    recsys("consume", "--drain")
    for command in COMMANDS:
        with redis_server.client() as client:
            GARBLED[what](client)
        result = recsys(*command, exits=None)
        assert result.exit_code in (0, 1, 3, 4, 5), result
        assert ("error: " in result.err) == (result.exit_code not in (0, 3)), result
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["FEED"]
