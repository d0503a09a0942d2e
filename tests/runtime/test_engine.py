"""A picture is encoded once, and then captioned, scored and embedded; a prompt is read before a caption."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from golden_models import KINDS, pictures

from fastcap import Captioner, ConfigError, Encoded
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.contract import Graph
from fastcap.runtime.stepper import OnnxStepper

TEXTS = ["A red ball.", "two dogs run"]


class Counted(Bundle):
    """A model directory that notes which graph ran, in `runs`."""

    runs: list[str]

    def open_graph(self, graph: Graph, threads: int = 1):
        session = super().open_graph(graph, threads)
        run = session.run

        def noted(*arguments):
            self.runs.append(graph.file)
            return run(*arguments)

        session.run = noted
        return session


def counted(folder: Path) -> tuple[Captioner, Callable[[], list[str]]]:
    """A captioner, and what gives the graphs that saw a picture since it was last called."""
    bundle = Counted.open(folder)
    object.__setattr__(bundle, "runs", [])

    def seen() -> list[str]:
        runs = [name for name in bundle.runs if name in ("model.onnx", "encode.onnx")]
        bundle.runs.clear()
        return runs

    return Captioner(bundle), seen


def test_what_a_parallel_model_has_seen_it_need_not_see_again(golden):
    captioner, seen = counted(golden / "parallel" / "model")
    encoded = captioner.encode(pictures()[0])
    assert isinstance(encoded, Encoded)
    assert seen() == ["model.onnx"]
    scores, caption = captioner.score(encoded, TEXTS), captioner.caption(encoded)
    vectors = captioner.embed_images([encoded, encoded])
    assert seen() == []
    assert (scores, caption.text) == (captioner.score(pictures()[0], TEXTS), captioner.caption(pictures()[0]).text)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    seen()
    for options in ({"decode": "beam"}, {"decode": "greedy"}, {"decode": "sample"}, {"length": 4}, {"length": "short"}):
        captioner.caption(encoded, **options)
    assert seen() == ["encode.onnx"]
    captioner.caption(encoded, neutral=True)
    assert seen() == []  # the same caption in other words
    for _ in range(2):
        captioner.caption(encoded, length="short", decode="parallel")
        captioner.caption(encoded, length="long", decode="parallel")
    assert seen() == ["model.onnx"] * 2  # one graph from pixels to captions: once for each thing that is asked of it


def test_an_autoregressive_model_sees_a_picture_once(golden):
    captioner, seen = counted(golden / "autoregressive" / "model")
    encoded = captioner.encode(pictures()[0])
    assert seen() == ["encode.onnx"]
    captioner.score(encoded, TEXTS)
    captioner.embed_images([encoded])
    captioner.caption([encoded, encoded])
    captioner.caption(encoded, length=4, decode="sample")
    assert seen() == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_sees_a_picture_once(golden, kind, monkeypatch):
    pytest.importorskip("torch", reason="needs PyTorch")
    from fastcap.eager import checkpoint_captioner
    from fastcap.model import CaptionModel

    calls, encode = [], CaptionModel.encode
    monkeypatch.setattr(CaptionModel, "encode", lambda *arguments: calls.append(1) or encode(*arguments))
    captioner = checkpoint_captioner(golden / kind / "checkpoint")
    encoded = captioner.encode(pictures()[0])
    for decode in captioner.bundle.decodes:
        assert captioner.caption(encoded, decode=decode).text == captioner.caption(encoded, decode=decode).text
    assert len(calls) == 1


def test_what_nobody_holds_is_not_encoded_ahead(golden):
    captioner, seen = counted(golden / "parallel" / "model")
    captioner.caption(pictures()[0], decode="beam")
    assert seen() == ["encode.onnx"]
    captioner.caption(pictures()[0], length="short")
    assert seen() == ["encode.onnx"]
    captioner.caption(pictures()[0], length="short", decode="parallel")
    assert seen() == ["model.onnx"]


def test_pictures_and_encoded_ones_may_stand_in_one_list(golden):
    captioner = Captioner.open(golden / "parallel" / "model")
    first, second, third = pictures()
    mixed = captioner.caption([first, captioner.encode(second), third])
    assert [caption.text for caption in mixed] == [caption.text for caption in captioner.caption(pictures())]


def test_a_picture_that_another_captioner_encoded_is_refused(golden):
    one, other = (Captioner.open(golden / kind / "model") for kind in KINDS)
    encoded = one.encode(pictures()[0])
    for ask in (
        other.caption,
        lambda picture: other.score(picture, TEXTS),
        lambda picture: other.embed_images([picture]),
    ):
        with pytest.raises(ConfigError) as caught:
            ask(encoded)
        assert str(caught.value) == (
            "got a picture that another captioner encoded; allowed: one that encode() of this captioner, of model "
            "'tiny-autoregressive', returned"
        )


def test_threads_that_share_a_picture_have_it_encoded_once():
    encoded, computed, got = Encoded(np.zeros((1, 8, 8, 3), np.uint8), engine=None), [], []

    def compute() -> int:
        time.sleep(0.02)
        computed.append(1)
        return len(computed)

    threads = [threading.Thread(target=lambda: got.append(encoded.once("state", compute))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (computed, got) == ([1], [1] * 4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_at_once_is_a_prompt_token_by_token(golden, kind):
    stepper = OnnxStepper.open(Bundle.open(golden / kind / "model"))
    state = stepper.encode(pictures()[0][None])
    prompt, rows, following = [1, 270, 280, 265], np.arange(3), np.array([266, 271, 290])
    at_once, _ = stepper.step(following, stepper.start(state, 3, prompt), rows)
    past = stepper.start(state, 3)
    for token in prompt:
        _, past = stepper.step(np.full(3, token), past, rows)
    one_by_one, _ = stepper.step(following, past, rows)
    np.testing.assert_allclose(at_once, one_by_one, atol=1e-5)
    without, _ = stepper.step(following, stepper.start(state, 3), rows)
    assert np.abs(at_once - without).max() > 0.01
