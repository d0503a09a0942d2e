"""A committee: voices speak, judges judge, and what people would say is chosen, written and learnt from."""

from __future__ import annotations

import dataclasses
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_teachers import write_teacher
from toy_recipe import stage

from fastcap.config import TeacherConfig
from fastcap.errors import DataError, ModelFileError
from fastcap.evaluation.ranking import Judged
from fastcap.runtime.encoding import decode, encode
from fastcap.runtime.memory import Memory
from fastcap.runtime.words import PictureWords
from fastcap.training.committee import Committee, append_lines, gather, read_lines
from fastcap.training.teachers.ensemble import Ensemble
from fastcap.training.teachers.voices import CaptionerVoice, Checkpoints, open_voice, spoken
from fastcap.training.trainer import Trainer

ROOT = Path(__file__).parents[2]
A, B = Path("/pictures/a.png"), Path("/pictures/b.png")


@pytest.fixture
def student(recipe) -> Trainer:
    return Trainer(recipe())


# Files


def test_a_file_goes_on_where_it_stopped_and_a_torn_line_is_written_anew(tmp_path):
    asked: list[str] = []

    def captions(images: list[Path]) -> list[list[str]]:
        asked.extend(image.name for image in images)
        return [[f"what {image.stem} shows"] for image in images]

    images = [tmp_path / f"{name}.png" for name in "abcde"]
    path = tmp_path / "made" / "voice.jsonl"
    assert list(append_lines(path, images[:3], "captions", captions, batch=2)) == [0, 2, 3]
    path.write_text(path.read_text()[:-5])  # an interruption tore the last line
    assert list(append_lines(path, images, "captions", captions, batch=2)) == [2, 4, 5]
    assert asked == ["a.png", "b.png", "c.png", "c.png", "d.png", "e.png"]
    assert read_lines(path, "captions") == {image: [f"what {image.stem} shows"] for image in images}
    assert json.loads(path.read_text().splitlines()[0])["image"] == "../a.png"  # the folder may move


@pytest.mark.parametrize("line", ["{", "[1]", '{"image": "a.png"}', '{"captions": []}'])
def test_a_damaged_line_is_named(tmp_path, line):
    (tmp_path / "a.jsonl").write_text(line + '\n{"image": "a.png", "captions": []}\n')
    with pytest.raises(DataError, match="line 1 is no JSON object with image and captions"):
        read_lines(tmp_path / "a.jsonl", "captions")
    with pytest.raises(DataError, match=r"none\.jsonl cannot be read"):
        read_lines(tmp_path / "none.jsonl", "captions")


# The choice


def committee(judge: dict[str, float] | None = None) -> Committee:
    """Three voices of picture a, of which two agree; one judge; two pictures that people described."""
    voices = {
        "one": {A: ["a dog runs", "a cat sits"]},
        "two": {A: ["a dog runs", "a dog on a"]},
        "three": {A: ["a dog runs on the grass"]},
    }
    memory = Memory()
    memory.add(np.eye(3), [["a dog runs on the grass"], ["a cat sits"], ["two men stand"]])
    said = {text for voice in voices.values() for text in voice[A]}
    return Committee(voices, {"judge": {A: judge or dict.fromkeys(said, -1.0)}}, memory, {A: np.eye(3)[0]})


def test_what_voices_say_is_gathered_once_and_counted():
    found = gather(list(committee().voices.values()), A)
    assert found.texts == ["a dog runs", "a cat sits", "a dog on a", "a dog runs on the grass"]
    assert found.votes == [2, 1, 1, 1]
    with pytest.raises(DataError, match="voice 1 has said nothing of"):
        gather(list(committee().voices.values()), B)


