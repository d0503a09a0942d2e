"""What `benchmarks/wording.py` counts, and what it has to find of the bundled model."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

import fastcap
from fastcap.data.readers import load_dataset

MODULE = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "wording.py"))
lone_adjectives, content_words = MODULE["lone_adjectives"], MODULE["content_words"]


@pytest.mark.parametrize(
    "text",
    [
        "A young is riding a skateboard.",
        "A little in a red jacket is sitting on a bench.",
        "Two young are playing.",
        "A man on a wooden in the snow.",
        "An older standing on a street.",
        "A dog on a snowy.",
        "A very young is running.",
        "A bearded with a hat.",
        "A boy holds a striped.",
        "A very large and a small are on the grass.",
    ],
)
def test_an_adjective_without_its_noun_is_found(text):
    assert lone_adjectives(text)


@pytest.mark.parametrize(
    "text",
    [
        "A young person is riding a skateboard.",
        "A little child in a red jacket is sitting on a bench.",
        "A dog is wet and dirty.",
        "A man dressed in red.",
        "A small swimming pool.",
        "A large building on a narrow street.",
        "The young are many.",
        "A young smiling child.",
        "A big black and white dog is running.",
        "A person in a long coat standing tall.",
    ],
)
def test_others_are_not(text):
    assert lone_adjectives(text) == []


def test_content_words_are_those_that_are_not_about_people():
    ordinary, neutral = "A young man in his red hat rides a bike.", "A young person in their red hat rides a bike."
    assert content_words(ordinary) == content_words(neutral) != content_words(neutral.replace("bike", "horse"))


@pytest.mark.slow
def test_neutral_captions_keep_what_the_model_wanted_to_say(data_root):
    """In ten thousand outputs no gendered word and no adjective without its noun."""
    found = MODULE["neutral"](fastcap.load_model(), load_dataset("flickr8k", data_root / "flickr8k", "val"))
    assert found["outputs"] >= 10_000
    assert (found["with_gendered_words"], found["with_lone_adjectives"]) == (0, 0)
    assert found["content_words_unchanged"] >= 0.95
    assert found["tokens_and_confidence_unchanged"] == 1


@pytest.mark.slow
def test_captions_end_as_sentences_at_every_length(data_root):
    found = MODULE["lengths"](fastcap.load_model(), load_dataset("flickr8k", data_root / "flickr8k", "val")[::3], 20)
    assert not any(found["end_early"].values())
    assert found["short_is_shorter"] >= 0.8


def test_the_rules_introduce_no_lone_adjective_into_what_people_wrote(data_root):
    found = MODULE["references"](load_dataset("flickr8k", data_root / "flickr8k", "val"))
    assert found["lone_adjectives"] == 0
    assert found["left_alone"] < 0.002 * found["gendered"]
