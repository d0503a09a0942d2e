"""What version 0.1.0 wrote still loads, and says what it said then: a tiny model directory and checkpoint of each kind
(`tests/golden/0.1.0/make.py` made them)."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from golden_models import GOLDEN, KINDS, pictures

from fastcap import Captioner, Sampling
from fastcap.runtime.text import ends_early

ANSWERS = json.loads((GOLDEN / "golden.json").read_text(encoding="utf-8"))


def compare(captioner: Captioner, rows: list[dict], given: Callable[[np.ndarray], object]) -> None:
    """Caption as the rows say, and find what they say, but for captions that end early, which are no longer given.

    `given`: what the captioner is given in place of a picture.
    """
    asked = [given(picture) for picture in pictures()]
    for row in rows:
        options = dict(row["options"])
        if "sampling" in options:  # whose defaults were then to draw from all tokens
            options["sampling"] = Sampling(**{"top_k": 0, "top_p": 1.0} | options["sampling"])
        if "neutral" in options:
            continue  # 0.1.0 decoded otherwise for neutral wording; now it is that of the caption
        if "length" in options and captioner.bundle.kind == "parallel":
            options.setdefault("decode", "parallel")  # which was then the default for every length
        if "length" in options and options.get("decode") not in ("parallel", "sample"):
            continue  # 0.1.0 forced sentences to end; now the search goes on, and chooses
        several = options.get("candidates", 1) > 1 and options.get("decode") != "sample"
        if several and options == {"candidates": 4} and captioner.bundle.kind == "parallel":
            # 0.1.0 chose among as many lengths as it returned; now the first is the caption of candidates=1
            [row] = [other for other in rows if other["picture"] == row["picture"] and not other["options"]]
        expected = [candidate for candidate in row["candidates"] if not ends_early(candidate[0])]
        if several:  # of what came after the first, 0.1.0 returned broken sentences as well
            expected = expected[:1]
        wordings = captioner.caption(asked[row["picture"]], **options).candidates
        assert [wording.text for wording in wordings][: len(expected)] == [text for text, _, _ in expected], options
        for wording, (_, confidence, tokens) in zip(wordings, expected, strict=False):
            assert wording.confidence == pytest.approx(confidence, abs=1e-6)
            assert [token.text for token in wording.tokens] == [text for text, _ in tokens]
            assert [token.confidence for token in wording.tokens] == pytest.approx([p for _, p in tokens], abs=1e-6)


@pytest.mark.parametrize("encoded", [False, True], ids=["pictures", "encoded"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_directory_says_what_it_said(golden, kind, encoded):
    captioner = Captioner.open(golden / kind / "model")
    compare(captioner, ANSWERS[kind]["model"], captioner.encode if encoded else lambda picture: picture)
    asked = [captioner.encode(picture) if encoded else picture for picture in pictures()]
    scores = [captioner.score(picture, ANSWERS["texts"]) for picture in asked]
    np.testing.assert_allclose(scores, ANSWERS[kind]["scores"], atol=1e-6)
    np.testing.assert_allclose(captioner.embed_images(asked), ANSWERS[kind]["vectors"], atol=1e-6)


@pytest.mark.parametrize("encoded", [False, True], ids=["pictures", "encoded"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_says_what_it_said(golden, kind, encoded):
    pytest.importorskip("torch", reason="needs PyTorch")
    from fastcap.eager import checkpoint_captioner

    captioner = checkpoint_captioner(golden / kind / "checkpoint")
    compare(captioner, ANSWERS[kind]["checkpoint"], captioner.encode if encoded else lambda picture: picture)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_directory_becomes_its_checkpoint_again(golden, kind):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    pytest.importorskip("onnx", reason="needs the exporter")
    from fastcap.checkpoint import load_checkpoint
    from fastcap.export.weights import restore

    expected, _ = load_checkpoint(golden / kind / "checkpoint")
    for name, value in restore(golden / kind / "model").state_dict().items():
        if "pool" not in name:  # which no graph of an autoregressive model reads
            torch.testing.assert_close(value, expected.state_dict()[name], msg=name)
