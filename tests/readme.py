"""The README as a program: its commands can be run, and what they print compared or written again.

A reader follows one section at a time, in a copy of the checkout. Commands in ``console`` blocks
begin with ``$``; where output is shown under one, that is what it prints: stderr, then stdout as on
a terminal 100 columns wide. ``python -m tests.readme`` writes outputs, tables and help again.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import servers
from tests.cli.reference import command_reference, settings_table
from tests.cli.terminal import ESCAPE
from tests.support import support_table

CHECKOUT = Path(__file__).parents[1]
README = CHECKOUT / "README.md"
WIDTH = "100"

SHOWN_HOME = "~/.local/share/recsys"
SHOWN_REDIS = "redis://localhost:6379/0"

REDIS_CLI = """\
#!{python}
import sys, redis

def shown(reply):
    if isinstance(reply, list):
        return "\\n".join(f"{{i}}) {{shown(item)}}" for i, item in enumerate(reply, 1))
    return f"(integer) {{reply}}" if isinstance(reply, int) else f'"{{reply}}"'

with redis.Redis.from_url("{url}", decode_responses=True, protocol=2) as client:
    client.response_callbacks.clear()
    print(shown(client.execute_command(*sys.argv[1:])))
"""
"""Stands in for redis-cli, which no package brings along: any command, to the test's server."""


@dataclass(frozen=True)
class Block:
    """A fenced block; ``line`` is where its fence stands."""

    section: str
    language: str
    line: int
    body: str


@dataclass(frozen=True)
class Step:
    """A command, and the output that is shown under it, if any."""

    command: str
    shown: str


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks with the title of their section."""
    section = ""
    for found in re.finditer(
        r"^## ([^\n]+)$|^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
    ):
        if found[1]:
            section = found[1]
        else:
            yield Block(section, found[2], text.count("\n", 0, found.start()) + 1, found[3])


def steps(body: str) -> list[Step]:
    """Return the commands of a ``console`` block; a backslash goes on in the next line."""
    parts = re.split(r"^\$ ((?:.*\\\n)*.*)\n", body, flags=re.MULTILINE)
    return [Step(command, shown) for command, shown in zip(parts[1::2], parts[2::2], strict=True)]


class Reader:
    """Types the commands of one section into a shell of their own."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder / "recsys"
        self.home = folder / "home"
        self._redis_url = redis_url
        self._exit_code = 0
        shims = folder / "bin"
        shims.mkdir(parents=True)
        redis_cli = shims / "redis-cli"
        redis_cli.write_text(REDIS_CLI.format(python=sys.executable, url=redis_url))
        redis_cli.chmod(0o755)
        shutil.copytree(CHECKOUT, self.folder, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        self.environ = {
            "PATH": f"{shims}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "RECSYS_HOME": str(self.home),
            "PRODUCT_STREAM_CONSUMER": "worker-1",
            "COLUMNS": WIDTH,
            "NO_COLOR": "1",
            "LC_ALL": "C.UTF-8",
        }

    def type(self, command: str) -> str:
        """Run one command and return what it shows; ``exit_code`` tells how it ended."""
        if export := re.fullmatch(r"export (\w+)=(\S+)", command):
            self.environ[export[1]] = export[2].replace(SHOWN_REDIS, self._redis_url)
            return ""
        return self._run(["bash", "-c", f"(exit {self._exit_code}); {command}"])

    def python(self, code: str) -> str:
        """Run a program that was copied from the README."""
        return self._run([sys.executable, "-c", code.replace(SHOWN_REDIS, self._redis_url)])

    @property
    def exit_code(self) -> int:
        return self._exit_code

    def _run(self, command: list[str]) -> str:
        controller, terminal = pty.openpty()
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=terminal,
                stderr=errors,
            )
            os.close(terminal)
            out = _read_all(controller)
            self._exit_code = process.wait(timeout=100)
            errors.seek(0)
            return self._as_shown(errors.read() + out)

    def _as_shown(self, output: bytes) -> str:
        text = ESCAPE.sub("", output.decode()).replace("\r", "")
        text = text.replace(str(self.home), SHOWN_HOME).replace(self._redis_url, SHOWN_REDIS)
        return "".join(line.rstrip() + "\n" for line in text.splitlines())


