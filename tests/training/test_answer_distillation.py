"""A model that answers learns from one with other words: captions and answers reach it as text."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from toy_recipe import stage

from fastcap.checkpoint import save_checkpoint
from fastcap.config import TeacherConfig, TrainConfig
from fastcap.errors import ConfigError, ModelFileError
from fastcap.runtime.conversation import USER, Turn, encode_prompt
from fastcap.runtime.encoding import clean_caption, decode, encode
from fastcap.training.answering import LONGEST, answer_ids
from fastcap.training.teachers.translated import Translated
from fastcap.training.trainer import Trainer, train
from tiny_parts import prefix_config, prefix_model, write_language_model, write_tower

pytest.importorskip("transformers")
pytest.importorskip("peft")

QUESTIONS = ("Is it red?", "What colour is it?", "Is there a box?")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    return {
        "words": write_language_model(root / "llama"),
        "other words": write_language_model(root / "large", seed=3, vocab_size=300, hidden_size=48),
        "eye": write_tower(root / "eye", patch=16),
    }


def write_teacher(folder: Path, parts, **decoder) -> str:
    """A prefix model with a language model of its own, whose captions are short in the student's tokens, too."""
    settings = {"prune": False, "question_tokens": 60, **decoder}
    config = dataclasses.replace(prefix_config(parts["other words"], parts["eye"], **settings), max_length=6)
    model, tokenizer = prefix_model(config, seed=5)
    save_checkpoint(folder, model.config, model.state_dict(), tokenizer)
    return str(folder)


@pytest.fixture
def teacher(parts, tmp_path) -> str:
    return write_teacher(tmp_path / "teacher", parts)


@pytest.fixture
def learning(recipe, parts, toy_data, tmp_path):
    """A recipe with questions and a teacher."""

    def make(*names: str, weight: float = 1.0, kind: str = "sequences", output="run", **settings) -> TrainConfig:
        pictures = sorted((toy_data / "toy" / "images").iterdir())
        rows = [{"image_path": str(picture), "question": QUESTIONS[place % 3], "answer": "no"} for place, picture in
                enumerate(pictures)]  # fmt: skip
        (tmp_path / "asked.json").write_text(json.dumps(rows))
        made = recipe(output)
        data = dataclasses.replace(made.data, conversations=(str(tmp_path / "asked.json"),))
        if settings.get("captions") == 0:
            data = dataclasses.replace(data, train=())
        model = prefix_config(parts["words"], parts["eye"], question_tokens=60, prune=False)
        teachers = (TeacherConfig(kind, names, weight),)
        whole = stage(**{"captions": 1, "questions": 1, "images": 12, "teachers": teachers, **settings})
        return dataclasses.replace(made, model=model, data=data, stages=(whole,))

    return make


def prepared(config: TrainConfig) -> Trainer:
    made = Trainer(config)
    made.prepare_stage(made.config.stages[0])
    return made


def network(made: Trainer, name: str) -> Translated:
    """The teacher of that name, as the recipe's choice makes it."""
    from fastcap.training.teachers.choose import load_teacher

    teacher = TeacherConfig("sequences", (name,))
    found = load_teacher(teacher, made.model_config, made.tokenizer, made.config.data, "stages.0.teachers.0")
    assert isinstance(found, Translated)
    return found


def said(made: Trainer, name: str, image: int, question: str = "") -> set[tuple[int, ...]]:
    """What the teacher says of an image, or answers, in the student's tokens: in its own first, then as text."""
    other = network(made, name).ensemble
    model = other.members[0]
    seen = model.encode(torch.from_numpy(made.corpus.images[[image]]))
    if question:
        turns = [turn for each in made.corpus.pool.asked[image] for turn in each.turns][:1]
        prompt = encode_prompt(other.tokenizer, turns, model.config.template, model.vocabulary.eos_id)
        found = [answer_ids(model, seen, prompt)]
    else:
        found = [each.token_ids for each in model.search(seen, beams=3)[0]]
    return {tuple(encode(made.tokenizer, clean_caption(decode(other.tokenizer, ids)))) for ids in found}


def test_captions_and_answers_are_the_teacher_s_in_the_student_s_tokens(learning, teacher):
    made = prepared(learning(teacher))
    batch, _ = made.draw()
    rows, lengths = batch.tensors["token_ids"].view(12, 2, -1), batch.tensors["lengths"].view(12, 2).tolist()
    learned = batch.tensors["learned"].view(12, 2, -1)
    checked = Counter()
    for place, image in enumerate(map(int, batch.images)):
        source = made.objective.distillation.spoken["sequences_0"]
        if made.corpus.pool.token_ids[image].get(source):  # else all that it says is too long for the student
            caption = tuple(rows[place, 0, : lengths[place][0]].tolist())
            assert caption in said(made, teacher, image)
            checked["captions"] += 1
        (row,) = made.corpus.pool.conversations[image]
        answer = rows[place, 1, row.n_prompt : lengths[place][1]].tolist()
        (told,) = said(made, teacher, image, "asked")
        if len(told) > 4 * LONGEST:  # more than the student reads of an answer
            assert answer == row.token_ids[row.n_prompt :]
            continue
        assert tuple(answer) == told and answer != row.token_ids[row.n_prompt :]
        assert learned[place, 1, row.n_prompt : lengths[place][1] + 1].all()
        assert not learned[place, 1, : row.n_prompt].any()
        checked["answers"] += 1
    assert checked["answers"] > 6 and checked["captions"] > 0