def test_a_candidate_is_known_by_judges_similar_pictures_and_the_others():
    made = committee({"a dog runs": -1, "a cat sits": -2, "a dog on a": -3, "a dog runs on the grass": -4})
    candidates = made.candidates(A)
    table = dict(zip(made.names, made.features(A, candidates).T.tolist(), strict=True))
    assert table["judge"] == [-1, -2, -3, -4]
    assert table["votes"] == [2, 1, 1, 1]
    assert table["words"] == [3, 3, 4, 6]
    assert np.argmax(table["similarity"]) == 3  # the nearest picture is one of which people said just that
    assert np.argmin(table["consensus"]) == 1  # nobody else speaks of a cat
    assert not any(table["expected"] + table["information"])  # nobody has said which words are likely
    made.likely = PictureWords(["cat"], np.eye(1, 3), np.zeros(1), np.ones(1))
    table = dict(zip(made.names, made.features(A, candidates).T.tolist(), strict=True))
    assert [value > 0 for value in table["expected"]] == [False, True, False, False]
    with pytest.raises(DataError, match="judge judge has no score of 'a cat sits'"):
        committee({"a dog runs": -1}).features(A, candidates)


def test_the_best_are_chosen_and_unfinished_ones_come_last():
    made = committee()
    weights = dict.fromkeys(made.names, 0.0)
    assert made.choose(A, weights | {"votes": 1.0}, 1) == ["a dog runs"]
    assert made.choose(A, weights | {"similarity": 1.0}, 2)[0] == "a dog runs on the grass"
    assert made.choose(A, weights | {"words": 1.0}, 9) == [
        "a dog runs on the grass", "a dog runs", "a cat sits", "a dog on a",
    ]  # fmt: skip
    with pytest.raises(DataError, match="weights are of votes; needed: of judge, similarity, consensus, votes, words,"):
        made.choose(A, {"votes": 1.0}, 1)


def test_weights_find_the_feature_that_tells_and_are_measured_on_other_pictures():
    rng, made = np.random.default_rng(0), committee()
    pictures = []
    for _ in range(60):
        features = rng.standard_normal((4, len(made.names)))
        pictures.append(Judged(features, 10 * features[:, 0] + rng.standard_normal(4)))
    weights = made.fit(pictures, made.names)
    assert weights["judge"] > 5 * max(abs(value) for name, value in weights.items() if name != "judge")
    best = np.mean([picture.gains.max() for picture in pictures])
    assert np.mean(made.crosswise(pictures, made.names)) > 0.9 * best
    assert np.mean(made.crosswise(pictures, ["words"])) < 0.5 * best


# Voices


def test_checkpoints_say_what_the_ensemble_of_them_finds(student, tmp_path):
    names = [write_teacher(student, tmp_path / "a", 1), write_teacher(student, tmp_path / "b", 2)]
    paths = student.corpus.pool.paths[:4]
    voice = open_voice("+".join(names), "beam", 3)
    assert isinstance(voice, Checkpoints)
    ensemble = Ensemble(names, student.model_config, student.tokenizer, tmp_path / "cache")
    expected = [[spoken(decode(student.tokenizer, ids)) for ids in rows] for rows in ensemble.captions(paths, range(4))]
    assert voice.captions(paths) == [list(dict.fromkeys(filter(None, rows))) for rows in expected]


@torch.no_grad()
def test_a_likelihood_is_the_mean_over_tokens_and_the_end_by_the_members_mean_probability(student, tmp_path):
    names = [write_teacher(student, tmp_path / "a", 1), write_teacher(student, tmp_path / "b", 2)]
    judge, image = Checkpoints(names), student.corpus.pool.paths[0]
    texts = ["a red ball", "there is one red ball in the dark"]
    for text, found in zip(texts, judge.likelihoods(image, texts), strict=True):
        states = [m.decoder.prepare(seen) for m, seen in zip(judge.models, judge.encode([image]), strict=True)]
        state, total = judge.start(states, 1), 0.0
        ids = [*encode(student.tokenizer, text), judge.vocabulary.eos_id]
        for last, token in zip([judge.vocabulary.bos_id, *ids], ids, strict=False):
            log_p, state = judge.step(np.array([last]), state, np.array([0]))
            total += log_p[0, token]
        assert found == pytest.approx(total / len(ids), abs=1e-4)


