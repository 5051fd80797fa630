"""What the README says of settings and commands, drawn from the program itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import typer.main
from typer.core import TyperCommand, TyperGroup

from recsys_cli.cli.commands import ListedCommand
from recsys_cli.cli.main import app
from recsys_cli.settings import Settings

WIDTH = 100


def commands() -> dict[str, TyperCommand]:
    """Return every command that does something, by what one types: ``index create``."""
    root = typer.main.get_command(app)
    return dict(_leaves(root, ""))


def help_text(command: str) -> str:
    """Return what ``recsys COMMAND --help`` prints on a terminal 100 columns wide."""
    done = subprocess.run(
        [sys.executable, "-m", "recsys_cli", *command.split(), "--help"],
        env={
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
            "COLUMNS": str(WIDTH),
            "TERMINAL_WIDTH": str(WIDTH),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    return "\n".join(lines).strip("\n")


def command_reference() -> str:
    """Return every command's help, folded away under its name and first sentence."""
    described = commands()
    with ThreadPoolExecutor(2) as pool:
        texts = pool.map(help_text, described)
    parts = []
    for (name, command), text in zip(described.items(), texts, strict=True):
        summary = (command.help or "").partition("\n")[0]
        parts.append(
            f"<details><summary><code>recsys {name}</code>: {summary}</summary>\n\n"
            f"```text\n{text}\n```\n\n</details>\n"
        )
    return "\n".join(parts)


def settings_table(readme: str) -> str:
    """Return the table of settings; what they mean is taken over from ``readme``."""
    meanings = dict(re.findall(r"^\| `([A-Z_]+)` \|[^|]*\| (.*?) \|$", readme, re.MULTILINE))
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for name, default in defaults().items():
        rows.append(f"| `{name}` | {default} | {meanings.get(name, '')} |")
    return "\n".join(rows) + "\n"


def defaults() -> dict[str, str]:
    """Return the default of every setting, as the table shows it."""
    settings = Settings()
    values = {
        name.upper(): getattr(settings, name)
        for name in Settings.__struct_fields__
        if name != "origins"
    }
    return {name: "" if v in (None, "") else f"`{v}`" for name, v in values.items()}


def _leaves(command: object, path: str) -> Iterator[tuple[str, TyperCommand]]:
    if isinstance(command, ListedCommand):
        yield from _leaves(command.load(), path)
    elif isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from _leaves(inner, f"{path} {name}".strip())
    elif isinstance(command, TyperCommand):
        yield path, command
