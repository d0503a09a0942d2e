"""A model directory with a memory ranks candidates by what people said of similar pictures."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from golden_models import KINDS, pictures

from fastcap import Captioner, ModelFileError, Sampling
from fastcap.cli import main
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.contract import MEMORY, RANKED_AS, WORDS, Ranking, Weights
from fastcap.runtime.encoding import clean_caption, encode
from fastcap.runtime.engine import Decoded, Encoded
from fastcap.runtime.memory import Memory
from fastcap.runtime.options import Options, Plan
from fastcap.runtime.ranking import Ranker, features
from fastcap.runtime.words import PictureWords

BY_PROBABILITY = Weights(log_p=1.0, token_log_p=0.0, similarity=0.0, consensus=0.0, words=0.0)
BY_SIMILARITY = BY_PROBABILITY._replace(log_p=0.0, similarity=1.0)


def remembering(
    directory: Path, out: Path, memory: Memory, weights: Weights, ways=RANKED_AS, neighbours: int = 2, **changes
) -> Path:
    """A copy of a model directory with a memory."""
    rewrite_bundle = pytest.importorskip("fastcap.export.writer", reason="needs onnx").rewrite_bundle
    rewrite_bundle(
        Bundle.open(directory), out, memory, ranking=Ranking(neighbours, 0.0, dict.fromkeys(ways, weights)), **changes
    )
    return out


@pytest.fixture(params=KINDS)
def directory(request: pytest.FixtureRequest, golden: Path) -> Path:
    return golden / request.param / "model"


def memory_of(captioner: Captioner, choose: int) -> Memory:
    """The test pictures, of each of which somebody said what the model's candidate number `choose` says."""
    memory, way = Memory(), captioner.bundle.decodes[0]
    said = [captioner.caption(picture, candidates=2, decode=way).candidates[choose].text for picture in pictures()]
    memory.add(captioner.embed_images(pictures()), [[text] for text in said])
    return memory


def texts(caption) -> list[str]:
    return [candidate.text for candidate in caption.candidates]


SAID = ["A red ball near the lake.", "A dog runs on grass.", "Two men sit.", "A dog runs."]


DOGS = np.array([0.0, 1.0, 0.0])


class Saying:
    """An engine that decodes `SAID` of every picture, each likelier than the next, and sees its mean colour."""

    def __init__(self, bundle: Bundle) -> None:
        self.tokenizer = bundle.tokenizer()

    def encode(self, pixels: np.ndarray) -> Encoded:
        return Encoded(pixels, self)

    def decode(self, encoded: Encoded, plan: Plan) -> list[Decoded]:
        captions = [encode(self.tokenizer, clean_caption(text)) for text in SAID]
        return [Decoded(ids, 0.9 - 0.1 * place, [0.5] * len(ids)) for place, ids in enumerate(captions)]

    def vector(self, encoded: Encoded) -> np.ndarray:
        colour = encoded.pixels.mean(axis=(1, 2), dtype=np.float32) + 1e-3
        return colour / np.linalg.norm(colour)


def of_colour(*colour: int) -> np.ndarray:
    return np.full((64, 64, 3), colour, np.uint8)


def saying(directory: Path, out: Path, weights: Weights) -> Captioner:
    """A captioner with a memory in which dogs are green and men are blue."""
    memory = Memory()
    memory.add(np.eye(3), [["a ball on red grass"], ["the dog runs on the grass"], ["two men sit on a bench"]])
    bundle = Bundle.open(remembering(directory, out, memory, weights, neighbours=1))
    return Captioner(bundle, engine=Saying(bundle))


def test_the_candidate_that_is_most_like_what_people_said_of_similar_pictures_is_chosen(directory, tmp_path):
    captioner = saying(directory, tmp_path / "model", BY_SIMILARITY)
    for colour, best in (((9, 200, 9), SAID[1]), ((9, 9, 200), SAID[2]), ((200, 9, 9), SAID[0])):
        caption = captioner.caption(of_colour(*colour), candidates=4)
        assert caption.text == best
        assert sorted(texts(caption)) == sorted(SAID)
        unranked = captioner.caption(of_colour(*colour), candidates=4, no_memory=True)
        assert texts(unranked) == SAID
        assert sorted(caption.candidates, key=str) == sorted(unranked.candidates, key=str)  # confidences stay