def test_a_weight_is_the_share_of_answers_and_each_step_draws_the_same(learning, teacher):
    made = prepared(learning(teacher, weight=0.5))
    people = {(i, *row.token_ids) for i, rows in made.corpus.pool.conversations.items() for row in rows}
    drawn: Counter[bool] = Counter()
    for step in range(20):
        one, other = (made.inputs.batch(step) for _ in range(2))
        assert torch.equal(one.tensors["token_ids"], other.tensors["token_ids"])
        rows, lengths = one.tensors["token_ids"].view(12, 2, -1)[:, 1], one.tensors["lengths"].view(12, 2)[:, 1]
        for image, row, length in zip(one.images, rows.tolist(), lengths.tolist(), strict=True):
            drawn[(int(image), *row[:length]) in people] += 1
    assert drawn[True] / drawn.total() == pytest.approx(0.5, abs=0.1)  # 240 draws


def test_a_teacher_is_asked_of_pictures_that_captions_are_drawn_of_alone(learning, teacher, toy_data):
    captioned = learning(teacher)
    (known,) = captioned.data.train
    rows = json.loads(Path(captioned.data.conversations[0]).read_text())
    written = Path(captioned.data.conversations[0]).with_name("few.jsonl")
    few = [{"image": row["image_path"], "caption": "a red box"} for row in rows[::3]]
    written.write_text("\n".join(map(json.dumps, few)))
    data = dataclasses.replace(captioned.data, train=(dataclasses.replace(known, name="jsonl", root=str(written.parent),
        split="few", source="human"),))  # fmt: skip
    made = prepared(dataclasses.replace(captioned, data=data))
    source = made.objective.distillation.spoken["sequences_0"]
    captions = zip(made.corpus.pool.paths, made.corpus.pool.token_ids, strict=True)
    told = {str(path) for path, said in captions if said.get(source)}
    assert told and told <= {row["image"] for row in few}


def test_questions_that_are_asked_together_are_answered_as_alone(learning, teacher):
    made = prepared(learning(teacher))
    other, pool = network(made, teacher).ensemble, made.corpus.pool
    asked = [(image, each.turns) for image, conversations in pool.asked.items() for each in conversations]
    asked += [
        (image, (Turn(USER, "Is there a box in it, or is there none?"), *turns[1:])) for image, turns in asked[:5]
    ]
    together = other.told(pool.paths, asked)
    assert together == [other.told(pool.paths, [each])[0] for each in asked]
    assert len(set(map(tuple, together))) > 1


def test_a_teacher_in_16_bits_has_no_adapters_left_and_says_nearly_the_same(learning, teacher):
    made = prepared(learning(teacher))
    whole, half = (Translated([teacher], made.tokenizer, Path(made.config.data.cache), dtype).ensemble for dtype in
                   (torch.float32, torch.bfloat16))  # fmt: skip
    assert not [name for name, _ in half.named_parameters() if "lora" in name]
    assert half.members[0].decoder.embedding.weight.dtype == torch.bfloat16
    prompts = [[half.vocabulary.bos_id, 7, 9], [half.vocabulary.bos_id, 8]]
    read = [each.read(each.prepare(made.corpus.pool.paths, [0, 1]), prompts)[0] for each in (whole, half)]
    assert read[1] == pytest.approx(read[0], abs=0.1) and not (read[0] == read[1]).all()


def test_a_run_learns_from_it_and_holds_its_budget_of_tokens(learning, teacher):
    config = learning(teacher, captions=0, images=4, max_tokens=160, steps=3)
    made = prepared(config)
    longest = made.objective.distillation.longest_told()
    assert max(longest.values()) > max(
        len(r.token_ids) for rows in made.corpus.pool.conversations.values() for r in rows
    )
    for step in range(made.inputs.dealer.steps(1)):
        token_ids = made.inputs.batch(step).tensors["token_ids"]
        assert len(token_ids) * (token_ids.shape[1] + 1) <= 160
    assert train(config).is_dir()
    assert list(Path(config.data.cache).glob("answers-*.npy"))


def test_a_conversation_that_the_teacher_cannot_read_keeps_its_answer(learning, parts, tmp_path):
    made = prepared(learning(write_teacher(tmp_path / "short", parts, question_tokens=2)))
    assert made.objective.distillation.answers == {"sequences_0": {}}


def test_what_cannot_teach_is_refused_before_the_first_step(learning, parts, teacher, tmp_path):
    with pytest.raises(ConfigError, match=r"teacher has kind logits; allowed: sequences, in a stage with questions"):
        Trainer(learning(teacher, kind="logits"))
    with pytest.raises(ModelFileError, match="has another vocabulary"):
        Trainer(learning(teacher, kind="logits", questions=0, captions=1))
    silent = write_teacher(tmp_path / "silent", parts, question_tokens=0)
    with pytest.raises(ConfigError, match=r"silent reads no questions, and the stage has no captions; .*teachers\.0"):
        Trainer(learning(silent, captions=0))
    settings = {"prune": False, "question_tokens": 60}
    own, tokenizer = prefix_model(prefix_config(parts["words"], parts["eye"], **settings))
    save_checkpoint(tmp_path / "own", own.config, own.state_dict(), tokenizer)
    with pytest.raises(ModelFileError, match=r"has another vocabulary than .*teacher; allowed: one for all"):
        Trainer(learning(teacher, str(tmp_path / "own")))
