"""Re-embed while the shop is open and the process is killed: ``python -m tests.chaos.reembed``.

Two consumers, four who ask without a pause and one who changes products; ``recsys reembed`` is
killed -9 at random points, and run once more. Nothing may fail, no answer may mix models, and at
the end every event is in. It takes about ten minutes for 100 000 products.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys_cli.settings import load
from recsys_cli.wiring import Backends
from tests.benchmarks.mixing import mixed
from tests.commands import recsys_process
from tests.servers import running_redis, wait_until
from tests.visitors import Asking, Busy, Shopping


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_redis() as server:
        os.environ["REDIS_URL"] = server.url
        stock(Path(folder), arguments.products)
        with visited(arguments.products) as busy:
            reembed_and_kill(random.Random(arguments.seed), arguments.kills)
        reckon(busy, arguments.products)


def stock(folder: Path, products: int) -> None:
    """Fill the shop."""
    feed = folder / "mixed.csv"
    with feed.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "name", "description", "category"])
        for n, product in enumerate(mixed(products)):
            writer.writerow([f"m-{n}", product.name, product.description, product.category])
    started = time.monotonic()
    command("import", feed)
    command("consume", "--drain", "--batch-size", 500)
    print(f"stocked {products:,} products in {time.monotonic() - started:.0f} s", flush=True)


@contextmanager
def visited(products: int) -> Iterator[list[Busy]]:
    """Keep the shop open: consumers, people who ask, people who change things."""
    over = threading.Event()
    consumers = [recsys_process("consume", "--batch-size", 50) for _ in range(2)]
    busy: list[Busy] = [*(Asking(over, products) for _ in range(4)), Shopping(over)]
    for thread in busy:
        thread.start()
    try:
        yield busy
        over.set()
        for thread in busy:
            thread.join(60)
        with Backends(load()) as backends:
            events = backends.get_event_processor()
            wait_until(lambda: events.status().lag == 0, 120, "all events are delivered")
            wait_until(lambda: events.status().pending == 0, 120, "all events are consumed")
    finally:
        over.set()
        for consumer in consumers:
            consumer.terminate()
            consumer.communicate(timeout=30)


def reembed_and_kill(chance: random.Random, kills: int) -> None:
    started = time.monotonic()
    killed = 0
    while True:
        process = recsys_process("reembed")
        try:
            out, err = process.communicate(
                timeout=chance.uniform(5, 40) if killed < kills else None
            )
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
            print(f"kill {killed}: {state()}", flush=True)
            continue
        if process.returncode == 6:
            time.sleep(1)  # the lock of the one that was killed
            continue
        print(f"exit {process.returncode} after {killed} kills: {out.strip()}", flush=True)
        if process.returncode:
            sys.exit(err)
        if killed >= kills:
            break
    print(f"in all {time.monotonic() - started:.0f} s; {state()}", flush=True)


def state() -> str:
    """Say which generations there are."""
    lines = command("index", "generations").splitlines()[1:]
    return "; ".join(" ".join(line.split("\t")[:4]) for line in lines)


def reckon(busy: list[Busy], products: int) -> None:
    """Exit with what is wrong."""
    *asking, shopping = busy
    wrong = [f"{type(thread).__name__}: {thread.error}" for thread in busy if thread.error]
    with Backends(load()) as backends:
        vectors = backends.get_vector_store()
        ids = [f"live-{n}" for n in range(shopping.done)]
        found = vectors.get(ids).keys()
        expected = {i for n, i in enumerate(ids) if n % 3}
        info = vectors.info()
    wrong += [f"missing {sorted(expected - found)[:5]}"] if expected - found else []
    wrong += [f"not deleted {sorted(found - expected)[:5]}"] if found - expected else []
    if info is None or info.documents != products + len(expected) or len(info.model_versions) != 1:
        wrong.append(f"the index is {info}, not of {products + len(expected)} products")
    print(
        f"{sum(thread.done for thread in asking):,} answers, {shopping.done:,} products changed, "
        f"{len(wrong)} problems"
    )
    if wrong:
        sys.exit("\n".join(wrong))


def command(*arguments: object) -> str:
    process = recsys_process(*arguments)
    out, err = process.communicate()
    if process.returncode:
        sys.exit(f"{arguments}: exit {process.returncode}\n{err}")
    return out


if __name__ == "__main__":
    main()