def test_the_candidate_whose_words_people_would_use_of_the_picture_is_chosen_without_a_memory(directory, tmp_path):
    rewrite_bundle = pytest.importorskip("fastcap.export.writer", reason="needs onnx").rewrite_bundle
    weights = dict.fromkeys(RANKED_AS, Weights(0.0, 0.0, 0.0, 0.0, 0.0, expected=1.0))
    words = PictureWords(["red", "dog", "men"], 20 * np.eye(3), [-10.0] * 3, [1.0] * 3)
    out = tmp_path / "model"
    rewrite_bundle(Bundle.open(directory), out, words=words, ranking=Ranking(1, 0.0, weights))
    bundle = Bundle.open(out)
    assert WORDS in bundle.files and MEMORY not in bundle.files
    captioner = Captioner(bundle, engine=Saying(bundle))
    for colour, best in (((9, 200, 9), SAID[1]), ((9, 9, 200), SAID[2]), ((200, 9, 9), SAID[0])):
        assert captioner.caption(of_colour(*colour), candidates=4).text == best
        assert texts(captioner.caption(of_colour(*colour), candidates=4, no_memory=True)) == SAID
    ranker, engine = Ranker.open(bundle, bundle.tokenizer()), Saying(bundle)
    candidates = engine.decode(engine.encode(of_colour(9, 200, 9)), Options().plan(bundle))
    np.testing.assert_allclose(ranker.scores(candidates, DOGS, "parallel"), [0, 1, 0, 1], atol=1e-3)
    with pytest.raises(ModelFileError, match=r"words\.npz: its pictures have vectors of 3 numbers"):
        ranker.scores(candidates, np.ones(4), "parallel")
    rewrite_bundle(bundle, out, words=words, ranking=bundle.ranking, overwrite=True)  # a copy of one that has words
    assert Bundle.open(out).files == bundle.files


def test_a_candidate_that_names_a_thing_twice_is_chosen_only_where_all_do(directory, tmp_path, monkeypatch):
    captioner = saying(directory, tmp_path / "model", BY_PROBABILITY)
    picture = of_colour(9, 9, 200)
    for said, best in (
        (["A dog runs on a dog.", "A red ball near a ball.", "A dog runs."], "A dog runs."),
        (["A dog runs on a dog.", "A red ball near a ball."], "A dog runs on a dog."),
    ):
        monkeypatch.setattr("test_ranking.SAID", said)
        assert captioner.caption(picture).text == best
        assert texts(captioner.caption(picture, candidates=len(said))) == [best]  # the others are not shown
        assert captioner.caption(picture, no_memory=True).text == said[0]


def test_every_feature_can_decide_and_equal_candidates_keep_their_order(directory, tmp_path):
    picture = of_colour(9, 9, 200)
    for name, weight, order in (
        ("log_p", 1.0, SAID),
        ("log_p", -1.0, SAID[::-1]),
        ("words", -1.0, [SAID[2], SAID[3], SAID[1], SAID[0]]),
        ("token_log_p", 1.0, SAID),
    ):
        weights = Weights(**{**dict.fromkeys(Weights._fields, 0.0), name: weight})
        captioner = saying(directory, tmp_path / f"{name} {weight}", weights)
        assert texts(captioner.caption(picture, candidates=4)) == order
    captioner = saying(directory, tmp_path / "consensus", BY_PROBABILITY._replace(log_p=0.0, consensus=1.0))
    assert {*texts(captioner.caption(picture, candidates=4))[:2]} == {SAID[1], SAID[3]}  # both are of a dog that runs


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"length": "short"},
        {"length": 5},
        {"neutral": True, "candidates": 2},
        {"decode": "beam", "beams": 5},
        {"decode": "greedy"},
        {"decode": "sample", "candidates": 3, "sampling": Sampling(seed=2)},
    ],
)
def test_without_a_memory_or_its_weights_or_without_being_asked_captions_are_those_of_before(
    directory, tmp_path, options
):
    plain = Captioner.open(directory)
    memory = memory_of(plain, 1)
    unweighed = Captioner.open(remembering(directory, tmp_path / "unweighed", memory, BY_SIMILARITY, ways=()))
    unasked = Captioner.open(remembering(directory, tmp_path / "unasked", memory, BY_SIMILARITY))
    assert Bundle.open(directory).ranking is None
    for picture in pictures():
        before = plain.caption(picture, **options).candidates
        assert plain.caption(picture, **options, no_memory=True).candidates == before
        assert unweighed.caption(picture, **options).candidates == before
        assert unasked.caption(picture, **options, no_memory=True).candidates == before


