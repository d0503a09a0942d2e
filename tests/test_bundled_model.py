"""The bundled model as users meet it. Its figures are measured by `fastcap evaluate`; here is what must never break."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastcap
from fastcap.data.readers import load_dataset
from fastcap.evaluation.diversity import diversity
from fastcap.evaluation.ptb import ptb_tokens
from fastcap.runtime.neutral import gendered_words, neutralise
from fastcap.runtime.text import word_count


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


def test_a_neutral_caption_is_a_sentence_of_its_own_without_a_gendered_word(captioner, data_root: Path) -> None:
    examples = load_dataset("flickr8k", data_root / "flickr8k", "val")[::10]
    pictures = [example.image for example in examples]
    free, neutral = captioner.caption(pictures), captioner.caption(pictures, neutral=True)
    gendered = [index for index, caption in enumerate(free) if gendered_words(caption.text)]
    assert len(gendered) > 20
    assert not [caption.text for caption in neutral if gendered_words(caption.text)]
    # decoded anew, not patched: replacing words in the free captions would give other texts
    assert sum(neutralise(free[index].text) != neutral[index].text for index in gendered) > len(gendered) / 4


def test_lengths_are_obeyed(captioner: fastcap.Captioner) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    short, long = (len(captioner.caption(picture, length=length).tokens) for length in ("short", "long"))
    assert short < long


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
