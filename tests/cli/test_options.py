"""What holds for the options of all commands."""

from __future__ import annotations

import pytest

from tests.cli.reference import commands
from tests.commands import Recsys

NUMBERS = [
    (name, parameter.opts[0])
    for name, command in commands().items()
    for parameter in command.params
    if parameter.type.name.startswith("float")
]


@pytest.mark.parametrize(("command", "option"), NUMBERS)
def test_nan_is_no_number(command: str, option: str, recsys_embedded: Recsys) -> None:
    refused = recsys_embedded(*command.split(), option, "nan", exits=2)
    assert "nan is not a number" in refused.err


def test_help_says_what_chooses_a_backend(recsys_embedded: Recsys) -> None:
    said = recsys_embedded("--help").out
    for name in ("REDIS_*", "EVENT_PROCESSOR_TYPE", "CATALOG_TYPE", "VECTOR_STORE_TYPE"):
        assert name in said


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        (["pending", "--consumer", "\udcff"], {}),
        (["reembed", "--attribute", "\udcff"], {}),
        (["lag"], {"PRODUCT_STREAM_KEY": "\udcff"}),
    ],
)
def test_bytes_that_are_no_text_end_with_a_sentence(
    arguments: list[str],
    setting: dict[str, str],
    recsys_embedded: Recsys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    assert "bytes that are no UTF-8" in recsys_embedded(*arguments, exits=2).err


def test_there_are_numbers() -> None:
    assert ("similar", "--price-min") in NUMBERS
