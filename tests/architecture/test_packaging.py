"""The wheel alone is the product: it has all it needs, and none of the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", folder, CHECKOUT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel alone; the libraries it needs are those of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    run("-m", "pip", "install", "--no-index", "--no-deps", "--target", folder, wheel, cwd=folder)
    return folder


def test_the_wheel_holds_the_package_and_its_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert inside == set(shipped())


def test_the_demo_runs_from_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    demo = recsys(installed, "demo", "--home", tmp_path / "demo", cwd=tmp_path)

    assert "prod-123" in demo.stderr
    assert demo.stdout.count("\tstrong\t") + demo.stdout.count("\tweak\t") == 5
    assert (tmp_path / "demo" / "recsys.db").is_file()


def test_the_version_is_that_of_the_wheel(installed: Path, wheel: Path, tmp_path: Path) -> None:
    version = recsys(installed, "--version", cwd=tmp_path).stdout.strip()
    assert wheel.name.startswith(f"recsys_cli-{version}-")


def test_the_installed_package_is_not_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = run("-c", "import recsys_cli; print(recsys_cli.__file__)", cwd=tmp_path, path=installed)
    assert Path(where.stdout.strip()).is_relative_to(installed)


def shipped() -> Iterator[str]:
    """Yield every file that belongs into the wheel, by its name there."""
    for path in (CHECKOUT / "recsys_cli").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(CHECKOUT).as_posix()
    for path in (CHECKOUT / "sample_data").rglob("*"):
        if path.is_file():
            yield f"recsys_cli/{path.relative_to(CHECKOUT).as_posix()}"


def recsys(installed: Path, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run(installed / "bin" / "recsys", *arguments, cwd=cwd, path=installed)


def run(
    *arguments: str | Path, cwd: Path, path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python in ``cwd``, with ``path`` before everything that is installed."""
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if path is not None:
        environ["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done
