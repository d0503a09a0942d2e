"""Pictures in, captions out, on a graph whose words are known."""

from __future__ import annotations

import dataclasses
import io
import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image
from tiny_bundle import ROWS, sign

import fastcap
from fastcap.errors import ConfigError, ImageError, ModelFileError
from fastcap.runtime.captioner import Caption, Captioner
from fastcap.runtime.text import ends_early, word_count

RED, BLUE, GREEN = (Image.new("RGB", (64, 48), colour) for colour in ("red", "blue", "lime"))


def test_two_lines_caption_a_photo(tiny_bundle, photos):
    caption = fastcap.load_model(tiny_bundle).caption(photos / "b_red.jpg")
    assert isinstance(caption, fastcap.Caption)
    assert str(caption) == caption.text == "A red barn stands."
    assert caption.confidence == pytest.approx(np.exp(-0.02 * 4))
    assert [token.text.strip() for token in caption.tokens] == ["a", "red", "barn", "stands"]
    assert all(0 <= token.confidence <= 1 for token in caption.tokens)
    assert caption.milliseconds > 0
    assert caption.candidates[0].text == caption.text


def test_a_caption_cannot_be_changed(captioner):
    with pytest.raises(dataclasses.FrozenInstanceError):
        captioner.caption(RED).text = "another"


def test_one_picture_gives_one_caption_and_a_list_gives_a_list(captioner, photos):
    assert isinstance(captioner.caption(RED), Caption)
    assert captioner.caption([]) == []
    path = photos / "b_red.jpg"
    sources = [RED, np.asarray(BLUE), str(path), path, path.read_bytes(), io.BytesIO(path.read_bytes())]
    texts = [caption.text for caption in captioner.caption(sources)]
    assert texts == ["A red barn stands.", "A blue boat floats."] + ["A red barn stands."] * 4


@pytest.mark.parametrize("count", [1, 7, 8, 9, 17])
def test_batches_change_nothing_and_keep_the_order(captioner, count):
    pictures = [(RED, GREEN, BLUE)[i % 3] for i in range(count)]
    together = captioner.caption(tuple(pictures))
    assert [c.text for c in together] == [captioner.caption(picture).text for picture in pictures]


def test_pixels_give_what_pictures_give(captioner):
    pixels = np.stack([np.asarray(picture.resize((224, 224))) for picture in (RED, BLUE)])
    captions = captioner.caption_pixels(pixels, length="short")
    assert [c.text for c in captions] == [c.text for c in captioner.caption([RED, BLUE], length="short")]
    for wrong in (pixels[0], pixels[:, :200], pixels.astype(np.float32)):
        with pytest.raises(ConfigError, match=r"expected uint8 \(B,224,224,3\)"):
            captioner.caption_pixels(wrong)


def test_named_lengths_keep_to_their_range_of_tokens(captioner):
    for name, (low, high) in captioner.bundle.decoding.lengths.items():
        for candidate in captioner.caption(RED, length=name, candidates=8).candidates:
            assert low <= len(candidate.tokens) <= high


@pytest.mark.parametrize("words", range(4, 25))
def test_a_number_of_words_is_obeyed(captioner, words):
    said = ROWS["red"].split()
    whole = [n for n in range(1, 25) if not ends_early(" ".join(said[:n]))]
    caption = captioner.caption(RED, length=words)
    obtained = word_count(caption.text)
    assert obtained in whole and (obtained == words or words not in whole)
    assert abs(obtained - words) == min(abs(n - words) for n in whole)
    assert caption.text == " ".join(said[:obtained]).capitalize() + "."


def test_what_is_cut_back_keeps_its_tokens_and_comes_after_what_is_whole(captioner):
    whole, cut = captioner.caption(RED, length=5, candidates=2).candidates
    assert (whole.text, cut.text) == ("A red barn stands.", "A red barn stands under some tall old trees.")
    assert "".join(token.text for token in whole.tokens).strip() == "a red barn stands"


@pytest.mark.parametrize(("words", "obtained"), [(4, 4), (5, 4), (6, 7), (7, 7), (24, 19)])
def test_words_of_several_tokens_count_once_and_else_the_nearest_number_is_given(captioner, words, obtained):
    caption = captioner.caption(GREEN, length=words, candidates=2)
    assert word_count(caption.text) == obtained
    distances = [abs(word_count(candidate.text) - words) for candidate in caption.candidates]
    assert distances == sorted(distances)


