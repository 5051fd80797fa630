"""Run the command line as a user would: in this process, or as one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recsys_cli.cli.main import main


@dataclass(frozen=True)
class Result:
    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one line of JSON on stdout."""
        (line,) = self.out.splitlines()
        return json.loads(line)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Recsys:
    """Call it like the command: ``recsys("similar", "p-1")``. No run may print a traceback.

    The exit code must be ``exits``: 0 unless said, anything if None.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: object, exits: int | None = 0) -> Result:
        self._monkeypatch.setattr(sys, "argv", ["recsys", *map(str, arguments)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = self._capsys.readouterr()
        code = exit_.value.code
        result = Result(code if isinstance(code, int) else int(code is not None), *captured)
        assert "Traceback" not in result.err, result.err
        assert exits in (None, result.exit_code), result
        return result

    def stock(self, *feeds: Path, batch_size: int = 50) -> Recsys:
        """Import the feeds, and consume until nothing is waiting: a shop to ask."""
        self("import", *feeds)
        self("consume", "--drain", "--batch-size", batch_size)
        return self


def recsys_process(
    *arguments: object,
    env: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
    **options: Any,
) -> subprocess.Popen[str]:
    """Start the command as a process of its own, by way of ``prefix``."""
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "recsys_cli", *map(str, arguments)],
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
