"""The shape of the package: the rules in pyproject.toml hold, and each of them can be broken."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PACKAGE = CHECKOUT / "recsys_cli"

RULES = {
    contract["id"]: contract["name"]
    for contract in tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["tool"][
        "importlinter"
    ]["contracts"]
}

WRONG_IMPORTS = {
    "one-way": ("pipeline/wrong.py", "import recsys_cli.wiring"),
    "adapters-apart": ("events/embedded.py", "import recsys_cli.events.redis_streams"),
    "one-driver-each": ("connections/sqlite.py", "import recsys_cli.connections.redis"),
    "nats-alone": ("catalogs/nats_kv.py", "import redis"),
    "no-driver-within": ("pipeline/wrong.py", "import sqlite3"),
    "only-wiring-chooses": ("cli/wrong.py", "import recsys_cli.vectors.embedded"),
    "drivers": ("cli/wrong.py", "import redis"),
    "nkeys": ("catalogs/nats_kv.py", "import nkeys"),
    "rich": ("cli/wrong.py", "import rich"),
    "typer": ("api.py", "import typer"),
    "scikit-learn": ("pipeline/wrong.py", "import sklearn"),
    "pandas": ("embedding/wrong.py", "import pandas"),
}
"""For each rule a file, and a line in it that breaks the rule."""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the linter says of a copy of the package in which every rule is broken."""
    copy = tmp_path_factory.mktemp("broken")
    shutil.copy(CHECKOUT / "pyproject.toml", copy)
    shutil.copytree(PACKAGE, copy / "recsys_cli", ignore=shutil.ignore_patterns("__pycache__"))
    for file, line in WRONG_IMPORTS.values():
        with (copy / "recsys_cli" / file).open("a", encoding="utf-8") as module:
            module.write(f"\n{line}\n")
    linted = lint_imports(copy)
    assert linted.returncode == 1, linted.stdout + linted.stderr
    return linted.stdout


def test_imports_keep_to_the_rules() -> None:
    linted = lint_imports(CHECKOUT)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    for name in RULES.values():
        assert f"{name} KEPT" in linted.stdout


@pytest.mark.parametrize("rule", RULES)
def test_a_wrong_import_is_caught(rule: str, broken: str) -> None:
    assert f"{RULES[rule]} BROKEN" in broken


def test_only_settings_reads_the_environment() -> None:
    readers = {file for file, tree in modules() if reads_environment(tree)}
    assert readers == {"settings.py"}


def test_only_wiring_chooses_a_backend() -> None:
    """Whoever knows the kinds of backend could choose one."""
    knowing = {file for file, tree in modules() if "EventsBackend" in names(tree)}
    assert knowing == {"settings.py", "wiring.py"}


@pytest.mark.parametrize(
    "line",
    [
        "import os; os.environ['REDIS_URL']",
        "import os; os.getenv('REDIS_URL')",
        "from os import environ",
        "from os import getenv as look",
        "import os as system; system.environb",
    ],
)
def test_reading_the_environment_is_recognised(line: str) -> None:
    assert reads_environment(ast.parse(line))


LONGEST = {"ports.py": 560}
"""All ports are in one file, because it is read as a whole."""


def test_no_module_is_too_long_to_read_at_once() -> None:
    lengths = {
        str(path.relative_to(PACKAGE)): len(path.read_text("utf-8").splitlines())
        for path in PACKAGE.rglob("*")
        if path.suffix in {".py", ".sql", ".lua"}
    }
    assert {f: n for f, n in lengths.items() if n > LONGEST.get(f, 350)} == {}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the linter in ``folder``, on the package that lies there."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def modules() -> list[tuple[str, ast.Module]]:
    return [
        (path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text("utf-8")))
        for path in sorted(PACKAGE.rglob("*.py"))
    ]


def reads_environment(tree: ast.AST) -> bool:
    return bool({"environ", "environb", "getenv", "getenvb"} & attributes_and_imports(tree))


def attributes_and_imports(tree: ast.AST) -> set[str]:
    """Return every ``x.name`` and ``from x import name`` of a module."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name):
                found.add(name)
            case ast.ImportFrom(names=aliases):
                found |= {alias.name for alias in aliases}
    return found


def names(tree: ast.AST) -> set[str]:
    plain = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return plain | attributes_and_imports(tree)
