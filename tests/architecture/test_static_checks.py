"""The checkers pass over the package and its tests: ``make test`` is all there is to run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.timeout(280)
@pytest.mark.parametrize(
    "check",
    [["mypy"], ["ruff", "check"], ["ruff", "format", "--check", "--diff"]],
    ids=lambda check: " ".join(check[:2]),
)
def test_check_passes(check: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *check], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
