"""What a command does not need, it does not load: scikit-learn alone costs most of a second."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import RedisServer

HEAVY = {"numpy", "pandas", "sklearn", "scipy", "redis", "sqlite3", "pyarrow", "selectolax", "rich"}
PROBE = """
import sys
{code}
print(*sys.modules, file=open({loaded!r}, "w"))
"""
COMMAND = """
from recsys_cli.cli.main import main
sys.argv = ["recsys", *{arguments!r}]
try:
    main()
except SystemExit as end:
    assert end.code in {codes!r}, end.code
"""


class Loaded:
    """Runs code in a fresh interpreter; tells which modules it has loaded."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "modules"

    def by(self, code: str) -> set[str]:
        probe = PROBE.format(code=code, loaded=str(self._file))
        done = subprocess.run(
            [sys.executable, "-c", probe], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return set(self._file.read_text().split())

    def by_command(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> set[str]:
        return self.by(COMMAND.format(arguments=arguments, codes=codes))


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    return Loaded(tmp_path)


@pytest.fixture
def catalogue(tmp_path: Path) -> str:
    feed = tmp_path / "feed.csv"
    feed.write_text("id,name,price\nlamp-1,Desk lamp,9\nlamp-2,Desk lamp dimmable,12\n")
    return str(feed)


def test_the_package_alone_loads_nothing(loaded: Loaded) -> None:
    modules = loaded.by("import recsys_cli")
    assert not modules & (HEAVY | {"typer", "msgspec"})
    assert {name for name in modules if name.startswith("recsys_cli")} == {"recsys_cli"}


@pytest.mark.parametrize("command", ["", "import", "consume", "similar", "lag", "demo"])
def test_help_loads_no_backend(loaded: Loaded, command: str) -> None:
    modules = loaded.by_command(*command.split(), "--help")
    # Help is drawn by rich.
    assert not modules & (HEAVY - {"rich"})
    assert "recsys_cli.wiring" not in modules


def test_version_loads_no_backend(loaded: Loaded) -> None:
    assert not loaded.by_command("--version") & (HEAVY - {"rich"} | {"recsys_cli.wiring"})


def test_similar_on_the_embedded_file(loaded: Loaded, catalogue: str) -> None:
    loaded.by_command("import", catalogue)
    loaded.by_command("consume", "--drain")

    modules = loaded.by_command("similar", "lamp-1")

    assert "recsys_cli.vectors.embedded" in modules
    assert not {name for name in modules if name.startswith("recsys_cli.embedding")}
    assert not modules & {"pandas", "sklearn", "scipy", "pyarrow", "selectolax", "redis"}
    assert not modules & {"recsys_cli.vectors.redis_hnsw", "recsys_cli.connections.redis"}


def test_similar_on_redis(
    loaded: Loaded, catalogue: str, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    loaded.by_command("import", catalogue)
    loaded.by_command("consume", "--drain")

    modules = loaded.by_command("similar", "lamp-1")

    assert "recsys_cli.vectors.redis_hnsw" in modules
    assert not modules & {"pandas", "sklearn", "scipy", "pyarrow", "selectolax", "sqlite3"}
    assert not modules & {"recsys_cli.vectors.embedded", "recsys_cli.connections.sqlite"}


def test_similar_of_an_unknown_product_is_as_light(loaded: Loaded) -> None:
    modules = loaded.by_command("similar", "nobody", codes=(4,))
    assert not modules & {"pandas", "sklearn", "scipy", "pyarrow", "selectolax", "redis"}


def test_import_of_a_csv_loads_no_embedding(loaded: Loaded, catalogue: str) -> None:
    modules = loaded.by_command("import", catalogue)
    assert not modules & {"sklearn", "scipy", "pyarrow", "redis"}