def test_lengths_and_numbers_of_candidates_are_obeyed_all_the_same(golden, tmp_path):
    captioner = saying(golden / "parallel" / "model", tmp_path / "model", BY_SIMILARITY)
    green, blue = of_colour(9, 200, 9), of_colour(9, 9, 200)
    assert texts(captioner.caption(green, candidates=2)) == [SAID[1], SAID[3]]
    assert captioner.caption(green, length=3, decode="parallel").text == SAID[3]
    assert captioner.caption(blue, length=3, decode="parallel").text == SAID[2]
    assert captioner.caption(green, length=6, decode="parallel").text == SAID[0]
    assert captioner.caption(blue, neutral=True).text == "Two people sit."


def test_captions_of_every_length_keep_their_order(directory, tmp_path):
    captioner = saying(directory, tmp_path / "model", BY_SIMILARITY)
    for options in ({"length": "short"}, {"length": 3}):
        caption = captioner.caption(of_colour(9, 200, 9), candidates=2, **options)
        assert (
            caption.candidates
            == captioner.caption(of_colour(9, 200, 9), candidates=2, no_memory=True, **options).candidates
        )


def test_each_way_of_decoding_has_weights_of_its_own(golden, tmp_path):
    directory = golden / "parallel" / "model"
    plain = Captioner.open(directory)
    memory = memory_of(plain, 1)
    captioner = Captioner.open(remembering(directory, tmp_path / "model", memory, BY_SIMILARITY, ways=["parallel"]))
    picture = pictures()[0]
    said = [each.caption(picture, candidates=2, decode="parallel").candidates for each in (captioner, plain)]
    assert said[0] != said[1]
    for decode in ("greedy", "beam"):
        assert captioner.caption(picture, decode=decode).candidates == plain.caption(picture, decode=decode).candidates


def test_features_are_what_the_weights_are_named_after(directory, tmp_path):
    plain = Captioner.open(directory)
    memory = memory_of(plain, 1)
    picture = plain.encode(pictures()[0])
    candidates = picture.engine.decode(picture, Options(candidates=4, beams=4).plan(plain.bundle))
    said = [f"a dog {number}" for number in range(len(candidates))]
    vector = plain.embed_images([picture])[0]
    table = dict(zip(Weights._fields, features(candidates, said, vector, memory, Ranking(2, 20.0, {})).T, strict=True))
    np.testing.assert_allclose(table["log_p"], np.log([candidate.probability for candidate in candidates]))
    means = [np.log(candidate.token_probabilities).mean() for candidate in candidates]
    np.testing.assert_allclose(table["token_log_p"], means)
    np.testing.assert_array_equal(table["similarity"], memory.similarity(vector, said, 2, 20.0))
    np.testing.assert_array_equal(table["consensus"], memory.consensus(said))
    assert table["words"].tolist() == [3] * len(candidates)
    assert not table["expected"].any() and not table["information"].any()
    words = PictureWords(["dog", "cat"], np.zeros((2, len(vector))), np.zeros(2), [3.0, 9.0])
    told = features(candidates, said, vector, memory, Ranking(2, 20.0, {}), ("information", "expected"), words)
    np.testing.assert_allclose(told, [[3.0, 1.5]] * len(candidates))


def test_it_travels_to_other_processes(directory, tmp_path):
    plain = Captioner.open(directory)
    out = remembering(directory, tmp_path / "model", memory_of(plain, 1), BY_SIMILARITY)
    captioner = Captioner.open(out)
    assert pickle.loads(pickle.dumps(captioner)).caption(pictures()[0]).text == captioner.caption(pictures()[0]).text


