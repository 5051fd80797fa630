"""What every stage works with: feeds, a model, a Redis, and commands run as a user runs them."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import redis

from recsys_cli.domain import Product
from recsys_cli.embedding.tfidf import TfidfFactory, TfidfModel
from recsys_cli.ports import Matrix
from recsys_cli.settings import load
from recsys_cli.wiring import Backends
from tests.benchmarks.mixing import mixed, write_feed
from tests.conftest import SETTINGS
from tests.servers import RedisServer

BATCH_SIZE = 200
SCRIPT = Path(sys.executable).with_name("recsys")
"""The command as it is installed."""

_LEFT_OUT = (*SETTINGS, "PYTHONDONTWRITEBYTECODE")
"""Of the environment: what is set here, and what a user's Python would not know."""

PEERS = Path(__file__).parent / "peers"


class Done(NamedTuple):
    """A process that has ended well; ``seconds`` by the wall clock, interpreter start included."""

    seconds: float
    out: str
    err: str


@dataclass(frozen=True)
class Effort:
    """How much is measured: ``rounds`` of whole commands, of short ones at least ``runs``."""

    sizes: tuple[int, ...] = (1_000, 10_000, 100_000)
    rounds: int = 3
    runs: int = 15
    queries: int = 500
    events: int = 100
    memory_rows: int = 1_000_000
    memory_rows_on_redis: int = 100_000
    memory_rows_before: int = 1_000


class Stock:
    """A catalogue of ``size`` mixed products: as a feed, as products, and what is made of them."""

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        self._folder = folder

    @cached_property
    def products(self) -> list[Product]:
        return list(mixed(self.size))

    @cached_property
    def feed(self) -> Path:
        path = self._folder / f"mixed-{self.size}.csv"
        write_feed(path, mixed(self.size))
        return path

    @cached_property
    def model(self) -> TfidfModel:
        return TfidfFactory().fit(self.products)

    @cached_property
    def vectors(self) -> Matrix:
        return self.model.embed(self.products)


@dataclass
class Workbench:
    """One Redis, one folder; both are the caller's to take away."""

    server: RedisServer
    folder: Path
    effort: Effort
    _stocks: dict[int, Stock] = field(default_factory=dict)
    _homes: int = 0
    _filled: dict[int, dict[str, str]] = field(default_factory=dict)
    _on_redis: int = 0

    def stock(self, size: int) -> Stock:
        return self._stocks.setdefault(size, Stock(self.folder, size))

    @cached_property
    def client(self) -> Any:
        """A bare redis-py, the limit's and the peers', talking the protocol that recsys talks."""
        return redis.Redis(port=self.server.port, protocol=2, socket_timeout=600)

    @property
    def on_redis(self) -> dict[str, str]:
        return {"REDIS_URL": self.server.url}

    def new_home(self) -> dict[str, str]:
        """Return the settings of an embedded file that is not there yet."""
        self._homes += 1
        return {"RECSYS_HOME": str(self.folder / f"home-{self._homes}")}

    @contextlib.contextmanager
    def home(self, like: Mapping[str, str] | None = None) -> Iterator[dict[str, str]]:
        """An embedded file for a block only: a copy of another, or not there yet."""
        home = self.new_home()
        if like:
            shutil.copytree(like["RECSYS_HOME"], home["RECSYS_HOME"])
        try:
            yield home
        finally:
            shutil.rmtree(home["RECSYS_HOME"])

    def flush(self) -> None:
        self.client.flushall()
        self._on_redis = 0

    def recsys(self, *arguments: object, on: Mapping[str, str]) -> Done:
        """Run the command to its end in a process of its own."""
        return self.run(sys.executable, "-m", "recsys_cli", *arguments, on=on)

    def peer(self, script: str, *arguments: object) -> Done:
        return self.run(sys.executable, PEERS / script, *arguments, on={})

    def run(self, *command: object, on: Mapping[str, str]) -> Done:
        started = time.perf_counter()
        process = self.start(*command, on=on)
        out, err = process.communicate()
        seconds = time.perf_counter() - started
        if process.returncode:
            raise RuntimeError(f"{command} ended with {process.returncode}: {err[-2000:]}")
        return Done(seconds, out, err)

    def start(self, *command: object, on: Mapping[str, str]) -> subprocess.Popen[str]:
        """Start a process that knows no settings but these."""
        return subprocess.Popen(
            [str(word) for word in command],
            env=environment(on),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextlib.contextmanager
    def backends(self, on: Mapping[str, str]) -> Iterator[Backends]:
        """The adapters in this process, as the settings choose them."""
        with Backends(load(environ=environment(on))) as opened:
            yield opened

    def fill_stream(self, stock: Stock, *, on: Mapping[str, str]) -> None:
        """Let the stream hold an event for each product, and nothing be consumed yet."""
        done = self.recsys("import", stock.feed, "--json", on=on)
        if f'"created":{stock.size}' not in done.out.replace(" ", ""):
            raise AssertionError(f"not all of the feed was taken: {done.out}{done.err}")

    def offer_model(self, stock: Stock, *, on: Mapping[str, str]) -> None:
        """Let there be a model in use, as after a first consume."""
        with self.backends(on) as opened:
            opened.get_catalog().offer_model(stock.model.to_bytes())

    def filled_redis(self, stock: Stock) -> dict[str, str]:
        """Return the settings of a shop to ask, on Redis; not to be changed without a flush."""
        if self._on_redis != stock.size:
            self.flush()
            self._fill(stock, on=self.on_redis)
            self._on_redis = stock.size
        return self.on_redis

    def filled_home(self, stock: Stock) -> dict[str, str]:
        """Return the settings of a shop to ask, in an embedded file; to change it, copy it."""
        if stock.size not in self._filled:
            self._filled[stock.size] = self.new_home()
            self._fill(stock, on=self._filled[stock.size])
        return self._filled[stock.size]

    def _fill(self, stock: Stock, *, on: Mapping[str, str]) -> None:
        self.fill_stream(stock, on=on)
        self.offer_model(stock, on=on)
        self.recsys("consume", "--drain", "--batch-size", BATCH_SIZE, on=on)


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with these settings and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_LEFT_OUT)}
    return kept | dict(settings)


def rate_said(err: str) -> float:
    """Return the events per second in the last line with which ``recsys consume`` sums up."""
    *_, last = re.findall(r"^processed [\d,]+, ([\d,]+)/s", err, re.MULTILINE)
    return float(last.replace(",", ""))


def has_redisvl() -> bool:
    return importlib.util.find_spec("redisvl") is not None
