"""How well captions fit: the bundled model's alignment and likelihood, for captions of any length and script."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fastcap.curation.scoring import PairScorer
from fastcap.runtime.captioner import Captioner


@pytest.fixture(scope="module")
def scorer() -> PairScorer:
    return PairScorer("fastcap-base")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    picture = Image.new("RGB", (224, 224), "skyblue")
    ImageDraw.Draw(picture).rectangle((0, 150, 224, 224), fill="green")
    return np.array(picture)


def test_alignments_are_the_cosines_of_the_captioner(scorer, pixels):
    captioner, texts = Captioner.open("fastcap-base"), ["a green field", "a cat on a sofa"]
    cosines = captioner.embed_texts(texts) @ captioner.embed_images([pixels])[0]
    assert scorer.alignments(pixels, texts) == pytest.approx(cosines.tolist(), abs=1e-4)


def test_a_caption_of_the_model_is_likelier_than_its_words_in_another_order(scorer, pixels):
    own = Captioner.open("fastcap-base").caption(pixels, decode="greedy").text
    shuffled = " ".join(sorted(own.rstrip(".").lower().split()))
    likely, unlikely = scorer.likelihoods(pixels, [own, shuffled])
    assert likely is not None and unlikely is not None and 0 > likely > unlikely


def test_each_caption_is_judged_by_itself(scorer, pixels):
    """But for the rounding of an int8 graph, which takes the scale of activations from all rows."""
    texts = ["a green field", "a man in a very long red coat walks with two dogs along the beach"]
    together = scorer.likelihoods(pixels, texts)
    assert together == pytest.approx([scorer.likelihoods(pixels, [text])[0] for text in texts], abs=0.2)


def test_captions_without_tokens_have_no_scores_and_long_ones_count_by_their_beginning(scorer, pixels):
    long = "a green field with " + "grass and " * 200
    for scores in (scorer.alignments(pixels, ["", long, "犬"]), scorer.likelihoods(pixels, ["", long, "犬"])):
        assert scores[0] is None and scores[1] is not None and scores[2] is not None
    assert scorer.alignments(pixels, ["", " "]) == scorer.likelihoods(pixels, ["", " "]) == [None, None]
