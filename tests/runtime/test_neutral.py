"""Neutral captions name nobody's gender, whatever the decoder spells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcap.runtime.neutral import GENDERED, gendered_words, neutralise


@pytest.mark.parametrize(
    ("text", "neutral"),
    [
        ("A man rides a horse.", "A person rides a horse."),
        ("Women and a boy's dog.", "People and a child's dog."),
        ("He is with his ball", "They are with their ball"),
        ("a dog looks at her.", "a dog looks at them."),
        ("a dog beside her bowl", "a dog beside their bowl"),
        ("A policeman and an uncle", "An officer and a relative"),
        ("a female athlete and a male dog", "an athlete and a dog"),
        ("Male hikers", "Hikers"),
        ("two females and a male", "two people and a person"),
        ("male and female dogs", "person and dogs"),
        ("A manhole in Germany, a human, a hero.", "A manhole in Germany, a human, a hero."),
        ("WOMAN", "PERSON"),
        ("", ""),
    ],
)
def test_gendered_words_are_replaced_whole_and_in_their_case(text, neutral):
    assert neutralise(text) == neutral


def test_no_replacement_is_gendered_itself():
    assert not [word for word in GENDERED.values() if word in GENDERED]
    assert all(word == word.casefold() for word in GENDERED)


@given(st.lists(st.one_of(st.sampled_from(sorted(GENDERED)), st.text(max_size=8)), max_size=8).map(" ".join))
def test_nothing_gendered_is_left(text):
    assert gendered_words(neutralise(text)) == []
