"""What comes from a feed, a stream or a store is data: no module has the means to run it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.architecture.test_imports import PACKAGE, modules

UNPICKLERS = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
RUNNERS = {"subprocess", "runpy", "code", "codeop", "ctypes", "yaml"}
EVALUATORS = {"eval", "exec", "compile", "__import__"}
METHODS = {"read_pickle", "system", "popen", "import_module", "load_extension", "execv", "execve"}


def dangers(tree: ast.AST) -> Iterator[str]:
    """Yield what in a module could run data as a program."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                found = {alias.name.partition(".")[0] for alias in aliases}
                yield from found & (UNPICKLERS | RUNNERS)
            case ast.ImportFrom(module=str(module), names=aliases):
                yield from {module.partition(".")[0]} & (UNPICKLERS | RUNNERS)
                yield from {alias.name for alias in aliases} & METHODS
            case ast.Name(id=name) if name in EVALUATORS:
                yield name
            case ast.Attribute(attr=name) if name in METHODS:
                yield name
            case ast.keyword(arg="allow_pickle", value=value):
                if not (isinstance(value, ast.Constant) and value.value is False):
                    yield "allow_pickle"


def test_no_module_can_run_data() -> None:
    found = {file: dangers_ for file, tree in modules() if (dangers_ := set(dangers(tree)))}
    # These load modules of the package when first asked for them, by names that stand there.
    assert found == {"__init__.py": {"import_module"}, "cli/commands.py": {"import_module"}}


def test_no_script_of_redis_makes_code_of_strings() -> None:
    scripts = {path.name: path.read_text("utf-8") for path in PACKAGE.rglob("*.lua")}
    assert scripts
    assert not [name for name, text in scripts.items() if re.search(r"\bload(string)?\s*\(", text)]


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import pickle as p",
        "from marshal import loads",
        "import joblib.numpy_pickle",
        "from os import system",
        "import os; os.popen(x)",
        "eval(x)",
        "run = exec",
        "__import__(x)",
        "import numpy as np; np.load(x, allow_pickle=True)",
        "np.load(x, allow_pickle=trusted)",
        "import pandas; pandas.read_pickle(x)",
        "import subprocess",
    ],
)
def test_each_danger_is_recognised(line: str) -> None:
    assert list(dangers(ast.parse(line)))


def test_what_is_harmless_is_not() -> None:
    harmless = (
        "import re; re.compile(x); np.load(x, allow_pickle=False); json.loads(x); model.load(x)"
    )
    assert not list(dangers(ast.parse(harmless)))
