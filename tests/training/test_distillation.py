"""PMTD: the curriculum walks from the weakest teacher to the strongest, terms are their formulas, teachers run once."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_teachers import write_mobilenet, write_teacher
from toy_recipe import stage

from fastcap.cli import main
from fastcap.config import TeacherConfig, load_config
from fastcap.errors import ConfigError, ModelFileError
from fastcap.losses.language import read_causally
from fastcap.training import distillation, tracking
from fastcap.training.distillation import curriculum, feature_loss, logits_loss
from fastcap.training.objective import TrainingStep
from fastcap.training.teachers import ensemble
from fastcap.training.teachers.ensemble import Ensemble
from fastcap.training.teachers.features import ImageNetFeatures
from fastcap.training.trainer import Trainer, train


@pytest.fixture(autouse=True)
def no_picture(monkeypatch):
    """Curves take longer to draw than these stages to train; test_trainer.py draws them."""
    monkeypatch.setattr(tracking, "draw_curves", lambda *_: None)


# The curriculum


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_curriculum_begins_with_the_weakest_and_ends_with_the_strongest(count):
    assert curriculum(0.0, count) == [1.0, *[0.0] * (count - 1)]
    assert curriculum(1.0, count) == [*[0.0] * (count - 1), 1.0]
    path = [curriculum(step / 200, count) for step in range(201)]
    assert all(math.isclose(sum(parts), 1) and min(parts) >= 0 for parts in path)
    strength = [sum(index * part for index, part in enumerate(parts)) for parts in path]
    for before, after in itertools.pairwise(range(201)):
        assert strength[after] >= strength[before]
        assert path[after][0] <= path[before][0]
        assert path[after][-1] >= path[before][-1]
    for index in range(1, count - 1):  # each has its turn
        assert max(parts[index] for parts in path) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("progress", [-0.1, 1.1, math.nan])
def test_a_progress_that_is_none_is_refused(progress):
    with pytest.raises(ValueError, match="allowed: 0 to 1"):
        curriculum(progress, 3)


# The terms


def test_the_feature_loss_is_its_formula():
    projected, target = torch.randn(3, 7), 5 + 4 * torch.randn(3, 7)
    total = 0.0
    for ours, theirs in zip(projected.tolist(), target.tolist(), strict=True):
        mean = sum(theirs) / 7
        deviation = math.sqrt(sum((x - mean) ** 2 for x in theirs) / 7 + 1e-5)
        total += sum((o - (t - mean) / deviation) ** 2 for o, t in zip(ours, theirs, strict=True))
    assert feature_loss(projected, target).item() == pytest.approx(total / 21, rel=1e-5)
    assert feature_loss(torch.zeros(3, 7), target).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_the_logits_loss_is_the_divergence_of_softened_distributions(temperature):
    student, teacher = torch.randn(4, 6), torch.randn(4, 6)
    log_p, token_ids = teacher.log_softmax(dim=-1).topk(6, dim=-1)
    total = 0.0
    for ours, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
        q = [math.exp(x / temperature) for x in ours]
        p = [math.exp(x / temperature) for x in theirs]
        total += sum(a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) for a, b in zip(p, q, strict=True))
    found = logits_loss(student, token_ids, log_p, temperature).item()
    assert found == pytest.approx(temperature**2 * total / 4, rel=1e-4)
    assert logits_loss(teacher, token_ids, log_p, temperature).item() == pytest.approx(0, abs=1e-6)


def test_what_is_not_among_the_likeliest_counts_as_impossible():
    student = torch.randn(2, 6)
    log_p, token_ids = torch.randn(2, 6).log_softmax(dim=-1).topk(2, dim=-1)
    p = log_p.exp() / log_p.exp().sum(dim=-1, keepdim=True)
    q = student.softmax(dim=-1).gather(1, token_ids)
    torch.testing.assert_close(logits_loss(student, token_ids, log_p, 1.0), (p * (p / q).log()).sum() / 2)


# A stage


FEATURES = TeacherConfig("features", ("mobilenet.npz",), weight=0.5)


@pytest.fixture
def made(recipe, toy_data, tmp_path):
    """A function: the Trainer of a stage with teachers, prepared; `logits()` and `captions()` make teachers' names."""
    if not (toy_data / "mobilenet.npz").exists():
        write_mobilenet(toy_data / "mobilenet.npz")
    first = Trainer(recipe("first"))

    def make(*given: TeacherConfig, output: str = "run", **settings) -> Trainer:
        made = Trainer(recipe(output, stages=(stage(teachers=given, **settings),)))
        made.prepare_stage(made.config.stages[0])
        return made

    make.teacher = lambda seed=1: write_teacher(first, tmp_path / f"teacher-{seed}", seed)
    return make