def test_a_voice_may_decode_in_parallel_but_not_several_as_one(student, tmp_path):
    name = write_teacher(student, tmp_path / "a", 1)
    voice = open_voice(name, "parallel", 2)
    assert isinstance(voice, CaptionerVoice)
    [captions] = voice.captions(student.corpus.pool.paths[:1])
    assert 1 <= len(captions) <= 2
    with pytest.raises(ModelFileError, match="has several members; allowed: checkpoint directories, searched by beam"):
        open_voice(f"{name}+{name}", "parallel", 2)


# From pictures to a lesson


def test_a_committee_s_captions_are_what_a_stage_learns(student, recipe, tmp_path, monkeypatch, capsys):
    """All steps, as their pages show them: speak, judge, fit, choose, train."""
    name, root = write_teacher(student, tmp_path / "a", 1), str(Path(student.config.data.root) / "toy")

    def run(script: str, *arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        with pytest.raises(SystemExit) if script.startswith("scripts") else monkeypatch.context() as stopped:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        if script.startswith("scripts"):
            assert not stopped.value.code, capsys.readouterr().err

    def knows(images: list[Path]) -> list[list[str]]:  # what the files are called
        return [["a {} {}".format(*image.stem.split("_")), "a dog runs"] for image in images]

    for split in ("val", "train"):
        spoken_by = str(tmp_path / split / "beam.jsonl"), str(tmp_path / split / "parallel.jsonl")
        for way, path in zip(("beam", "parallel"), spoken_by, strict=True):
            pictures = ("--pictures", f"flickr8k:{split}", root, "--candidates", "2")
            run("scripts/committee.py", "speak", "--voice", name, "--decode", way, "--out", path, *pictures)
        images = list(read_lines(Path(spoken_by[0]), "captions"))
        spoken_by += (str(tmp_path / split / "knows.jsonl"),)
        list(append_lines(Path(spoken_by[2]), images, "captions", knows))
        scores = str(tmp_path / split / "by.jsonl")
        run("scripts/committee.py", "judge", "--judge", name, "--spoken", *spoken_by, "--out", scores)
        given = ("--spoken", *spoken_by, "--scores", scores, "--cache", str(tmp_path / "vectors"))
        weights, chosen = str(tmp_path / "weights.json"), str(tmp_path / "captions.jsonl")
        if split == "val":
            run("benchmarks/committee.py", "--data", "flickr8k:val", root, *given, "--out", weights)
            result = json.loads(Path(weights).read_text())
            assert result["voices"].keys() == {"beam", "parallel", "knows"}
            assert result["voices"]["knows"]["cider"] == pytest.approx(result["best_there_is"], abs=0.01)
            assert "by" in result["weights"]
        else:
            memory = ("--memory", "flickr8k", root)
            run("scripts/committee.py", "choose", "--weights", weights, *given, *memory, "--out", chosen)
    written = read_lines(Path(chosen), "captions")
    assert written.keys() == set(student.corpus.pool.paths)
    voices = [read_lines(Path(path), "captions") for path in spoken_by]
    assert all(set(captions) <= set(gather(voices, image).texts) for image, captions in written.items())
    made = Trainer(recipe("learns", stages=(stage(teachers=(TeacherConfig("sequences", (chosen,)),)),)))
    made.prepare_stage(made.config.stages[0])
    batch = made.inputs.batch(0)
    for row, image in zip(batch.tensors["token_ids"][::2], batch.images, strict=True):
        text = spoken(decode(made.tokenizer, [i for i in row.tolist() if i != made.model.vocabulary.pad_id]))
        assert text in written[made.corpus.pool.paths[image]]


def test_captions_of_own_pictures_may_be_a_machine_s(recipe):
    config = recipe()
    train = (dataclasses.replace(config.data.train[0], source="machine"),)
    pool = Trainer(dataclasses.replace(config, data=dataclasses.replace(config.data, train=train))).corpus.pool
    assert all(captions.keys() == {"machine"} for captions in pool.token_ids)
