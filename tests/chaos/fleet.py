"""Consumers as real processes, under a supervisor that starts each one again."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

CLAIM_IDLE_MS = 1500
STOPPED_S = 2 * CLAIM_IDLE_MS / 1000
OPTIONS = (
    *("--claim-idle-ms", str(CLAIM_IDLE_MS)),
    *("--batch-size", "50", "--block-ms", "300", "--status-interval", "0.3"),
)

# Killed, terminated before or after it could tell, or started while the backend was away.
EXPECTED_ENDS = {-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM, 5}


class Fleet:
    def __init__(self, size: int, environment: Mapping[str, str], folder: Path) -> None:
        self._environment = {**os.environ, **environment}
        self._folder = folder
        self._started = 0
        self.problems: list[str] = []
        self._running = [self._start() for _ in range(size)]
        self._stopped: list[subprocess.Popen[bytes]] = []
        self._resumptions: list[threading.Timer] = []

    def supervise(self) -> None:
        """Start again whoever has ended."""
        for place, process in enumerate(self._running):
            if process.poll() is not None:
                self._note_end(process)
                self._running[place] = self._start()

    def strike(self, number: signal.Signals, chance: random.Random) -> bool:
        """Send a signal to one consumer; return whether there was one to send it to."""
        candidates = [p for p in self._running if p.poll() is None and p not in self._stopped]
        if not candidates:
            return False
        victim = chance.choice(candidates)
        victim.send_signal(number)
        if number == signal.SIGSTOP:
            self._stopped.append(victim)
            # By a thread: who publishes may be waiting for a lock that the victim holds.
            resumption = threading.Timer(STOPPED_S, self._resume, [victim])
            resumption.start()
            self._resumptions.append(resumption)
        return True

    def _resume(self, victim: subprocess.Popen[bytes]) -> None:
        victim.send_signal(signal.SIGCONT)
        self._stopped.remove(victim)

    def end(self) -> None:
        for resumption in self._resumptions:
            resumption.join()
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.wait(timeout=60)
            self._note_end(process)

    def kill(self) -> None:
        for resumption in self._resumptions:
            resumption.cancel()
        for process in self._running:
            process.kill()
            process.wait(timeout=60)

    def drain(self) -> None:
        """Run one more consumer until nothing is left to hand out."""
        process = self._start("--drain")
        if process.wait(timeout=300) not in (0, 3):
            self._note_end(process)

    def redelivered(self) -> int:
        """Return how many deliveries were not the first, as far as the consumers could tell."""
        return sum(int(n[-1].replace(",", "")) for n in self._found(r"redelivered ([\d,]+)"))

    def alarms(self) -> list[str]:
        """Return what must not stand in any consumer's log."""
        return [line for lines in self._found(r".*(?:Traceback|\blost ).*") for line in lines]

    def _found(self, pattern: str) -> list[list[str]]:
        logs = self._folder.glob("consumer-*.log")
        found = (re.findall(pattern, log.read_text(errors="replace")) for log in logs)
        return [lines for lines in found if lines]

    def _start(self, *options: str) -> subprocess.Popen[bytes]:
        self._started += 1
        name = f"consumer-{self._started}"
        with (self._folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "recsys_cli", "consume", *OPTIONS, *options],
                env=self._environment,
                stdout=log,
                stderr=log,
            )

    def _note_end(self, process: subprocess.Popen[bytes]) -> None:
        if process.returncode not in EXPECTED_ENDS:
            self.problems.append(f"a consumer ended with {process.returncode}")
