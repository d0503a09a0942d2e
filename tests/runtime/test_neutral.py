"""Neutral captions name nobody's gender, in sentences that are as right as before.

`neutral_wording.json` holds a table for each kind of words; `tests/web/test_words.py` reads it, too.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcap.data.readers import load_dataset
from fastcap.runtime.gendered import AGES, GENDERED, GENDERED_ADJECTIVES, PAIRS, PEOPLE, PLURALS, SPLIT, TITLES, plural
from fastcap.runtime.grammar import base_form, sounds_as_vowel
from fastcap.runtime.neutral import gendered_words, neutral_wording, neutralise, with_nouns

TABLES = json.loads((Path(__file__).parent / "neutral_wording.json").read_text(encoding="utf-8"))
REWRITTEN = [kind for kind in TABLES if kind not in ("left alone", "nouns that a model left out")]
ALIKE = ("words that only look gendered", "things and names that hold one")
GENDER = st.sampled_from(sorted(GENDERED))
OTHER = st.sampled_from(
    ["dog", "ball", "street", "near", "beside", "red", "tall", "seven", "grass", "umbrella", "3", "é"]
)
JOINTS = st.sampled_from(
    [" ", " ", " ", " ", ", ", ". ", "! ", "-", "'s ", "' ", " and ", " a ", " the ", " is ", "/", "\n"]
)
TEXTS = st.lists(st.tuples(GENDER | OTHER | st.text(max_size=5), JOINTS), max_size=9).map(
    lambda parts: "".join(word + joint for word, joint in parts)
)


@pytest.mark.parametrize("kind", REWRITTEN)
def test_each_kind_of_words_is_put_into_neutral_words_that_fit(kind):
    assert len(TABLES[kind]) >= 10
    for text, neutral in TABLES[kind]:
        assert neutral_wording(text) == (neutral, ())
        assert gendered_words(neutral) == []
        assert neutralise(text, always=True) == neutral


@pytest.mark.parametrize("kind", ALIKE)
def test_what_is_about_nobodys_gender_is_not_touched(kind):
    assert all(text == neutral and gendered_words(text) == [] for text, neutral in TABLES[kind])


def test_where_no_rule_is_certain_the_sentence_is_left_alone_and_said_to_be():
    assert len(TABLES["left alone"]) >= 10
    for text, neutral in TABLES["left alone"]:
        wording = neutral_wording(text)
        assert text == neutral == wording.text == neutralise(text)
        assert list(wording.left) == gendered_words(text) != []
        assert gendered_words(neutralise(text, always=True)) == []


def test_a_sentence_that_is_left_alone_keeps_no_other_from_being_neutral():
    wording = neutral_wording("A man sits. Yes, sir! Mr. Smith is his friend.\nShe runs.")
    assert wording == ("A person sits. Yes, sir! Mx. Smith is their friend.\nThey run.", ("sir",))


def test_a_noun_that_a_model_left_out_is_supplied():
    assert [with_nouns(text) for text, _ in TABLES["nouns that a model left out"]] == [
        supplied for _, supplied in TABLES["nouns that a model left out"]
    ]


def test_the_list_is_consistent():
    assert len(GENDERED) > 1500
    assert all(word == word.casefold() and not gendered_words(f"{word}x") for word in GENDERED)
    told = {*GENDERED.values(), *PLURALS.values(), *AGES.values(), *PAIRS.values()}
    assert [text for text in sorted(told) if gendered_words(text)] == []
    assert set(PLURALS) <= set(GENDERED)
    assert {word for word in GENDERED_ADJECTIVES | TITLES if word not in GENDERED} == set()
    assert {word for word in PEOPLE | set(map(plural, PEOPLE)) if gendered_words(word)} == {"waiter", "waiters"}
    assert [stem for stem in SPLIT if not any(word.startswith(stem) for word in GENDERED)] == []


@pytest.mark.parametrize("stem", ["police", "fisher", "council", "french", "states", "oars", "super-fisher"])
def test_a_man_and_a_woman_at_the_same_work_are_told_alike_one_or_many(stem):
    one, many = (neutralise(f"{stem}{word}") for word in ("man", "men"))
    assert (one, many) == tuple(neutralise(f"{stem}{word}") for word in ("woman", "women"))
    assert plural(one) == many


@pytest.mark.parametrize(
    ("word", "base"),
    [
        *(("goes", "go"), ("does", "do"), ("has", "have"), ("is", "are"), ("was", "were"), ("flies", "fly")),
        *(("catches", "catch"), ("passes", "pass"), ("pushes", "push"), ("boxes", "box"), ("buzzes", "buzz")),
        *(("lies", "lie"), ("ties", "tie"), ("uses", "use"), ("poses", "pose"), ("gazes", "gaze"), ("leaves", "leave")),
        *(("canoes", "canoe"), ("focuses", "focus"), ("aches", "ache"), ("plays", "play"), ("runs", "run")),
        *(("focus", None), ("pass", None), ("always", None), ("this", None), ("run", None), ("bus", None)),
    ],
)
def test_third_persons_have_their_plural(word, base):
    assert base_form(word) == base


@pytest.mark.parametrize(
    "word", ["apple", "orange", "hour", "honest", "heir", "umbrella", "igloo", "actor", "officer", "elder", "uncle"]
)
def test_an_stands_before_a_vowel_that_is_heard(word):
    assert sounds_as_vowel(word)


@pytest.mark.parametrize(
    "word",
    ["person", "child", "uniform", "unicycle", "university", "European", "one", "user", "ewe", "yak", "hero", "house"],
)
def test_a_stands_before_others(word):
    assert not sounds_as_vowel(word.lower()) or word == "ewe"


@given(TEXTS)
def test_nothing_gendered_is_left_but_what_is_said_to_be(text):
    wording = neutral_wording(text)
    assert sorted(gendered_words(wording.text)) == sorted(wording.left)
    assert gendered_words(neutralise(text, always=True)) == []


@given(TEXTS)
def test_what_is_neutral_stays_as_it_is(text):
    for always in (False, True):
        neutral = neutralise(text, always)
        assert neutralise(neutral, always) == neutral


@given(st.text())
def test_a_text_without_a_gendered_word_is_unchanged(text):
    if not gendered_words(text):
        assert neutral_wording(text) == (text, ())


@given(st.lists(GENDER | OTHER, max_size=9).map(" ".join))
def test_other_words_are_unchanged(text):
    def others(text: str) -> list[str]:
        return re.findall(r"\b(?:dog|ball|street|near|beside|red|tall|grass|umbrella|3|é)\b", text.lower())

    assert others(neutralise(text)) == others(text)


@given(TEXTS)
def test_only_sentences_with_a_gendered_word_change(text):
    kept = "The dog runs. "
    assert neutralise(kept + text).startswith(kept)


def test_what_people_wrote_becomes_neutral_and_hardly_any_of_it_is_left_alone(data_root):
    examples = load_dataset("flickr8k", data_root / "flickr8k", "val")
    texts = [text for example in examples for text in example.captions]
    gendered = [text for text in texts if gendered_words(text)]
    left = [text for text in gendered if neutral_wording(text).left]
    assert len(gendered) > 2000
    assert len(left) < 0.002 * len(gendered)
    assert not [text for text in gendered if gendered_words(neutralise(text, always=True))]


def test_the_examples_of_the_page_are_right():
    page = (Path(__file__).parents[2] / "docs" / "neutral.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    examples = re.findall(r"^(\w+\(.*\)) +# (.*)$", code, re.MULTILINE)
    assert len(examples) == 4
    for call, answer in examples:
        assert repr(eval(call)) == answer