def test_gradients_reach_the_student_and_its_projection_and_no_teacher(made):
    run = made(FEATURES, TeacherConfig("logits", (made.teacher(),)))
    batch = run.inputs.batch(0).tensors
    pooled = torch.randn(5, 32, requires_grad=True)
    state = run.model.decoder.prepare(run.model.encode(torch.from_numpy(run.corpus.images[list(range(5))])))
    hidden = read_causally(run.model.decoder, state, batch["token_ids"]).detach().requires_grad_()
    losses = run.distillation.feature_losses(batch, pooled)
    losses |= run.distillation.logits_losses(batch, run.model.decoder, hidden)
    assert list(losses) == ["features_0", "logits_1"]
    sum(losses.values()).backward()
    assert pooled.grad.abs().sum() > 0
    projection = run.distillation.projections["features_0"]
    assert projection.weight.grad.abs().sum() > 0
    lengths = batch["lengths"]
    for row, length in enumerate(lengths.tolist()):  # the end is predicted, and nothing past it
        assert (hidden.grad[row, : length + 1].abs().sum(dim=-1) > 0).all()
        assert hidden.grad[row, length + 1 :].abs().sum() == 0
    assert not any(value.requires_grad for value in batch.values())
    assert {name for name, _ in run.distillation.named_parameters()} == {
        "projections.features_0.weight",
        "projections.features_0.bias",
    }


