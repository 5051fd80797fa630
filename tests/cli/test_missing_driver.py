"""A backend whose package is not installed: one sentence, and what to type."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
for name in {missing!r}:
    sys.modules[name] = None
from recsys_cli.cli.main import main
sys.argv = ["recsys", *{words!r}]
main()
"""


@pytest.mark.parametrize(
    ("setting", "backend", "package", "command"),
    [
        ("EVENT_PROCESSOR_TYPE", "nats", "nats", "lag"),
        ("EVENT_PROCESSOR_TYPE", "nats", "nats", "dlq list"),
        ("EVENT_PROCESSOR_TYPE", "supabase", "psycopg", "health"),
        ("CATALOG_TYPE", "nats", "nats", "health"),
        ("CATALOG_TYPE", "supabase", "psycopg", "product show lamp"),
        ("VECTOR_STORE_TYPE", "supabase", "psycopg", "similar lamp"),
        ("VECTOR_STORE_TYPE", "pinecone", "pinecone", "index info"),
    ],
)
def test_without_its_driver(
    setting: str, backend: str, package: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(setting, backend)
    done = run([package], command.split())
    assert done.returncode == 2
    said = f"error: {backend} is chosen, and the package {package} is not installed"
    assert said in done.stderr
    assert f"pip install 'recsys-cli[{backend}]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_credentials_of_nats_without_what_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENT_PROCESSOR_TYPE", "nats")
    monkeypatch.setenv("NATS_CREDENTIALS", "shop.creds")
    done = run(["nkeys"], ["lag"])
    assert done.returncode == 2
    assert "NATS_CREDENTIALS needs the package nkeys" in done.stderr
    assert "pip install 'recsys-cli[nats]'" in done.stderr
    assert "Traceback" not in done.stderr


def run(missing: list[str], words: list[str]) -> subprocess.CompletedProcess[str]:
    code = CODE.format(missing=missing, words=words)
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)
