"""JSON feeds: an array, or a product a line, whole or damaged."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest

from recsys_cli.feeds.json_feed import json_elements
from recsys_cli.feeds.records import JsonValue
from tests.unit.feeds.conftest import Reader


def test_a_mapped_key_that_no_json_row_has_is_told(read: Reader) -> None:
    text = '{"id": 1, "name": "Lamp"}\n{"id": 2, "label": "Desk"}\n'
    assert read(text, mapping={"name": "label"}).notices == []
    (notice,) = read(text, mapping={"name": "titel"}).notices
    assert "--map name=titel: no row has this column" in notice


def test_categories_of_json(read: Reader) -> None:
    path = [{"id": 1, "name": "Audio"}, {"id": 2, "name": "Headphones"}]
    result = read(json.dumps([{"id": "x", "name": "H", "category": path}]))
    assert result.rows[0].fields["category"] == "Audio > Headphones"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"id": "x", "name": ', "invalid JSON"),
        ("[" * 100_000, "invalid JSON"),
        ('"text"', "not an object"),
        ('{"id": "x", "name": "a", "price": NaN}', "invalid JSON"),
        ('{"id": "x", "name": "' + "y" * 1_100_000 + '"}', "longer than"),
    ],
    ids=["cut", "deep", "string", "nan", "long"],
)
def test_a_bad_json_line_costs_no_other(read: Reader, line: str, reason: str) -> None:
    good = '{"id": "%s", "name": "Lamp"}'
    result = read(f"{good % 'a'}\n{line}\n{good % 'b'}\n")
    assert result.ids == ["a", "b"]
    ((number, said),) = result.reasons
    assert number == 2
    assert reason in said


def test_a_bad_element_costs_no_other(read: Reader) -> None:
    deep = "[" * 50_000 + "]" * 50_000
    result = read(
        '[{"id": 1, "name": "a"},\n{"id": 2, "name": oops},\n"text",\n'
        f'{{"id": 3, "name": "c", "x": {deep}}},\n{{"id": 4, "name": "br}}ace"}}\n]'
    )
    assert result.ids == ["1", "4"]
    assert [line for line, _ in result.reasons] == [2, 4, 4] or [
        line for line, _ in result.reasons
    ] == [2, 3, 4]


def test_a_broken_off_array_keeps_what_came_before(read: Reader) -> None:
    result = read('[{"id": 1, "name": "a"},\n{"id": 2, "na')
    assert result.ids == ["1"]
    assert result.reasons == [(2, "the JSON ends in the middle of this element")]


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 7])
def test_json_may_be_cut_anywhere(cut: int) -> None:
    elements = [{"id": 1, "x": 'q"\\'}, {"id": 2, "x": "]}\n[{"}, {"id": 3, "x": [{"y": []}]}]
    text = json.dumps(elements)
    pieces = [text[start : start + cut] for start in range(0, len(text), cut)]
    found = [v.value for v in json_elements(pieces) if isinstance(v, JsonValue)]
    assert found == elements


@pytest.mark.parametrize("length", [60_000, 300_000, 900_000])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_the_first_line_may_be_a_long_product(
    read: Reader, length: int, pack: Callable[[bytes], bytes]
) -> None:
    first = json.dumps({"id": "long", "name": "Lamp", "description": "x" * length})
    assert read(pack(f'{first}\n{{"id": "b", "name": "Desk"}}\n'.encode())).ids == ["long", "b"]


def test_a_first_line_longer_than_any_product_costs_no_other(read: Reader) -> None:
    first = json.dumps({"id": "long", "description": "x" * 1_500_000})
    result = read(f'{first}\n{{"id": "b", "name": "Desk"}}\n')
    assert result.ids == ["b"]
    assert len(result.rejected) == 1


@pytest.mark.parametrize(
    "text", ['{"id": "a", "na\n{"id": "b", "name": "Desk"}\n', '{\n"a": 1\n}\n']
)
def test_where_no_array_is_found_it_says_so(read: Reader, text: str) -> None:
    ((_, reason),) = read(text).reasons
    assert "the JSON ends" in reason or "no array of products; --format jsonl" in reason
