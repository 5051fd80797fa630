"""What a command does not need, it does not load: scikit-learn alone costs most of a second."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import recsys_cli.cli
from recsys_cli.cli.commands import Commands, ListedCommand
from tests.nats_server import NatsServer
from tests.servers import RedisServer

PACKAGE = Path(recsys_cli.__file__).parent
LISTED = Commands().commands
SHARED = {"main", "commands", "options", "render", "signals", "streams"}
"""The modules of the command line that have no command."""

RUNS_ANY = SHARED - {"signals"}
PIPELINE_OF_SIMILAR = {"similar", "show", "models", "given"}

HEAVY = {
    "numpy",
    "pandas",
    "sklearn",
    "scipy",
    "redis",
    "nats",
    "sqlite3",
    "pyarrow",
    "selectolax",
    "rich",
}
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


def of_recsys(modules: set[str], package: str = "") -> set[str]:
    """Return the names of our own among the modules, of those in this package."""
    within = f"recsys_cli.{package}.".replace("..", ".")
    ours = {name.removeprefix(within) for name in modules if name.startswith(within)}
    return {name for name in ours if "." not in name and not (PACKAGE / package / name).is_dir()}


def module_of(command: str) -> str:
    listed = LISTED[command]
    assert isinstance(listed, ListedCommand)
    return listed.place.partition(":")[0]


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


def test_the_list_says_of_each_command_what_it_says_of_itself() -> None:
    for name, listed in LISTED.items():
        assert isinstance(listed, ListedCommand)
        command = listed.load()
        first, _, _ = (command.help or "").partition("\n\n")
        assert (name, listed.help) == (command.name, first.replace("\n", " "))
        assert (listed.hidden, listed.deprecated) == (command.hidden, command.deprecated)


def test_every_command_is_listed() -> None:
    modules = {module.name for module in pkgutil.iter_modules(recsys_cli.cli.__path__)}
    assert {module_of(name) for name in LISTED} == modules - SHARED


def test_the_list_of_commands_loads_none_of_them(loaded: Loaded) -> None:
    modules = loaded.by_command("--help")
    assert of_recsys(modules) == {"errors"}
    assert of_recsys(modules, "cli") == {"main", "commands", "options", "streams"}
    # Help is drawn by rich.
    assert not modules & (HEAVY - {"rich"} | {"msgspec"})


@pytest.mark.parametrize("command", ["import", "consume", "similar", "lag", "demo", "dlq"])
def test_help_loads_the_command_alone(loaded: Loaded, command: str) -> None:
    modules = loaded.by_command(command, "--help")
    assert of_recsys(modules) == {"errors"}
    assert of_recsys(modules, "cli") <= {*SHARED, module_of(command)}
    assert not modules & (HEAVY - {"rich"} | {"msgspec"})


def test_version_loads_no_backend(loaded: Loaded) -> None:
    assert not loaded.by_command("--version") & (HEAVY - {"rich"} | {"recsys_cli.wiring"})


def test_similar_on_the_embedded_file(loaded: Loaded, catalogue: str) -> None:
    loaded.by_command("import", catalogue)
    loaded.by_command("consume", "--drain")

    modules = loaded.by_command("similar", "lamp-1")

    assert "recsys_cli.vectors.embedded" in modules
    assert not modules & (HEAVY - {"numpy", "sqlite3"})
    assert of_recsys(modules, "pipeline") == PIPELINE_OF_SIMILAR
    assert of_recsys(modules, "cli") == {*RUNS_ANY, "similar"}
    assert not of_recsys(modules, "embedding")
    assert not modules & {"recsys_cli.vectors.redis_hnsw", "recsys_cli.connections.redis"}


def test_similar_on_redis(
    loaded: Loaded, catalogue: str, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    loaded.by_command("import", catalogue)
    loaded.by_command("consume", "--drain")

    modules = loaded.by_command("similar", "lamp-1")

    assert "recsys_cli.vectors.redis_hnsw" in modules
    # Neither numpy: the vector goes back to Redis as it came.
    assert not modules & (HEAVY - {"redis"})
    assert of_recsys(modules, "pipeline") == PIPELINE_OF_SIMILAR
    assert of_recsys(modules, "cli") == {*RUNS_ANY, "similar"}
    assert not of_recsys(modules, "embedding")
    assert not modules & {"recsys_cli.vectors.embedded", "recsys_cli.connections.sqlite"}


def test_lag_asks_the_stream_alone(
    loaded: Loaded,
    catalogue: str,
    redis_server: RedisServer,
    nats_server: NatsServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere: dict[str, dict[str, str]] = {
        "sqlite3": {},
        "redis": {"REDIS_URL": redis_server.url},
        "nats": nats_server.settings,
    }
    for driver, settings in elsewhere.items():
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        loaded.by_command("import", catalogue)
        modules = loaded.by_command("lag")
        assert driver in modules
        assert not modules & (HEAVY - {driver})
        assert of_recsys(modules, "cli") == {*RUNS_ANY, "status"}
        assert not of_recsys(modules, "pipeline") | of_recsys(modules, "vectors")


def test_nothing_looks_for_rubbish_at_the_end(tmp_path: Path) -> None:
    """It would take a fifth of the time of a short command."""
    seen = tmp_path / "frozen"
    look = f"open({str(seen)!r}, 'w').write(str(gc.get_freeze_count()))"
    code = f"import atexit, gc; atexit.register(lambda: {look})"
    Loaded(tmp_path).by(code + COMMAND.format(arguments=["--version"], codes=(0,)))
    assert int(seen.read_text()) > 10_000


def test_similar_of_an_unknown_product_is_as_light(loaded: Loaded) -> None:
    modules = loaded.by_command("similar", "nobody", codes=(4,))
    assert not modules & {"pandas", "sklearn", "scipy", "pyarrow", "selectolax", "redis"}


def test_import_of_a_csv_loads_no_embedding(loaded: Loaded, catalogue: str) -> None:
    modules = loaded.by_command("import", catalogue)
    assert not modules & {"sklearn", "scipy", "pyarrow", "redis"}
