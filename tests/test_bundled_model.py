"""The bundled model as users meet it. Its figures are measured by `fastcap evaluate`; here is what must never break."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastcap
from fastcap.data.readers import load_dataset
from fastcap.evaluation.diversity import diversity
from fastcap.evaluation.ptb import ptb_tokens
from fastcap.runtime.contract import DECODES
from fastcap.runtime.neutral import gendered_words
from fastcap.runtime.text import ends_early, is_garbled, lacks_noun, word_count


@pytest.fixture(scope="module")
def captioner() -> fastcap.Captioner:
    return fastcap.load_model()


def test_all_files_fit_in_twelve_megabytes(captioner: fastcap.Captioner) -> None:
    assert sum(path.stat().st_size for path in captioner.bundle.folder.iterdir()) <= 12_000_000


def test_any_picture_becomes_one_sentence(captioner: fastcap.Captioner) -> None:
    pictures = [np.random.default_rng(seed).integers(0, 256, (240, 320, 3), np.uint8) for seed in range(4)]
    for caption in captioner.caption(pictures):
        assert caption.text[0].isupper() and caption.text.endswith(".")
        assert word_count(caption.text) >= 3
        assert 0 < caption.confidence <= 1


def test_a_picture_is_captioned_alike_alone_and_among_others(captioner: fastcap.Captioner) -> None:
    pictures = [np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8) for seed in range(5)]
    alone = [captioner.caption(picture).text for picture in pictures]
    assert [caption.text for caption in captioner.caption(pictures)] == alone


def test_a_neutral_caption_is_the_ordinary_one_in_other_words(captioner: fastcap.Captioner, data_root: Path) -> None:
    examples = load_dataset("flickr8k", data_root / "flickr8k", "val")[::10]
    pictures = [captioner.encode(example.image) for example in examples]
    free, neutral = captioner.caption(pictures), captioner.caption(pictures, neutral=True)
    assert sum(bool(gendered_words(caption.text)) for caption in free) > 20
    assert not [caption.text for caption in neutral if gendered_words(caption.text)]
    assert [caption.tokens for caption in neutral] == [caption.tokens for caption in free]
    assert [caption.confidence for caption in neutral] == [caption.confidence for caption in free]


@pytest.mark.parametrize("length", [4, 8, 12, "short", "long"])
def test_neutral_words_change_nothing_of_which_sentence_is_chosen(captioner, data_root, length) -> None:
    examples = load_dataset("flickr8k", data_root / "flickr8k", "val")[::50]
    pictures = [captioner.encode(example.image) for example in examples]
    free, neutral = (captioner.caption(pictures, length=length, neutral=each) for each in (False, True))
    assert [caption.tokens for caption in neutral] == [caption.tokens for caption in free]


def test_all_candidates_are_sentences_and_the_first_is_the_caption(captioner, data_root) -> None:
    examples = load_dataset("flickr8k", data_root / "flickr8k", "val")[::50]
    count = 0
    for picture in (captioner.encode(example.image) for example in examples):
        for neutral in (False, True):
            several = captioner.caption(picture, candidates=5, neutral=neutral)
            alone = captioner.caption(picture, neutral=neutral)
            assert (several.text, several.confidence, several.tokens) == (alone.text, alone.confidence, alone.tokens)
            texts = [candidate.text for candidate in several.candidates]
            assert len(set(texts)) == len(texts)
            assert [text for text in texts[1:] if ends_early(text) or lacks_noun(text) or is_garbled(text)] == []
            count += len(texts)
    assert count > 4 * 2 * len(examples)  # and hardly any is left out


@pytest.mark.parametrize("decode", DECODES)
def test_captions_end_as_sentences_do_at_any_length(captioner: fastcap.Captioner, data_root: Path, decode: str) -> None:
    examples = load_dataset("flickr8k", data_root / "flickr8k", "val")[::100]
    limits = captioner.bundle.decoding
    for picture in (captioner.encode(example.image) for example in examples):
        for length in (*limits.lengths, *range(limits.min_length, 10), limits.max_length):
            text = captioner.caption(picture, length=length, decode=decode).text
            assert not ends_early(text), (length, text)


def test_a_number_of_words_is_met_or_nearly(captioner: fastcap.Captioner, data_root: Path) -> None:
    examples = load_dataset("flickr8k", data_root / "flickr8k", "val")[::40]
    for words in (3, 5, 8, 12):
        captions = captioner.caption([example.image for example in examples], length=words)
        distances = [abs(word_count(caption.text) - words) for caption in captions]
        assert max(distances) <= (2 if words <= 8 else 5)  # of some pictures there is no more to say
        assert distances.count(0) > 0.5 * len(distances), words


def test_short_captions_are_shorter_than_normal_ones(captioner: fastcap.Captioner, data_root: Path) -> None:
    examples = load_dataset("flickr8k", data_root / "flickr8k", "val")[::5]
    pictures = [captioner.encode(example.image) for example in examples]
    short, normal = (captioner.caption(pictures, length=length) for length in ("short", "normal"))
    shorter = [word_count(one.text) < word_count(other.text) for one, other in zip(short, normal, strict=True)]
    assert sum(shorter) >= 0.8 * len(pictures)


@pytest.mark.slow
def test_a_thousand_samples_hold_no_word_that_nobody_wrote(captioner: fastcap.Captioner, data_root: Path) -> None:
    written = (data_root / "flickr8k" / "captions.txt").read_text(encoding="utf-8").lower()
    for path in (data_root / "text").glob("*.txt.gz"):
        written += gzip.decompress(path.read_bytes()).decode().lower()
    known = set(re.findall(r"[^\W_]+", written))
    examples = load_dataset("flickr8k", data_root / "flickr8k", "val")[:1000]
    captions = captioner.caption([example.image for example in examples], decode="sample")
    said = [word for caption in captions for word in re.findall(r"[^\W_]+", caption.text.lower())]
    assert [word for word in said if word not in known] == []


def test_a_photo_of_a_dog_is_captioned_with_a_dog(captioner: fastcap.Captioner, data_root: Path) -> None:
    examples = load_dataset("flickr8k", data_root / "flickr8k", "val")
    dogs = [e for e in examples if all(" dog " in f" {caption.lower()} " for caption in e.captions)][:40]
    found = captioner.caption([example.image for example in dogs])
    assert sum("dog" in caption.text.lower() for caption in found) >= 30


def test_captions_of_real_photos_are_whole_and_differ(captioner: fastcap.Captioner, data_root: Path) -> None:
    examples = load_dataset("flickr8k", data_root / "flickr8k", "val")[::5]
    found = captioner.caption([example.image for example in examples])
    measured = diversity({str(i): ptb_tokens(caption.text) for i, caption in enumerate(found)})
    assert measured["empty_rate"] == 0
    assert measured["repetition_rate"] == 0
    assert measured["distinct_captions"] > 0.45 * len(examples)


def test_the_command_prints_one_line(tmp_path: Path) -> None:
    from PIL import Image

    Image.linear_gradient("L").save(tmp_path / "gradient.png")
    command = [sys.executable, "-m", "fastcap", "caption", str(tmp_path / "gradient.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 1 and done.stderr == ""
