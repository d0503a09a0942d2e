"""What `benchmarks/wording.py` counts, and what it has to find of the bundled model."""

from __future__ import annotations

import gzip
import itertools
import runpy
from collections import Counter
from pathlib import Path

import pytest

import fastcap
from fastcap.data.readers import load_dataset
from fastcap.evaluation.speed import sample_photo
from fastcap.runtime import english
from fastcap.runtime.text import ends_early, word_count

MODULE = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "wording.py"))
lone_adjectives, content_words = MODULE["lone_adjectives"], MODULE["content_words"]
runs_of_three, is_odd = MODULE["runs_of_three"], MODULE["is_odd"]
PICTURES = 30
LENGTHS = [*range(1, 11), 12, 15, 18, 20, "short", "long"]


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


@pytest.fixture(scope="module")
def written(data_root):
    """How often people wrote three words in a row, in captions of other pictures."""
    texts = [text for e in load_dataset("flickr8k", data_root / "flickr8k", "train") for text in e.captions]
    for name in ("flickr30k_train", "coco_val2014_human"):
        texts += gzip.decompress((data_root / "text" / f"{name}.txt.gz").read_bytes()).decode().splitlines()
    return Counter(run for text in texts for run in runs_of_three(text))


@pytest.fixture(scope="module")
def encoded(data_root):
    """Pictures of val, spread over the split, and their ordinary captions."""
    captioner = fastcap.load_model()
    examples = load_dataset("flickr8k", data_root / "flickr8k", "val")
    encoded = [captioner.encode(each.image) for each in examples[:: len(examples) // PICTURES][:PICTURES]]
    return captioner, encoded, [word_count(captioner.caption(each).text) for each in encoded]


def test_words_that_hardly_anybody_wrote_in_a_row_are_found():
    written = Counter({run: 2 for text in ("a man is sitting", "two dogs") for run in runs_of_three(text)})
    assert not any(is_odd(text, written) for text in ("A man is sitting.", "Two dogs.", "Dogs."))
    assert all(is_odd(text, written) for text in ("A man is.", "A man sitting.", "Two.", "Two dogs is sitting."))


@pytest.mark.parametrize("length", LENGTHS)
def test_a_caption_of_any_length_reads_as_people_write(length, encoded, written):
    """Nine in ten hold only words in a row that people wrote, four in five of those that are longer than the model's
    own; all end as sentences, and none is much longer than asked. Short ones are shorter wherever there is more to say
    than seven words: in four of five pictures of val (`python benchmarks/wording.py`)."""
    captioner, pictures, ordinary = encoded
    texts = [captioner.caption(picture, length=length).text for picture in pictures]
    assert not any(map(ends_early, texts))
    odd = [text for text in texts if is_odd(text, written)]
    assert len(odd) <= PICTURES / (5 if length in (15, 18, 20, "long") else 10), odd
    counts = list(map(word_count, texts))
    if length == "short":
        assert max(counts) <= 7
        assert all(count < usual for count, usual in zip(counts, ordinary, strict=True) if usual > 7)
    elif length == "long":
        assert sum(counts) > sum(ordinary)
    else:
        assert max(counts) <= length + 4
        farthest = {1: 1.5, 15: 3, 18: 6, 20: 8}.get(length, 1)  # "A man." has two words
        assert sum(abs(count - length) for count in counts) <= farthest * PICTURES


@pytest.mark.parametrize("length", [*range(1, 21), "short", "long"])
def test_a_caption_of_any_length_is_put_together_as_a_sentence(length):
    """Pictures of noise, of which the model knows nothing: no article stands before a preposition, an auxiliary,
    another determiner or the end, and no preposition before another one or an auxiliary."""
    captioner = fastcap.load_model()
    for seed in range(3):
        text = captioner.caption(sample_photo(320, 240, seed=seed), length=length).text
        assert text[0].isupper() and text.endswith(".") and not ends_early(text)
        words = [*text.rstrip(".").lower().split(), "is"]
        for word, after in itertools.pairwise(words):
            if word in ("a", "an", "the"):
                assert after not in english.DETERMINERS | english.PLAIN_PREPOSITIONS | english.AUXILIARIES, text
            if word in ("of", "at", "with", "from", "into"):
                assert after not in english.PLAIN_PREPOSITIONS | english.AUXILIARIES, text


@pytest.mark.slow
def test_captions_end_as_sentences_at_every_length(data_root, written):
    examples = load_dataset("flickr8k", data_root / "flickr8k", "val")[::3]
    found = MODULE["lengths"](fastcap.load_model(), examples, 20, written)
    assert not any(found["end_early"].values())
    assert found["short_is_shorter"] >= 0.8


def test_the_rules_introduce_no_lone_adjective_into_what_people_wrote(data_root):
    found = MODULE["references"](load_dataset("flickr8k", data_root / "flickr8k", "val"))
    assert found["lone_adjectives"] == 0
    assert found["left_alone"] < 0.002 * found["gendered"]
