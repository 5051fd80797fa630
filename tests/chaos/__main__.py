"""The long form: ``python -m tests.chaos --help``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.driver import Night, Plan
from tests.chaos.test_chaos import CLUSTERS, WORLDS

ALL = WORLDS | CLUSTERS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--backend", choices=list(ALL), action="append")
    parser.add_argument("--seed", type=int, action="append", help="repeatable; 1, 2, 3 unless said")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=110)
    parser.add_argument("--restarts", type=int, default=12)
    asked = parser.parse_args()
    failed = False
    for backend in asked.backend or list(ALL):
        for seed in asked.seed or [1, 2, 3]:
            plan = Plan(
                seed=seed,
                events=asked.events,
                products=asked.events // 20,
                kills=asked.kills,
                restarts=asked.restarts,
                terminations=20,
                stops=20,
                index_drops=5,
                replays=20,
                poison=100,
            )
            failed |= not _lived_through(plan, backend)
    sys.exit(failed)


def _lived_through(plan: Plan, backend: str) -> bool:
    with tempfile.TemporaryDirectory(prefix="recsys-chaos-") as name:
        folder = Path(name)
        world = ALL[backend](folder)
        try:
            verdict = Night(plan, world, folder).run()
        finally:
            world.close()
    print(f"{backend}, seed {plan.seed}: {verdict}", flush=True)
    return not verdict.problems


main()
