"""Training on questions and answers: what is learnt, in which order, beside captions, resumed to the bit."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_recipe import stage

from fastcap.checkpoint import load_checkpoint
from fastcap.config import TrainConfig, from_mapping
from fastcap.data.conversations import load_conversations
from fastcap.errors import ConfigError
from fastcap.losses.language import causal_loss, read_causally
from fastcap.runtime.conversation import encode_prompt
from fastcap.runtime.encoding import decode
from fastcap.training.answering import answer_ids
from fastcap.training.conversations import Dealer
from fastcap.training.objective import TrainingStep
from fastcap.training.position import Position
from fastcap.training.trainer import Trainer, train
from tiny_parts import prefix_config, write_language_model, write_tower

pytest.importorskip("transformers")
pytest.importorskip("peft")

PLAIN = {"backbone": {"kind": "towers"}, "decoder": {"kind": "prefix_lm"}}
ALONE = {"conversations": ["a.json"], "train": []}
COLOURS = ("red", "green", "blue", "yellow", "white", "gray")


@pytest.fixture(scope="session")
def parts(tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    return {"words": write_language_model(root / "llama"), "eye": write_tower(root / "eye", patch=16)}


@pytest.fixture
def asked(toy_data, tmp_path):
    """Questions about the toy pictures: of balls what colour they have, of boxes three questions; and a file of both
    turns of one conversation."""
    rows = []
    for colour in COLOURS:
        path = str(toy_data / "toy" / "images" / f"{colour}_ball.png")
        rows.append({"image_path": path, "question": "What colour is it?", "answer": colour})
        path = str(toy_data / "toy" / "images" / f"{colour}_box.png")
        rows += [{"image_path": path, "question": f"Is it {other}?", "answer": "yes" if other == colour else "no"}
                 for other in ("red", "green", "blue")]  # fmt: skip
    said = ("Is it a box?", "yes", "What colour?", "gray")
    turns = [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(said)]
    rows.append({"image_path": path, "conversations": turns})
    file = tmp_path / "train.json"
    file.write_text(json.dumps(rows))
    return file


@pytest.fixture
def asking(recipe, parts, asked):
    """A recipe with conversations; `stages` without captions unless they say otherwise."""

    def make(output="run", stages=(), captions=False, val=(), decoder=None, **settings) -> TrainConfig:
        made = recipe(output)
        known = {"conversations": (str(asked),), "val_limit": 2}
        known["val_conversations"] = val or (() if captions else (str(asked),))
        data = dataclasses.replace(made.data, **known, **({} if captions else {"train": (), "val": ()}))
        model = prefix_config(parts["words"], parts["eye"], question_tokens=60, adapter_dropout=0.1, **(decoder or {}))
        return dataclasses.replace(made, model=model, data=data, stages=stages or (questions(),), **settings)

    return make


def questions(**settings):
    return stage(**{"captions": 0, "questions": 1, **settings})


def prepared(config: TrainConfig) -> Trainer:
    made = Trainer(config)
    made.prepare_stage(made.config.stages[0])
    return made


def padding(batches: list[dict[str, torch.Tensor]]) -> int:
    return sum(int((b["token_ids"].shape[1] - b["lengths"]).sum()) for b in batches)


def figures(config: TrainConfig) -> list[dict]:
    lines = (Path(config.output) / "log.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "val_accuracy" in row]


# --- what is learnt -----------------------------------------------------------------------------------------


def test_the_loss_is_of_answers_and_their_end_marks_alone(asking):
    made = prepared(asking(stages=(questions(images=12, smoothing=0.0),)))
    batch, generator = made.draw()
    tensors, decoder = batch.tensors, made.objective.eval().model.decoder
    token_ids, lengths, learned = tensors["token_ids"], tensors["lengths"], tensors["learned"]
    assert batch.counts["tokens"] == int(learned.sum()) < int(lengths.sum())
    loss = made.objective.losses(tensors, None, generator)["causal"]
    total = 0.0
    image = made.objective.encode(tensors)
    for row, length in enumerate(lengths.tolist()):  # one at a time, word by word
        state = decoder.prepare(type(image)(image.tokens[row][None], image.pooled[row][None]))
        ids = token_ids[row : row + 1, :length]
        log_p = decoder.project(read_causally(decoder, state, ids))[0].log_softmax(dim=-1)
        targets = [*ids[0].tolist(), decoder.vocabulary.eos_id]
        total -= sum(log_p[t, i].item() for t, i in enumerate(targets) if learned[row, t])
    assert loss.item() == pytest.approx(total / int(learned.sum()), rel=1e-4)
    hidden = read_causally(decoder, decoder.prepare(image), token_ids, lengths)
    whole = causal_loss(decoder, hidden, token_ids, lengths, 0.0)
    assert whole.item() != pytest.approx(loss.item(), rel=1e-3)


@pytest.mark.slow
def test_it_learns_to_answer_what_a_question_alone_does_not_tell(asking):
    learning = questions(steps=150, images=12, learning_rate=2e-2, smoothing=0.0, questions=2)
    config = asking(stages=(learning,), ema=0.9)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, val_limit=25))
    train(config)
    # a reader of the questions says "no" (15 of 18), one colour (1 of 6), and is right in the last conversation
    assert figures(config)[-1]["val_accuracy"] > 100 * (15 + 1 + 1) / 25


def test_an_answer_is_the_likeliest_continuation_of_its_prompt(asking, asked):
    made = prepared(asking())
    model, conversation = made.model.eval(), load_conversations(asked)[0]
    eos_id = model.vocabulary.eos_id
    prompt = encode_prompt(made.tokenizer, conversation.turns[:-1], model.config.template, eos_id)
    image = model.encode(torch.from_numpy(made.corpus.images[[0]]))
    ids, barred = list(prompt), [i for i in model.vocabulary.barred if i != eos_id]
    for _ in range(12):  # all is read anew for each word
        hidden = read_causally(model.decoder, model.decoder.prepare(image), torch.tensor([ids]))
        logits = model.decoder.project(hidden)[0, -1]
        logits[[*barred, ids[-1]]] = -torch.inf  # a search never says a token twice in a row
        logits[eos_id] = logits[eos_id] if len(ids) > len(prompt) else -torch.inf
        if (best := int(logits.argmax())) == eos_id:
            break
        ids.append(best)
    assert answer_ids(model, image, prompt) == ids[len(prompt) :]


# --- which are read in which step ---------------------------------------------------------------------------


@pytest.mark.parametrize(("n_questions", "max_tokens"), [(1, 0), (2, 0), (2, 130), (4, 200)])
def test_an_epoch_reads_every_conversation(asking, n_questions, max_tokens):
    n_images = 4 if max_tokens else 1  # so that an epoch ends with a step
    made = prepared(asking(stages=(questions(questions=n_questions, max_tokens=max_tokens, images=n_images),)))
    dealer, pool = made.inputs.dealer, made.corpus.pool
    for epoch in range(3):
        first, last = (dealer.steps(e) if e else 0 for e in (epoch, epoch + 1))
        shares = [share for step in range(first, last) for share in dealer.deal(Position(1, 0, step))]
        seen = Counter((share.image, *row.token_ids) for share in shares for row in share.conversations)
        known = {(image, *row.token_ids) for image, rows in pool.conversations.items() for row in rows}
        assert known <= set(seen)
        assert all(len(share.conversations) == n_questions for share in shares)
        if max_tokens:  # groups end with an epoch
            assert (
                seen.total() == sum(-(-len(rows) // n_questions) for rows in pool.conversations.values()) * n_questions
            )


def test_an_answer_is_drawn_among_people_s_in_each_epoch_again(asking, asked, tmp_path):
    (row, *_) = json.loads(asked.read_text())
    said = ["red"] * 6 + ["pink"] * 3 + ["a light red"]
    (tmp_path / "several.json").write_text(json.dumps([{**row, "answer": "red", "answers": said}]))
    files = {"conversations": (str(tmp_path / "several.json"),), "val_conversations": (str(asked),)}
    found = {}
    for how in ("drawn", "frequent"):
        config = asking(stages=(questions(images=1),))
        data = dataclasses.replace(config.data, answers=how, **files)
        made = prepared(dataclasses.replace(config, data=data))
        (whole,) = made.corpus.pool.conversations[0]
        assert len(whole.others) == (10 if how == "drawn" else 0)
        drawn = [made.inputs.dealer.deal(Position(1, 0, step))[0].conversations[0] for step in range(300)]
        again = [made.inputs.dealer.deal(Position(1, 0, step))[0].conversations[0] for step in range(300)]
        assert drawn == again  # as a run that is resumed needs it
        prompt = whole.token_ids[: whole.learned.index(True)]
        texts = Counter(decode(made.tokenizer, row.token_ids[len(prompt) :]) for row in drawn)
        found[how] = {text: round(count / 300, 1) for text, count in texts.items()}
    assert found["drawn"] == {"red": 0.6, "pink": 0.3, "a light red": 0.1} and found["frequent"] == {"red": 1.0}


def test_groups_of_about_equal_length_hold_no_more_than_their_tokens(asking):
    made = prepared(asking(stages=(questions(max_tokens=60, images=5),)))
    batches = [made.inputs.batch(step).tensors for step in range(made.inputs.dealer.steps(1))]
    assert all(len(b["token_ids"]) * (b["token_ids"].shape[1] + 1) <= 60 for b in batches)
    sizes = {len(b["token_ids"]) for b in batches}
    assert len(sizes) > 1 and max(sizes) <= 5
    shuffled = prepared(asking(stages=(questions(images=5),)))
    others = [shuffled.inputs.batch(step).tensors for step in range(5)]
    assert 3 * padding(batches) < padding(others)
    with pytest.raises(ConfigError, match="max_tokens is 5; allowed: at least"):
        prepared(asking(stages=(questions(max_tokens=5),)))


def test_a_group_smaller_than_the_number_of_processes_is_filled_up(asking):
    made = prepared(asking(stages=(questions(max_tokens=60, images=5),)))
    dealer = Dealer(made.stage, made.corpus.pool, [1, 2], least=4)
    assert all(len(dealer.deal(Position(1, 0, step))) >= 4 for step in range(dealer.steps(2)))


def test_captions_and_conversations_stand_side_by_side(asking):
    made = prepared(asking(captions=True, stages=(stage(captions=2, questions=1, images=12),)))
    batch, _ = made.draw()
    tensors, pool = batch.tensors, made.corpus.pool
    rows = tensors["token_ids"].view(12, 3, -1)
    for place, image in enumerate(batch.images):
        whole = [tensors["learned"].view(12, 3, -1)[place, r, : n + 1].all() for r, n in
                 enumerate(tensors["lengths"].view(12, 3)[place].tolist())]  # fmt: skip
        assert whole == [True, True, False]  # captions are learnt whole
        known = [row.token_ids for row in pool.conversations[int(image)]]
        n = int(tensors["lengths"].view(12, 3)[place, 2])
        assert rows[place, 2, :n].tolist() in known
    tensors = batch.share(1, 3).tensors
    assert torch.equal(tensors["learned"], batch.tensors["learned"].view(12, 3, -1)[1::3].flatten(0, 1))


def test_the_towers_outputs_are_kept_for_conversations_too(asking):
    made = prepared(asking(captions=True, stages=(stage(captions=1, questions=1),)))
    assert made.inputs.features is not None and made.inputs.features.values.shape[0] == 12
    assert "features" in made.draw()[0].tensors
    assert "is it red?" in made.inputs.features.captions[made.corpus.pool.paths.index(
        next(path for path in made.corpus.pool.paths if path.name == "red_box.png"))]  # fmt: skip


def test_what_is_too_long_is_left_out_and_counted(asking, capsys):
    config = asking()
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, longest_conversation=40))
    pool = prepared(config).corpus.pool
    assert sum(map(len, pool.conversations.values())) + pool.skipped == 25 and pool.skipped == 1
    assert "24 conversations (1 that are too long left out)" in " ".join(capsys.readouterr().err.split())


# --- runs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("captions", "settings"),
    [(False, {"max_tokens": 100, "images": 4}), (True, {"captions": 1, "crop_scale": 0.5})],
    ids=["grouped by length", "beside captions"],
)
def test_six_steps_are_four_a_resume_and_two_bit_for_bit(asking, monkeypatch, captions, settings):
    stages = (questions(steps=6, **settings),)
    configs = [asking(name, stages, captions=captions, checkpoint_every=4) for name in ("whole", "parted")]
    train(configs[0])
    with monkeypatch.context() as patch:
        forward, calls = TrainingStep.forward, []

        def interrupting(self, *arguments):
            calls.append(1)
            if len(calls) == 5:
                raise KeyboardInterrupt
            return forward(self, *arguments)

        patch.setattr(TrainingStep, "forward", interrupting)
        with pytest.raises(KeyboardInterrupt):
            train(configs[1])
    train(configs[1])
    whole, parted = (
        load_file(max((Path(c.output) / "checkpoints").iterdir()) / "training.safetensors") for c in configs
    )
    assert whole.keys() == parted.keys()
    assert [name for name in whole if not torch.equal(whole[name], parted[name])] == []


def test_answers_are_validated_and_the_best_is_kept(asking, asked):
    config = asking(captions=True, val=(str(asked),), stages=(stage(captions=1, questions=1),))
    train(config)
    assert all(0 <= row["val_accuracy"] <= 100 and "val_cider" in row for row in figures(config))


def test_a_stage_ends_early_when_nothing_gets_better(asking, capsys):
    still = questions(steps=50, learning_rate=1e-12, warmup=0, patience=2)
    config = asking(stages=(still, questions(steps=2)), evaluate_every=3)
    train(config)
    assert "pretrain ends at step 6: no gain in 2 validations" in capsys.readouterr().err
    assert max((Path(config.output) / "checkpoints").iterdir()).name == "step-0000052"


def test_an_early_end_is_the_same_after_a_resume(asking, monkeypatch):
    still = questions(steps=50, learning_rate=1e-12, warmup=0, patience=3)
    config = asking(stages=(still,), evaluate_every=2, checkpoint_every=3)
    with monkeypatch.context() as patch:
        forward, calls = TrainingStep.forward, []

        def interrupting(self, *arguments):
            calls.append(1)
            if len(calls) == 5:
                raise KeyboardInterrupt
            return forward(self, *arguments)

        patch.setattr(TrainingStep, "forward", interrupting)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    train(config)
    rows = [json.loads(line) for line in (Path(config.output) / "log.jsonl").read_text().splitlines()]
    assert max(row["step"] for row in rows if "causal" in row) == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": {}, "data": {"conversations": ["a.json"]}}, "questions is 1; allowed: 0, since a moe decoder"),
        ({"model": PLAIN}, "questions is 1; allowed: 0, unless model.decoder.question_tokens says"),
        ({"data": {"conversations": []}}, "questions is 1, but data.conversations names no file"),
        ({"stages": [{"captions": 0}]}, "captions is 0; allowed: 1 or more; 0 with questions"),
        ({"stages": [{"captions": 1, "max_tokens": 9}]}, "max_tokens is 9; allowed: 0; more with questions"),
        ({"data": ALONE, "stages": [{"captions": 2, "questions": 1}]}, "captions is 2; allowed: 0, since data.train"),
        ({"data": ALONE, "stages": [{}]}, "questions is 0; allowed: 1 or more"),
        ({"stages": [{"questions": 1, "contrastive": 1.0}]}, "contrastive is 1.0; allowed: none in a stage with q"),
        ({"data": {"train": []}}, "at least one data set, unless conversations are named"),
        ({"model": {"backbone": {"kind": "towers"}, "decoder": {"kind": "prefix_lm", "template": "x"}}}, "template is"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_named(settings, message):
    stages = [{"name": "a", "steps": 3, "learning_rate": 0.1, **s} for s in settings.get("stages", [{"questions": 1}])]
    model = {"backbone": {"kind": "towers"}, "decoder": {"kind": "prefix_lm", "question_tokens": 60}}
    given = {"model": model, "data": {"conversations": ["a.json"]}, **settings, "stages": stages}
    with pytest.raises(ConfigError, match=message):
        from_mapping(TrainConfig, given)


def test_the_page_that_the_seeds_command_points_to_describes_it():
    root = Path(__file__).parents[2]
    told = runpy.run_path(str(root / "scripts" / "train.py"))["PATHS"]["train_data"]
    (page,) = re.findall(r"docs/\w+\.md", told)
    assert "scripts/train.py --model_path" in (root / page).read_text("utf-8")


def test_the_seeds_command_fine_tunes_a_checkpoint(asking, asked, tmp_path):
    first = train(asking())
    val = tmp_path / "val.json"
    val.write_text(json.dumps(json.loads(asked.read_text())[:2]))
    script = Path(__file__).parents[2] / "scripts" / "train.py"
    given = {"model_path": first, "train_data": asked, "val_data": val, "output_dir": tmp_path / "tuned"}
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    settings = ["--num_epochs", "2", "--batch_size", "5", "--learning_rate", "5e-5"]
    command = [sys.executable, str(script), *words, *settings]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ}, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == tmp_path / "tuned" / "best"
    rows = [json.loads(line) for line in (tmp_path / "tuned" / "log.jsonl").read_text().splitlines()]
    assert max(row["step"] for row in rows) == 10  # 25 conversations, 5 a step, twice
    load_checkpoint(tmp_path / "tuned" / "best")
