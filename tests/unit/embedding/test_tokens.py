from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_cli.embedding import tokens
from recsys_cli.embedding.tokens import MAX_WORD, without_marks, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sony WH-1000XM4", ["sony", "wh", "1000xm4", "wh1000xm4"]),
        ("MB769G/A", ["mb769g", "a", "mb769ga"]),
        ("snake_case kettle", ["snake", "case", "kettle"]),
        (
            "noise-cancelling and/or 2.4 1/3",
            ["noise", "cancelling", "and", "or", "2", "4", "1", "3"],
        ),
        ("red red RED", ["red"]),
        ("Straße ＡＢＣ", ["strasse", "abc"]),
        ("điện thoại", ["điện", "thoại"]),
        ("กล้องถ่ายรูป", ["กล้องถ่ายรูป"]),
        ("हिन्दी किताब", ["हिन्दी", "किताब"]),
        ("緑茶 50g", ["緑茶", "50g"]),
        ("🎧 on", ["🎧", "on"]),
        ("!?  --- …", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(st.text(st.sampled_from("aB9é²½ßÀ™’–ªł緑 _-./\t\x1f"), max_size=120))
def test_the_quick_way_finds_what_the_general_one_does(text: str) -> None:
    assert words(text) == tokens._words(tokens._folded(text))


def test_a_path_is_no_model_number() -> None:
    assert "menstops2024hoodiessweatshirts" not in words("men/tops/2024/hoodies/sweatshirts")


@given(st.text())
def test_words_are_short_distinct_and_do_not_depend_on_case_or_composition(text: str) -> None:
    found = words(text)
    assert len(found) == len(set(found))
    assert all(0 < len(word) <= MAX_WORD for word in found)
    assert words(unicodedata.normalize("NFD", text)) == words(unicodedata.normalize("NFC", text))


@pytest.mark.parametrize(
    ("word", "bare"),
    [
        ("điện", "dien"),
        ("größe", "große"),
        ("crème", "creme"),
        ("kettle", "kettle"),
        ("が", "が"),
        ("กล้อง", "กล้อง"),
        ("йод", "йод"),
    ],
)
def test_marks_leave_latin_letters_only(word: str, bare: str) -> None:
    assert without_marks(word) == bare
