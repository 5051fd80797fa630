"""A consumer as a process of its own, and what a test does around it while its server is away."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.commands import Recsys
from tests.servers import wait_until


class RunningConsumer:
    """A consumer process, and what it has said so far."""

    def __init__(self, log: Path) -> None:
        self._log = log
        with log.open("wb") as said:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "recsys_cli", "consume", "--block-ms", "200"),
                    *("--status-interval", "0.2", "--claim-idle-ms", "2000"),
                ],
                stderr=said,
                stdout=said,
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def says(self, text: str) -> None:
        wait_until(lambda: text in self.said, 30, f"the consumer says {text!r}")

    def ends_well(self) -> None:
        self.process.terminate()
        assert self.process.wait(timeout=20) == 143, self.said
        assert "Traceback" not in self.said


class Night:
    """A shop of 50 products whose backend is about to be troubled, and its consumers."""

    def __init__(self, recsys: Recsys, folder: Path) -> None:
        self.recsys = recsys
        self.folder = folder
        self.consumers: list[RunningConsumer] = []

    def fill(self) -> RunningConsumer:
        """Publish 50 products, and have them consumed."""
        self.publish("before")
        consumer = self.start_consumer()
        wait_until(lambda: self.documents() == 50, 20, "the first 50 are embedded")
        return consumer

    def start_consumer(self) -> RunningConsumer:
        self.consumers.append(RunningConsumer(self.folder / f"{len(self.consumers)}.log"))
        return self.consumers[-1]

    def publish(self, prefix: str) -> None:
        self.recsys("import", self.feed(prefix))

    def feed(self, prefix: str) -> Path:
        path = self.folder / f"{prefix}.jsonl"
        rows = ({"id": f"{prefix}-{n}", "name": f"Lamp {prefix} {n}"} for n in range(50))
        path.write_text("\n".join(map(json.dumps, rows)))
        return path

    def documents(self) -> int:
        info = self.recsys("index", "info", "--json", exits=None)
        return int(info.json["documents"]) if info.exit_code == 0 else 0

    def is_settled(self) -> bool:
        status = self.recsys("lag", "--json").json
        return (status["lag"], status["pending"], status["dead_letters"]) == (0, 0, 0)

    def end(self) -> None:
        for consumer in self.consumers:
            consumer.process.kill()
            consumer.process.wait()
