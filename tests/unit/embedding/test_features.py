from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsys_cli.embedding.features import features
from recsys_cli.embedding.tokens import words

WORDS = st.lists(st.text(min_size=1).map(lambda text: (words(text) or ["x"])[0]), min_size=1)

PINNED = [
    15586346781346862417,
    5915903669160666620,
    10196062680998135497,
    12178060496451308864,
    14414470943862253825,
    14468861558006299985,
    10774833594410277094,
]


def of(word: str) -> set[int]:
    return set(features([word])[1].tolist())


def test_pieces_of_two_to_four_characters_and_the_word() -> None:
    sizes, hashes = features(["ab", "a"])
    # " a", "ab", "b ", " ab", "ab ", " ab ", and ab; then " a", "a ", " a ", and a.
    assert sizes.tolist() == [7, 4]
    assert len(set(hashes.tolist())) == 10


def test_related_words_share_features() -> None:
    assert len(of("headphone") & of("headphones")) > len(of("headphone")) / 2
    assert not of("kettle") & of("lamps")


def test_the_hashes_stay_what_they_are() -> None:
    """Stored vectors and models rest on them: whoever changes them raises the recipe."""
    assert features(["tê"])[1].tolist() == PINNED


@given(WORDS)
def test_a_word_has_the_same_features_in_any_company(batch: list[str]) -> None:
    sizes, hashes = features(batch)
    alone = [features([word]) for word in batch]
    assert sizes.tolist() == [int(one[0][0]) for one in alone]
    assert np.array_equal(hashes, np.concatenate([one[1] for one in alone]))