def test_candidates_are_different_and_best_first(captioner):
    candidates = captioner.caption(GREEN, candidates=5).candidates
    assert len({candidate.text for candidate in candidates}) == len(candidates) == 5
    assert [c.confidence for c in candidates] == sorted((c.confidence for c in candidates), reverse=True)
    assert len(captioner.caption(GREEN).candidates) == 1
    assert len(captioner.caption(GREEN, length="short", candidates=8).candidates) == 5  # lengths 4 to 8


def test_a_neutral_caption_names_nobodys_gender(captioner):
    said = captioner.caption(BLUE, length=24, candidates=1).text
    assert "five women wave" in said
    assert captioner.caption(BLUE, length=24, candidates=1, neutral=True).text == said.replace("women", "people")


def test_confidence_is_calibrated_as_the_model_directory_says(captioner, own_bundle):
    manifest = json.loads((own_bundle / "model.json").read_text())
    manifest["calibration"] = {"scale": 0.5, "offset": -1.0}
    (own_bundle / "model.json").write_text(json.dumps(manifest))
    p = captioner.caption(RED).confidence
    expected = 1 / (1 + np.exp(-0.5 * np.log(p / (1 - p)) + 1))
    assert fastcap.load_model(own_bundle).caption(RED).confidence == pytest.approx(expected)


@pytest.mark.parametrize("length", ["shrot", "", 3, 25, 0, -1, 7.0, True, None])
def test_a_length_out_of_range_names_the_range(captioner, length):
    with pytest.raises(ConfigError, match="allowed are short, normal, long or a number of words"):
        captioner.caption(RED, length=length)
    with pytest.raises(ConfigError):
        captioner.check_options(length=length)


def test_a_misspelt_length_names_the_nearest_and_a_wrong_number_its_range(captioner):
    with pytest.raises(ConfigError, match="did you mean 'short'"):
        captioner.caption(RED, length="shrot")
    with pytest.raises(ConfigError, match="from 4 to 24"):
        captioner.caption(RED, length=25)


@pytest.mark.parametrize("candidates", [0, -1, 9, 1.0, True, "2"])
def test_a_number_of_candidates_out_of_range_names_the_range(captioner, candidates):
    with pytest.raises(ConfigError, match="allowed are whole numbers from 1 to 8"):
        captioner.caption(RED, candidates=candidates)


def test_a_bad_picture_in_a_list_is_named(captioner):
    with pytest.raises(ImageError, match=r"nothing\.jpg: no such file"):
        captioner.caption([RED, "nothing.jpg"])


def with_rows(folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> Captioner:
    """The model with its table of words (3,24) changed, and signed anew."""
    model = onnx.load(str(folder / "model.onnx"))
    table = next(tensor for tensor in model.graph.initializer if tensor.name == "rows")
    table.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(table)), "rows"))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    sign(folder, json.loads((folder / "model.json").read_text(encoding="utf-8")))
    return Captioner.open(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows[:1], "failed while running"),  # blue has no row
        (lambda rows: rows - 10**6, "token ids outside 0 to"),
        (lambda rows: rows + 10**6, "token ids outside 0 to"),
    ],
)
def test_a_graph_that_misbehaves_is_named_and_nothing_is_printed(own_bundle, capfd, change, reason):
    captioner = with_rows(own_bundle, change)
    with pytest.raises(ModelFileError, match=rf"model\.onnx: {reason}"):
        captioner.caption(BLUE)
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_returns_another_number_of_candidates_is_named(own_bundle):
    model = onnx.load(str(own_bundle / "model.onnx"))
    for node in model.graph.node:
        if node.output[0] == "chosen":
            node.input[2] = "two"  # always two candidates
        if node.output[0] == "batch_k":
            node.input[1] = "two"
    (own_bundle / "model.onnx").write_bytes(model.SerializeToString())
    sign(own_bundle, json.loads((own_bundle / "model.json").read_text(encoding="utf-8")))
    with pytest.raises(ModelFileError, match=r"outputs have shapes .*; expected B=1 K=3"):
        Captioner.open(own_bundle).caption(BLUE)


def test_threads_share_one_captioner(captioner):
    texts: dict[int, str] = {}

    def work(i: int) -> None:
        texts[i] = captioner.caption((RED, BLUE)[i % 2]).text

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [texts[i] for i in range(8)] == ["A red barn stands.", "A blue boat floats."] * 4