def played(text: str, section: str, redis_url: str) -> dict[Block, list[str]]:
    """Follow one section from its first command to its last; return what each block printed."""
    with tempfile.TemporaryDirectory(prefix="recsys-readme-") as folder:
        reader = Reader(Path(folder), redis_url)
        printed: dict[Block, list[str]] = {}
        for block in blocks(text):
            if block.section != section:
                continue
            if block.language == "console":
                printed[block] = []
                for step in steps(block.body):
                    printed[block].append(reader.type(step.command))
                    if reader.exit_code:
                        raise RuntimeError(f"{step.command}: {printed[block][-1]}")
            elif block.language == "python":
                printed[block] = [reader.python(block.body)]
                if reader.exit_code:
                    raise RuntimeError(printed[block][0])
        return printed


def sections(text: str) -> list[str]:
    """Return the sections that have something to run."""
    runnable = (b.section for b in blocks(text) if b.language in ("console", "python"))
    return list(dict.fromkeys(runnable))


def same(shown: str, printed: str) -> bool:
    """Whether both say the same, but for times and rates, the width of boxes, and rounding."""
    one, other = _tokens(shown), _tokens(printed)
    return len(one) == len(other) and all(map(_same_token, one, other))


def renewed(text: str, output: dict[Block, list[str]]) -> str:
    """Return the README with these outputs in place of those that are no longer the same."""
    for block, printed in output.items():
        if block.language == "console":
            body = "".join(
                f"$ {step.command}\n{_newer(step.shown, now)}"
                for step, now in zip(steps(block.body), printed, strict=True)
            )
            text = text.replace(f"```console\n{block.body}```", f"```console\n{body}```")
    text = _between(text, "backends", support_table())
    text = _between(text, "settings", settings_table(text))
    return _between(text, "commands", command_reference())


def _newer(shown: str, printed: str) -> str:
    return printed if shown and not same(shown, printed) else shown


def _between(text: str, name: str, generated: str) -> str:
    """Put ``generated`` between the two comments with this name."""
    pattern = rf"(<!-- {name}: .*? -->\n).*?(<!-- /{name} -->)"
    renewed, count = re.subn(
        pattern, lambda found: f"{found[1]}\n{generated}\n{found[2]}", text, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"the README has {count} places for {name}")
    return renewed


def _tokens(text: str) -> list[str]:
    text = re.sub(r"[─╭╮╰╯├┤┬┴┼ \n]+", " ", text)
    text = re.sub(r"(seconds?) │ [\d.,]+", r"\1 │ #", text)
    text = re.sub(r"[\d.,]+(/s| s| ms)\b", r"#\1", text)
    text = re.sub(r"\b\d{13}-\d+|\b[0-9a-f]{12,}\b", "#", text)
    return text.split()


def _same_token(one: str, other: str) -> bool:
    try:
        return abs(float(one) - float(other)) < 0.002
    except ValueError:
        return one == other


def _read_all(controller: int) -> bytes:
    seen = b""
    try:
        while chunk := os.read(controller, 65536):
            seen += chunk
    except OSError:  # how Linux says that the other side has closed
        pass
    finally:
        os.close(controller)
    return seen


def main() -> None:
    """Write the outputs, the tables and the help into the README again."""
    text = README.read_text("utf-8")
    output: dict[Block, list[str]] = {}
    for section in sections(text):
        with servers.running_redis() as server:
            output |= played(text, section, server.url)
    README.write_text(renewed(text, output), "utf-8")


if __name__ == "__main__":
    main()
