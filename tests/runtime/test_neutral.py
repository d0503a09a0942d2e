"""Neutral captions name nobody's gender, whatever the decoder spells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcap.runtime.neutral import GENDERED, gendered_words, neutral_penalties, neutralise


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


def test_tokens_with_a_gendered_word_are_ruled_out_and_no_others():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {"Ġman": 0, "Ġmanhole": 1, "Ġa": 2, "king": 3, "Ġwomen": 4}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    penalties = neutral_penalties(tokenizer)
    assert penalties.dtype == np.float32
    assert (penalties < -1e8).tolist() == [True, False, False, False, True]
    assert (penalties[[1, 2, 3]] == 0).all()
