"""An import that is interrupted anywhere is finished by running it again."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys_cli.domain import FieldValue
from recsys_cli.pipeline.publish import CHUNK
from recsys_cli.settings import load
from recsys_cli.wiring import Backends
from tests.commands import Recsys, recsys_process
from tests.servers import wait_until

ROWS = 15_000
INTERRUPTIONS = {
    1: signal.SIGKILL,
    3_000: signal.SIGINT,
    6_000: signal.SIGTERM,
    9_000: signal.SIGKILL,
    12_000: signal.SIGTERM,
}
"""Which signal comes when so many events are on the stream."""

HOW_TO_GO_ON = "run the same command again: what is published is not published twice"


@pytest.fixture
def backends(recsys: Recsys) -> Iterator[Backends]:
    """The backends that the commands use."""
    recsys("health")
    with Backends(load()) as opened:
        yield opened


def length(backends: Backends) -> int:
    return backends.get_event_processor().status().length


def test_run_again_it_completes(recsys: Recsys, backends: Backends, tmp_path: Path) -> None:
    feed, products = tmp_path / "feed.jsonl", lamps(ROWS)
    feed.write_text("\n".join(json.dumps({"id": i} | fields) for i, fields in products.items()))

    for events, number in INTERRUPTIONS.items():
        interrupt(feed, number, events, backends)
    recsys("import", feed)
    # Killed between publishing and noting it, the events of one chunk are published twice.
    kills = list(INTERRUPTIONS.values()).count(signal.SIGKILL)
    assert ROWS <= length(backends) <= ROWS + CHUNK * kills

    recsys("index", "create", "--m", 2, "--ef-construction", 8)  # soon made
    recsys("consume", "--drain", "--batch-size", 2000)
    found = {product.id: product.to_fields() for product in backends.get_catalog().products()}
    assert found == products
    assert recsys("index", "info", "--json").json["documents"] == ROWS
    assert recsys("import", feed, "--json").json["unchanged"] == ROWS
    assert recsys("lag", "--json").json["lag"] == 0, "a further import publishes nothing"


def interrupt(feed: Path, number: signal.Signals, events: int, backends: Backends) -> None:
    """Import, and send the signal in the middle."""
    process = recsys_process("import", feed)
    wait_until(lambda: length(backends) >= events, 30, f"{events} events are published")
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert out == ""
    if number == signal.SIGKILL:
        assert process.returncode == -number
        return
    assert process.returncode == 128 + number
    _, said = err.splitlines()
    assert re.fullmatch(rf"stopped after [\d,]+ rows, [\d,]+ events; {HOW_TO_GO_ON}", said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_waiting_for_more_of_standard_input_it_ends_at_once(
    backends: Backends, number: signal.Signals
) -> None:
    process = recsys_process("import", "-", "--format", "jsonl", stdin=subprocess.PIPE)
    assert process.stdin is not None
    for i, fields in lamps(2 * CHUNK + 900).items():
        process.stdin.write(json.dumps({"id": i} | fields) + "\n")
    process.stdin.flush()
    wait_until(lambda: length(backends) == 2 * CHUNK, 20, "two chunks are published")

    process.send_signal(number)

    assert process.wait(timeout=10) == 128 + number
    _, err = process.communicate()
    assert f"stopped after 2,000 rows, 2,000 events; {HOW_TO_GO_ON}\n" in err
    assert length(backends) == 2 * CHUNK


def lamps(count: int) -> dict[str, dict[str, FieldValue]]:
    return {f"p{n}": {"name": f"Lamp {n}", "price": n / 4} for n in range(count)}