@torch.no_grad()
def test_what_is_kept_of_a_teacher_is_what_it_says(made):
    teacher = made.teacher()
    run = made(FEATURES, TeacherConfig("logits", (teacher,)))
    batch, images, _ = run.inputs.batch(0)
    network = Ensemble([teacher], run.model_config, run.tokenizer, Path(run.config.data.cache))
    model = network.models[0]
    for row, length in enumerate(batch["lengths"].tolist()):
        pixels = torch.from_numpy(run.corpus.images[[images[row // 2]]])
        state = model.decoder.prepare(model.encode(pixels))
        ids = batch["token_ids"][row, :length].tolist()
        expected = model.decoder.logits(torch.tensor([[model.vocabulary.bos_id, *ids]]), state, causal=True)[
            0
        ].log_softmax(dim=-1)
        kept = batch["logits_1.log_p"][row, : length + 1]
        found = expected.gather(1, batch["logits_1.token_ids"][row, : length + 1])
        torch.testing.assert_close(kept, found, rtol=2e-3, atol=2e-3)  # fp16 keeps eleven bits
        torch.testing.assert_close(found[:, 0], expected.amax(dim=-1))
    seen = ImageNetFeatures(Path(run.config.data.root) / "mobilenet.npz", "x")(
        torch.from_numpy(run.corpus.images[images.tolist()]).permute(0, 3, 1, 2)
    )
    torch.testing.assert_close(batch["features_0.target"], seen, rtol=2e-3, atol=1e-2)


def test_rows_come_from_a_teacher_of_sequences_as_often_as_its_turn_says(made):
    run = made(FEATURES, TeacherConfig("sequences", (made.teacher(),), weight=0.8), captions=4)
    run.corpus.pool.token_ids[5][run.distillation.spoken["sequences_1"]] = []  # it has said nothing of this picture
    rng = np.random.default_rng(0)

    def share(image: int, progress: float) -> float:
        human = run.corpus.pool.token_ids[image]["human"]
        rows = [ids for _ in range(300) for ids in run.distillation.draw(image, rng, progress)]
        assert len(rows) == 1200
        return sum(ids not in human for ids in rows) / len(rows)

    for progress in (0.0, 0.25, 0.5, 1.0):
        assert share(0, progress) == pytest.approx(0.8 * progress, abs=0.05)
        assert share(5, progress) == 0


def test_captions_of_a_teacher_that_are_too_long_are_left_out(made, monkeypatch):
    said = [[[7, 8], [9] * 30, [10]]] * 12
    monkeypatch.setattr(Ensemble, "captions", lambda self, paths, images: [said[image] for image in images])
    run = made(TeacherConfig("sequences", (made.teacher(),)))
    source = run.distillation.spoken["sequences_0"]
    assert all(captions[source] == [[7, 8], [10]] for captions in run.corpus.pool.token_ids)


# Kept on disk


def files(run: Trainer, kind: str) -> list[Path]:
    return sorted(Path(run.config.data.cache).glob(f"{kind}-*"))


@pytest.mark.parametrize("kind", ["logits", "sequences"])
def test_an_interrupted_teacher_goes_on_where_it_stopped_and_then_never_runs_again(made, monkeypatch, kind):
    monkeypatch.setattr(distillation, "CHUNK", 5)
    method, stem, rows = {"logits": ("next_tokens", "logits", 24), "sequences": ("captions", "captions", 12)}[kind]
    teacher, asked, original = TeacherConfig(kind, (made.teacher(),)), [], getattr(Ensemble, method)

    def counted(self, paths, wanted, *k):
        asked.append(len(wanted))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return original(self, paths, wanted, *k)

    monkeypatch.setattr(Ensemble, method, counted)
    with pytest.raises(KeyboardInterrupt):
        made(teacher)
    run = made(teacher)
    assert sum(asked) == rows + asked[2]  # what was under way when it was interrupted, again
    (path,) = files(run, stem)
    found, n_asked = path.read_bytes(), len(asked)
    made(teacher, output="other")
    assert len(asked) == n_asked
    path.unlink()
    made(teacher)
    assert path.read_bytes() == found


def test_what_is_stale_is_not_used(made, toy_data):
    run = made(TeacherConfig("logits", (made.teacher(1),)), TeacherConfig("sequences", (made.teacher(1),)))
    assert (len(files(run, "logits")), len(files(run, "captions"))) == (1, 1)
    made(TeacherConfig("logits", (made.teacher(2),)), TeacherConfig("sequences", (made.teacher(2),)))  # weights
    assert (len(files(run, "logits")), len(files(run, "captions"))) == (2, 2)
    made(TeacherConfig("logits", (made.teacher(1),)))  # other captions to read
    assert (len(files(run, "logits")), len(files(run, "captions"))) == (3, 2)


def test_distilled_captions_are_made_once_and_reused(recipe, monkeypatch):
    stages = (stage(steps=2), stage(name="distil", steps=3, sources=("distilled",), causal=0))
    config = recipe(stages=stages)
    searches: list[int] = []
    search = ensemble.beam_search

    def counted(*arguments, **settings):
        searches.append(1)
        return search(*arguments, **settings)

    monkeypatch.setattr(ensemble, "beam_search", counted)
    with monkeypatch.context() as patch:
        interrupted_at(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    assert searches == [1]
    run = Trainer(config)
    run.prepare_stage(config.stages[1])
    for captions in run.corpus.pool.token_ids:
        assert 1 <= len(captions["distilled"]) <= 3
        for ids in captions["distilled"]:
            assert config.model.generation.min_length <= len(ids) <= 20
            assert min(ids) >= 4
    train(config)
    assert searches == [1]


# Training


def interrupted_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Ctrl-C inside the forward pass of the step-th step from now."""
    forward, calls = TrainingStep.forward, []

    def failing(self, *arguments):
        calls.append(1)
        if len(calls) == step:
            raise KeyboardInterrupt
        return forward(self, *arguments)

    monkeypatch.setattr(TrainingStep, "forward", failing)


@pytest.fixture
def taught(made, recipe):
    """A recipe of one stage with a teacher of each kind."""
    given = (
        FEATURES,
        TeacherConfig("logits", (made.teacher(1), made.teacher(2)), temperature=3.0),
        TeacherConfig("sequences", ("distilled",), weight=0.5),
    )
    return lambda output: recipe(output, (stage(steps=6, teachers=given),))


def test_a_stage_with_teachers_logs_their_terms_and_weighs_them_by_the_curriculum(taught):
    config = taught("run")
    best = train(config)
    rows = [json.loads(line) for line in (Path(config.output) / "log.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "loss" in row]
    spec = config.stages[0]
    assert len(rows) == 6
    for step, row in enumerate(rows):
        features, logits, sequences = curriculum(step / 5, 3)
        assert row["weight_features_0"] == pytest.approx(0.5 * features, abs=1e-5)
        assert row["weight_sequences_2"] == pytest.approx(0.5 * sequences, abs=1e-5)
        own = {name: getattr(spec, name) for name in ("causal", "masked", "length", "balance")}
        terms = own | {"features_0": 0.5 * features, "logits_1": logits}
        assert row["logits_1"] > 0
        assert row["loss"] == pytest.approx(sum(weight * row[name] for name, weight in terms.items()), abs=1e-4)
    assert not any("projection" in name for name in load_file(best / "model.safetensors"))


def test_the_projections_are_trained_and_resume_with_the_rest_bit_for_bit(taught, monkeypatch):
    whole, parted = taught("whole"), taught("parted")
    train(whole)
    with monkeypatch.context() as patch:
        interrupted_at(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            train(parted)
    middle = load_file(Path(parted.output) / "checkpoints" / "step-0000003" / "training.safetensors")
    begun = Trainer(taught("begun"))
    begun.prepare_stage(begun.config.stages[0])
    name = "projections.features_0.weight"
    assert not torch.equal(middle[f"projections:{name}"], begun.distillation.state_dict()[name])
    assert f"moments:distillation.{name}:exp_avg_sq" in middle
    train(parted)
    expected, found = (
        load_file(Path(config.output) / "checkpoints" / "step-0000006" / "training.safetensors")
        for config in (whole, parted)
    )
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert not any(name.startswith("projections:") for name in found)


def test_a_student_comes_to_say_what_its_teacher_says(made, recipe):
    """The divergence from a teacher falls when nothing else is asked."""
    given = (TeacherConfig("logits", (made.teacher(),), temperature=1.0),)
    alone = stage(steps=40, learning_rate=5e-3, teachers=given, causal=0.0, masked=0.0, length=0.0, balance=0.0)
    config = recipe("alone", (alone,))
    train(config)
    rows = [json.loads(line) for line in (Path(config.output) / "log.jsonl").read_text().splitlines()]
    divergence = [row["logits_0"] for row in rows if "logits_0" in row]
    assert np.mean(divergence[-5:]) < 0.5 * np.mean(divergence[:5])


def test_the_recipe_of_the_repository_trains_on_toy_data(recipe, made, toy_data, tmp_path, capsys):
    """configs/training/distillation.yaml as it is, but for sizes, paths and the source of the strongest teacher."""
    config = dataclasses.asdict(recipe("smoke"))
    overrides = {
        "output": config["output"],
        "views": 1,
        "model": config["model"],
        "data": config["data"],
        "stages.0.steps": 3,
        "stages.0.images": 4,
        "stages.0.teachers.0.names": ["mobilenet.npz"],
        "stages.0.teachers.1.names": [made.teacher()],
        "stages.0.teachers.2.names": ["distilled"],
        "log_every": 1,
    }
    path = Path(__file__).parents[2] / "configs" / "training" / "distillation.yaml"
    line = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    load_config(path, line)
    assert main(["train", "--config", str(path), *line]) == 0
    assert capsys.readouterr().out.strip() == str(Path(config["output"]) / "best")
    rows = [json.loads(line) for line in (Path(config["output"]) / "log.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "loss" in row]
    assert len(steps) == 3
    assert all({"features_0", "logits_1", "weight_sequences_2", "consistency"} <= row.keys() for row in steps)


# Trouble


def test_a_teacher_of_a_later_stage_is_looked_for_before_the_first_begins(recipe):
    later = stage(name="later", teachers=(TeacherConfig("logits", ("runs/gone",)),))
    with pytest.raises(ModelFileError, match=r"runs/gone .*setting stages\.1\.teachers\.0"):
        Trainer(recipe(stages=(stage(), later)))


def test_captions_of_a_source_that_nobody_has_are_refused(made):
    with pytest.raises(ConfigError, match="no image has a caption from the sources machine"):
        made(TeacherConfig("sequences", ("machine",)))


@pytest.mark.parametrize("settings", [{"inputs": "words"}, {"freeze": "captioner", "contrastive": 1.0}])
def test_teachers_where_no_captioner_learns_from_images_are_refused(settings):
    with pytest.raises(ConfigError, match="teachers are named; allowed: none"):
        stage(teachers=(FEATURES,), **settings)


def test_projections_of_other_teachers_are_not_resumed(taught, recipe, monkeypatch):
    config = taught("run")
    with monkeypatch.context() as patch:
        interrupted_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    with pytest.raises(ModelFileError, match=r"does not fit the recipe's model: .*projections"):
        train(recipe("run", (stage(steps=6),)), accept_changes=True)