def test_the_command_line_can_switch_it_off(golden, tmp_path, capsys):
    from PIL import Image

    directory = golden / "parallel" / "model"
    plain = Captioner.open(directory)
    out = remembering(directory, tmp_path / "model", memory_of(plain, 1), BY_SIMILARITY)
    Image.fromarray(pictures()[0]).save(tmp_path / "photo.png")

    def said(*flags: str) -> str:
        assert main(["caption", str(tmp_path / "photo.png"), "--candidates", "2", *flags]) == 0
        return capsys.readouterr().out

    assert said("--model", str(out)) != said("--model", str(directory))
    assert said("--model", str(out), "--no-memory") == said("--model", str(directory))


def test_a_manifest_states_a_ranking_if_and_only_if_there_is_a_memory(golden, tmp_path):
    directory = golden / "parallel" / "model"
    out = remembering(directory, tmp_path / "model", memory_of(Captioner.open(directory), 0), BY_SIMILARITY)
    assert Bundle.open(out).ranking == Ranking(2, 0.0, dict.fromkeys(RANKED_AS, BY_SIMILARITY))
    path = out / "model.json"
    manifest = json.loads(path.read_text())
    assert manifest["ranking"]["parallel"] == BY_SIMILARITY._asdict() and manifest["ranking"]["neighbours"] == 2
    for change, told in (
        (lambda values: values.pop("ranking"), "both it and words.npz or memory.npz, or none of them"),
        (lambda values: values["files"].pop(MEMORY), "both it and words.npz or memory.npz, or none of them"),
        (lambda values: values["ranking"]["search"].update(expected=1), "as there is no words.npz"),
        (lambda values: (values.pop("alignment"), values["files"].pop("text.onnx")), "as there is a ranking"),
        (lambda values: values["ranking"].update(neighbours=0), "ranking.neighbours is 0; expected a whole number"),
        (lambda values: values["ranking"].update(sharpness=-1), "ranking.sharpness is -1; expected a number from 0"),
        (lambda values: values["ranking"]["parallel"].pop("words"), "ranking.parallel.words is missing"),
        (lambda values: values["ranking"].update(beam={}), "unknown key 'ranking.beam'"),
    ):
        changed = json.loads(json.dumps(manifest))
        change(changed)
        path.write_text(json.dumps(changed))
        with pytest.raises(ModelFileError, match=told):
            Bundle.open(out)


def test_a_memory_that_is_none_or_of_another_model_is_told_in_one_line(golden, tmp_path):
    import hashlib

    directory = golden / "parallel" / "model"
    other = Memory()
    other.add(np.eye(3, dtype=np.float32), [["a dog"], ["a cat"], ["a bird"]])
    out = remembering(directory, tmp_path / "other", other, BY_SIMILARITY)
    with pytest.raises(ModelFileError, match=r"memory\.npz: its pictures have vectors of 3 numbers"):
        Captioner.open(out).caption(pictures()[0], candidates=2)
    content = b"no memory"
    (out / MEMORY).write_bytes(content)
    with pytest.raises(ModelFileError, match=r"model directory .* is damaged: memory\.npz: 9 bytes, expected"):
        Captioner.open(out)
    manifest = json.loads((out / "model.json").read_text())
    manifest["files"][MEMORY] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (out / "model.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelFileError, match=r"memory\.npz: not a memory of captioned pictures"):
        Captioner.open(out)


def test_a_copy_with_a_memory_changes_nothing_else(directory, tmp_path):
    before = Bundle.open(directory)
    out = remembering(directory, tmp_path / "model", Memory(), BY_PROBABILITY, description="with a memory")
    after = Bundle.open(out)
    assert {name: file for name, file in after.files.items() if name != MEMORY} == before.files
    for field in dataclasses.fields(before):
        if field.name not in ("folder", "files", "ranking", "description"):
            assert getattr(after, field.name) == getattr(before, field.name)
    assert after.description == "with a memory"
    with pytest.raises(ModelFileError, match="there already"):
        remembering(directory, before.folder.parent, Memory(), BY_PROBABILITY)
