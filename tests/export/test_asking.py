"""Questions about a picture: the same answers from PyTorch, from graphs, alone and together, kept and computed anew."""

# ruff: noqa: E501

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fastcap.checkpoint import save_checkpoint
from fastcap.cli import main
from fastcap.cli.bench import measure_reading
from fastcap.eager import checkpoint_captioner
from fastcap.errors import ConfigError, ImageError, ModelFileError
from fastcap.export.compare import open_stepper
from fastcap.export.families import EXPORTS
from fastcap.export.writer import write_bundle
from fastcap.generation.autoregressive import Hypothesis, beam_search
from fastcap.runtime.answering import ANSWERING, Prompted
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.conversation import ASSISTANT, USER, Turn, read_turns
from fastcap.runtime.engine import answered
from tiny_parts import LANGUAGE_MODELS, changed, prefix_config, prefix_model, write_language_model, write_tower

pytest.importorskip("transformers")
pytest.importorskip("peft")

QUESTIONS = ["is there a red ball?", "a dog?", "what runs over the blue grass in the dark?"]
EARLIER = [Turn(USER, "is it dark?"), Turn(ASSISTANT, "there is one box")]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    folders = {family: write_language_model(root / family, family) for family in LANGUAGE_MODELS}
    return {**folders, "eye": write_tower(root / "eye")}


def config_of(parts, family="llama"):
    config = prefix_config(parts[family], parts["eye"], question_tokens=90)
    return dataclasses.replace(config, max_length=5)


def graphs_of(model, folder):
    EXPORTS["prefix"].parts(model, folder)
    EXPORTS["prefix"].assemble(folder, folder / "fp32", model.config)
    return folder / "fp32"


@pytest.fixture(scope="module")
def saved(parts, tmp_path_factory):
    """A checkpoint directory."""
    model, tokenizer = prefix_model(config_of(parts))
    folder = tmp_path_factory.mktemp("run") / "saved"
    save_checkpoint(folder, model.config, model.state_dict(), tokenizer)
    return folder


@pytest.fixture(scope="module")
def directory(parts, tmp_path_factory):
    """A model directory that answers."""
    model, tokenizer = prefix_model(config_of(parts))
    folder = tmp_path_factory.mktemp("asking")
    graphs = graphs_of(model, folder)
    write_bundle(folder / "tiny", graphs, tokenizer, model.config, name="tiny", answering=(2.0, 0.5))
    return folder / "tiny"


@pytest.fixture
def picture(pictures, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(pictures[0]).save(path)
    return path


def plainly(answers):
    return [(answer.question, answer.text, round(answer.confidence, 4)) for answer in answers]


# --- one run reads many tokens --------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("family", LANGUAGE_MODELS)
def test_many_tokens_in_one_go_are_those_tokens_one_by_one(family, parts, pictures, tmp_path):
    model, _ = prefix_model(config_of(parts, family))
    stepper = open_stepper(graphs_of(model, tmp_path), "prefix")
    image = stepper.encode(pictures[:1])
    prompts = [[1, 9, 8, 7, 6, 11], [1, 5], [1, 12, 30, 31]]
    log_p, state = stepper.read(image, prompts)
    after, _ = stepper.step(np.array([8, 9, 10]), state, np.arange(3))
    whole = model.decoder.prepare(model.encode(torch.from_numpy(pictures[:1])))
    torch_log_p, torch_state = model.stepper().read(whole, prompts)
    np.testing.assert_allclose(torch_log_p, log_p, atol=1e-4)
    torch_after, _ = model.stepper().step(np.array([8, 9, 10]), torch_state, np.arange(3))
    np.testing.assert_allclose(torch_after, after, atol=1e-4)
    for row, (prompt, newest) in enumerate(zip(prompts, (8, 9, 10), strict=True)):
        alone = stepper.start(image, 1)
        for token in prompt:
            expected, alone = stepper.step(np.array([token]), alone, np.array([0]))
        np.testing.assert_allclose(log_p[row], expected[0], atol=1e-5)
        expected, _ = stepper.step(np.array([newest]), alone, np.array([0]))
        np.testing.assert_allclose(after[row], expected[0], atol=1e-5)


@pytest.mark.parametrize("prompts", [[[1, 9, 8, 7]], [[1, 9, 8, 7, 6, 11], [1, 9, 8, 5], [1, 9, 8, 30, 31]]])
def test_tokens_that_all_prompts_begin_with_are_read_once(prompts, parts, pictures, tmp_path):
    model, _ = prefix_model(config_of(parts))
    stepper = open_stepper(graphs_of(model, tmp_path), "prefix")
    image = stepper.encode(pictures[:1])
    opened, lengths, run = stepper.start(image, 1, prompts[0][:3]), [], stepper._run
    stepper._run = lambda ids, *rest: (lengths.append(ids.shape[1]), run(ids, *rest))[1]
    rows, newest = np.arange(len(prompts)), np.array([8, 9, 10])[: len(prompts)]
    for expected, got in (
        (stepper.read(image, prompts), stepper.read(image, prompts, opened)),
        (stepper.read(image, [prompts[0]]), stepper.read(image, [prompts[0]], opened)),  # which is not used up
    ):
        np.testing.assert_allclose(got[0], expected[0], atol=1e-5)
        for wanted, found in zip(expected[1][1:], got[1][1:], strict=True):
            assert wanted.shape == found.shape
    (after, _), (expected_after, _) = (
        stepper.step(newest, stepper.read(image, prompts, *given)[1], rows) for given in ((opened,), ())
    )
    np.testing.assert_allclose(after, expected_after, atol=1e-5)
    longest = max(map(len, prompts))
    assert lengths[:2] == [longest, longest - 3]


def test_an_export_compares_how_questions_are_read(parts, pictures, tmp_path):
    model, _ = prefix_model(config_of(parts))
    graphs = graphs_of(model, tmp_path)
    searched, read = EXPORTS["prefix"].compare(model, graphs, pictures[:2])
    assert (searched.decode, read.decode) == ("beam-search", "questions")
    assert read.equal_captions == 1 and read.difference < 1e-4
    with torch.no_grad():
        model.decoder.embedding.weight[9:60] += 1  # another model than the graphs
    assert EXPORTS["prefix"].compare(model, graphs, pictures[:2])[1].difference > 1e-2


@torch.no_grad()
def test_hypotheses_of_several_questions_do_not_mix(parts, pictures):
    model, _ = prefix_model(config_of(parts))
    state, settings = (
        model.decoder.prepare(model.encode(torch.from_numpy(pictures[:1]))),
        model.limits(),
    )
    prompts = [[1, 9, 8, 7], [1, 5], [1, 12, 30]]
    together = beam_search(Prompted(model.stepper(), prompts, 2), state, 3, beams=3, **settings)
    for prompt, found in zip(prompts, together, strict=True):
        (alone,) = beam_search(Prompted(model.stepper(), [prompt], 2), state, 1, beams=3, **settings)
        assert [each.token_ids for each in found] == [each.token_ids for each in alone]
        np.testing.assert_allclose([each.score for each in found], [each.score for each in alone], atol=1e-4)


def test_answers_that_have_ended_are_not_computed_any_more():
    class Reading:
        """After prompt [n], n tokens 5 and the end mark 2; notes how many rows it computed."""

        computed: tuple[int, ...] = ()

        def read(self, image_state, prompts):
            return self.told(np.array([prompt[-1] for prompt in prompts]))

        def step(self, token_ids, state, parents):
            assert (token_ids == 5).all()
            return self.told(state[parents] - 1)

        def told(self, left):
            self.computed += (len(left),)
            log_p = np.full((len(left), 8), -9.0)
            log_p[np.arange(len(left)), np.where(left > 0, 5, 2)] = -0.1
            return log_p, left

    reader, settings = Reading(), {"max_length": 6, "bos_id": 1, "eos_id": 2, "min_length": 0, "forbidden": ()}
    found = beam_search(Prompted(reader, [[1, 0], [1, 1], [1, 1], [1, 1]], 2), None, 4, beams=1, **settings)
    assert [each[0].token_ids for each in found] == [[], [5], [5], [5]] and reader.computed == (4, 3)


# --- asking -----------------------------------------------------------------------------------------------------


def test_a_directory_answers_as_its_checkpoint_does(saved, directory, picture):
    graphs, model = Captioner.open(directory), checkpoint_captioner(saved)
    for beams in (1, 3):
        exported, eager = (each.ask(picture, QUESTIONS, beams=beams) for each in (graphs, model))
        assert [answer.text for answer in exported] == [answer.text for answer in eager]
    assert all(answer.text and 0 <= answer.confidence <= 1 and answer.milliseconds > 0 for answer in exported)
    assert str(exported[0]) == exported[0].text and exported[0].question == QUESTIONS[0]


def test_one_question_is_asked_as_one_of_many(directory, picture):
    captioner = Captioner.open(directory)
    together = captioner.ask(picture, QUESTIONS * 6)  # more than are read side by side
    assert plainly(together) == plainly(captioner.ask(picture, question) for question in QUESTIONS * 6)


def test_an_answer_depends_on_what_was_said_before(directory, picture):
    captioner = Captioner.open(directory)
    fresh, later = captioner.ask(picture, QUESTIONS[0]), captioner.ask(picture, QUESTIONS[0], history=EARLIER)
    assert fresh.text != later.text


def test_confidence_is_the_whole_answer_s_probability_calibrated_as_the_manifest_says(directory, picture):
    captioner = Captioner.open(directory)
    captioner._engine.answer = lambda *_: answered([Hypothesis([7, 8], 0.0, [-0.1, -0.2, -0.3])])
    logit = -0.6 - np.log1p(-np.exp(-0.6))
    assert captioner.ask(picture, "a dog?").confidence == pytest.approx(1 / (1 + np.exp(-2 * logit - 0.5)))


def test_the_words_of_marks_are_text(directory, picture):
    captioner = Captioner.open(directory)
    asked = captioner.ask(picture, "</s> a red ball <s>?")
    assert asked.text == captioner.ask(picture, "</s> a red ball <s>?").text


# --- kept pictures ----------------------------------------------------------------------------------------------


def counting(captioner):
    """How often the expensive step runs, in a list of one."""
    runs, encode = [0], captioner._engine._stepper.encode

    def counted(pixels):
        runs[0] += 1
        return encode(pixels)

    captioner._engine._stepper.encode = counted
    return runs


def test_a_picture_is_encoded_once_for_all_verbs_and_answers_stay_the_same(directory, picture):
    plain, keeping = Captioner.open(directory), Captioner.open(directory, keep=2)
    runs = counting(keeping)
    for _ in range(2):
        assert plainly(keeping.ask(picture, QUESTIONS)) == plainly(plain.ask(picture, QUESTIONS))
        caption, other = keeping.caption(picture.read_bytes()), plain.caption(picture)
        assert (caption.text, caption.confidence) == (other.text, other.confidence)  # to the bit
        np.testing.assert_array_equal(keeping.embed_images([picture]), plain.embed_images([picture]))
    assert runs == [1]
    assert keeping.encode(picture) is keeping.prepare(picture)


@pytest.mark.parametrize("first", [1, 6])  # its own reading leaves what is needed; or that is read by itself
def test_what_stands_before_every_question_is_read_once_a_picture(directory, picture, first):
    captioner = Captioner.open(directory)
    photo, lengths, run = captioner.encode(picture), [], captioner._engine._stepper._run
    captioner._engine._stepper._run = lambda ids, *rest: (lengths.append(ids.shape[1]), run(ids, *rest))[1]
    apart = plainly(captioner.ask(picture, question) for question in QUESTIONS)
    read = [length for length in lengths if length > 1]
    lengths.clear()
    captioner.ask(photo, [QUESTIONS[1]] * first)
    lengths.clear()
    assert plainly(captioner.ask(photo, question) for question in QUESTIONS) == apart
    shorter = [length for length in lengths if length > 1]
    saved = {before - after for before, after in zip(read, shorter, strict=True)}
    assert len(saved) == 1 and saved.pop() > 1  # the begin mark, and "question:"


def test_the_picture_asked_for_longest_ago_goes_first(directory, pictures):
    captioner = Captioner.open(directory, keep=2)
    runs = counting(captioner)
    for index in (0, 1, 0, 2, 0, 1):  # 2 drives 1 out
        captioner.ask(pictures[index], QUESTIONS[0])
    assert runs == [4] and len(captioner._kept) == 2


def test_a_name_whose_picture_changes_is_not_stale(directory, picture, pictures):
    captioner = Captioner.open(directory, keep=4)
    first = captioner.embed_images([picture])
    Image.fromarray(pictures[5]).save(picture)
    assert not np.array_equal(first, captioner.embed_images([picture]))


def test_a_smaller_limit_is_not_passed_by_way_of_what_is_kept(directory, picture):
    captioner = Captioner.open(directory, keep=4)
    captioner.prepare(picture)
    with pytest.raises(ImageError, match="megapixels"):
        captioner.prepare(picture, 100)


@pytest.mark.parametrize("count", [-1, 1025, 1.5, True])
def test_a_number_of_kept_pictures_is_checked(directory, count):
    with pytest.raises(ConfigError, match="keep is"):
        Captioner.open(directory, keep=count)


# --- bad input --------------------------------------------------------------------------------------------------

BAD = [
    ("", "the question is empty"),
    ("  ?! ", "the question holds no words"),
    ("x" * 10_000, "the question has 10,000 characters"),
    ("why " * 150, r"the question has \d+ tokens; model 'tiny' reads at most 90"),
    ("<image> a ball <image>", "<image> stands 2 times"),
    (7, "needed: a list of questions"),
    ([], "got 0 questions"),
    (["a ball?", None], "question 1 is None; needed: a text"),
]


@pytest.mark.parametrize(("questions", "told"), BAD)
def test_a_bad_question_is_one_clear_line(directory, picture, questions, told):
    with pytest.raises(ConfigError, match=told) as error:
        Captioner.open(directory).ask(picture, questions)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("history", "told"),
    [
        ([Turn(USER, "a ball?")], "the conversation ends with the user; needed: that it ends with an answer"),
        ([Turn("narrator", "once")], "turn 0 has the role 'narrator'; allowed: human, user, gpt, assistant"),
        ([("user",)], r"turn 0 is \('user',\); needed: a role and a text"),
        (["a ball"], "turn 0 is 'a ball'; needed: a role and a text"),
        ([{"from": "human"}], "turn 0 has no 'value'"),
        ([Turn(USER, "a ball?"), Turn(ASSISTANT, 3)], "turn 1"),
        ("a ball", "needed: a list of turns"),
    ],
)
def test_a_bad_conversation_is_one_clear_line(directory, picture, history, told):
    with pytest.raises(ConfigError, match=told):
        Captioner.open(directory).ask(picture, "a dog?", history=history)


def test_a_model_that_was_not_trained_to_answer_says_where_to_read_on():
    captioner = Captioner.open("fastcap-base")
    with pytest.raises(
        ConfigError, match=r"fastcap-base' writes captions and answers no questions; .*docs/fastvlm\.md"
    ):
        captioner.ask("no such file", "a dog?")


def test_manifest_and_settings_are_checked(directory, parts, tmp_path):
    values = json.loads((directory / "model.json").read_text())
    assert values["questions"] == {"template": "question: {question} answer:", "tokens": 90, "scale": 2, "offset": 0.5}
    for changes, told in (
        ({"template": "no place"}, "questions.template"),
        ({"tokens": 0}, "questions.tokens"),
        ({"scale": -1}, "questions.scale"),
        ({"colour": 1}, "unknown key 'questions.colour'"),
    ):
        broken = {**values, "questions": {**values["questions"], **changes}}
        folder = tmp_path / told.replace(" ", "")
        folder.mkdir()
        (folder / "model.json").write_text(json.dumps(broken))
        with pytest.raises(ModelFileError, match=told):
            Bundle.open(folder)
    with pytest.raises(ConfigError, match=r"prompt is 'a photo'; allowed: ''"):
        changed(config_of(parts), prompt="a photo")
    with pytest.raises(ConfigError, match="question_tokens is 120; allowed: at most 117"):
        prefix_model(changed(config_of(parts, "gpt2"), question_tokens=120))


# --- the command and the server -----------------------------------------------------------------------------------


def test_the_command_answers(directory, picture, tmp_path, capsys):
    line = ["ask", str(picture), *QUESTIONS, "--model", str(directory)]
    expected = Captioner.open(directory).ask(picture, QUESTIONS)
    assert main(line) == 0
    assert capsys.readouterr().out.splitlines() == [answer.text for answer in expected]
    (tmp_path / "before.json").write_text(json.dumps([{"from": turn.role, "value": turn.text} for turn in EARLIER]))
    assert main([*line, "--json", "--conversation", str(tmp_path / "before.json")]) == 0
    rows = [json.loads(row) for row in capsys.readouterr().out.splitlines()]
    assert [row["question"] for row in rows] == QUESTIONS and all(
        row.keys() >= {"answer", "confidence"} for row in rows
    )


def test_a_picture_may_come_through_standard_input(directory, picture, capsys, monkeypatch):
    line = ["ask", "-", "a dog?", "--model", str(directory)]
    with picture.open("rb") as stream:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=stream))
        assert main(line) == 0
    assert capsys.readouterr().out.strip() == Captioner.open(directory).ask(picture, "a dog?").text
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=SimpleNamespace(isatty=lambda: True)))
    assert main(line) == 1
    assert "is a terminal; pipe a picture into it: fastcap ask - < photo.jpg" in capsys.readouterr().err


def test_without_a_model_the_one_that_was_built_is_asked(directory, saved, picture, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit:
        main(["ask", str(picture), "a dog?"])
    assert exit.value.code == 2
    told = capsys.readouterr().err
    assert "no models/fastvlm-base nor models/fastvlm-tiny" in told and told.count("\n") == 1
    for name in ("fastvlm-tiny", "fastvlm-base"):  # the larger, where both are there
        shutil.copytree(directory, tmp_path / "models" / name)
        assert main(["ask", str(picture), "a dog?"]) == 0
        answered = capsys.readouterr()
        assert answered.out.strip() == Captioner.open(directory).ask(picture, "a dog?").text
        assert answered.err == f"fastcap: asking models/{name}\n"
    assert main(["ask", str(picture), "a dog?", "--model", str(saved)]) == 0  # a checkpoint
    assert capsys.readouterr().out == answered.out


def test_a_model_that_only_captions_says_how_to_get_one_that_answers(picture, monkeypatch, tmp_path):
    captioner = Captioner.open("fastcap-base")
    with pytest.raises(ConfigError, match=r"'fastcap build fastvlm-base' \(.*'fastcap build fastvlm-tiny' \("):
        captioner.ask(picture, "a dog?")
    monkeypatch.setattr("fastcap.runtime.answering.ADAPTERS", tmp_path)  # as a wheel leaves them out
    with pytest.raises(ConfigError, match="how one that does is trained"):
        captioner.ask(picture, "a dog?")


@pytest.mark.parametrize(("name", "file"), [("fastvlm-base", "fastvlm"), ("fastvlm-tiny", "fastvlm_tiny")])
def test_what_is_said_of_a_model_that_can_be_built_was_measured(name, file):
    results = Path(__file__).parents[2] / "benchmarks" / "results" / "recorded" / f"{file}.json"
    measured = json.loads(results.read_text())
    shares = [f"{measured[kind]['accuracy']['model']:.0f} %" for kind in ("existence", "open")]
    assert re.findall(r"\d+ %", ANSWERING[name]) == shares


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["nowhere.png", "a dog?"], 1, "no such file"),
        (["PICTURE", ""], 2, "the question is empty"),
        (["PICTURE", "x" * 10_000], 2, "10,000 characters"),
        (["PICTURE"], 2, "QUESTION"),
        (["PICTURE", "a dog?", "--conversation", "BAD"], 2, "has the role 'narrator'"),
    ],
)
def test_the_command_refuses_in_one_line(directory, picture, tmp_path, capsys, words, status, told):
    (tmp_path / "bad.json").write_text('[{"from": "narrator", "value": "once"}]')
    places = {"PICTURE": str(picture), "BAD": str(tmp_path / "bad.json")}
    line = ["ask", *(places.get(word, word) for word in words), "--model", str(directory)]
    try:
        returned = main(line)
    except SystemExit as exit:
        returned = exit.code
    assert returned == status and told in capsys.readouterr().err


def test_the_server_answers_and_keeps_pictures(directory, picture):
    testing = pytest.importorskip("fastapi.testclient")
    from fastcap.serve.app import create_app

    captioner = Captioner.open(directory, keep=4)
    runs = counting(captioner)
    expected = Captioner.open(directory).ask(picture, QUESTIONS)
    image = {"image": ("photo.png", picture.read_bytes())}
    before = json.dumps([{"role": turn.role, "content": turn.text} for turn in EARLIER])
    with testing.TestClient(create_app(captioner)) as client:
        for _ in range(2):
            answer = client.post("/v1/ask", files=image, data={"question": QUESTIONS}).json()
            assert (answer["model"], answer["image"]) == ("tiny", "photo.png") and answer["milliseconds"] > 0
            assert [(row["question"], row["answer"]) for row in answer["answers"]] == [
                (each.question, each.text) for each in expected
            ]
        assert client.post("/v1/caption", content=picture.read_bytes()).status_code == 200
        assert runs == [1]
        later = client.post("/v1/ask", files=image, data={"question": QUESTIONS[:1], "conversation": before}).json()
        assert later["answers"][0]["answer"] != answer["answers"][0]["answer"]
        for data, files, told in (
            ({"question": ""}, image, "the question is empty"),
            ({"question": "x" * 10_000}, image, "10,000 characters"),
            ({"question": "x" * 20_000}, image, "more than 16384 bytes"),
            ({}, image, "1 picture and 0 questions; allowed are one file 'image' and 1 to 64 texts 'question'"),
            ({"question": "a dog?"}, {"image": ("a.png", b"none")}, "a.png: holds text"),
            ({"question": "a dog?", "conversation": "{"}, image, "conversation is no JSON"),
            ({"question": "a dog?", "conversation": before[:-1] + ",{}]"}, image, "turn 2 has no 'role'"),
            ({"question": "a dog?", "conversation": "[]", "text": "a"}, image, "a text 'text'; allowed are"),
        ):
            refused = client.post("/v1/ask", files=files, data=data)
            assert refused.status_code in (400, 422) and told in refused.json()["error"], refused.text
    with testing.TestClient(create_app(Captioner.open("fastcap-base"))) as client:
        refused = client.post("/v1/ask", files=image, data={"question": "a dog?"})
        assert refused.status_code == 422 and "docs/fastvlm.md" in refused.json()["error"]


def said(*turns: tuple[str, object]) -> list[dict[str, object]]:
    return [{"role": role, "content": content} for role, content in turns]


ANSWERED = ("user", "is it <image> dark?"), ("assistant", "yes")
EVERYWHERE = {
    "no picture": ("", "a dog?", None, ""),
    "no such picture": ("nowhere.png", "a dog?", None, "nowhere.png"),
    "unreadable picture": ("BAD", "a dog?", None, "holds text"),
    "half a picture": ("HALF", "a dog?", None, "half.png"),
    "empty question": ("PHOTO", " ?", None, "the question holds no words"),
    "long question": ("PHOTO", "x" * 10_000, None, "10,000 characters"),
    "ends with the user": ("PHOTO", "a dog?", said(("user", "is it dark?")), "the conversation ends with the user"),
    "begins with the assistant": ("PHOTO", "a dog?", said(("assistant", "yes"), ("user", "why?")), "turn 0 is the assistant's"),
    "unknown role": ("PHOTO", "a dog?", said(("narrator", "once")), "has the role 'narrator'; allowed: human, user, gpt, assistant"),
    "two marks": ("PHOTO", "a <image> dog?", said(*ANSWERED), "<image> stands 2 times in a conversation about one picture"),
    "an answer that is no text": ("PHOTO", "a dog?", said(("user", "dark?"), ("assistant", 3)), "turn 1 is the int 3; needed: a text"),
    "a list for an answer": ("PHOTO", "a dog?", said(("user", "dark?"), ("assistant", ["yes"])), "turn 1 is a value of type list; needed: a text"),
    "an empty answer": ("PHOTO", "a dog?", said(("user", "dark?"), ("assistant", " ")), "turn 1, an answer, is empty"),
    "no list": ("PHOTO", "a dog?", {"a": 1}, "turns"),
}  # fmt: skip


@pytest.mark.parametrize("case", EVERYWHERE)
def test_bad_input_is_one_clear_line_wherever_it_comes_in(case, directory, picture, tmp_path, capsys):
    testing = pytest.importorskip("fastapi.testclient")
    from fastcap.serve.app import create_app

    image, question, turns, told = EVERYWHERE[case]
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "half.png").write_bytes(picture.read_bytes()[:60])
    (tmp_path / "turns.json").write_text(json.dumps(turns))
    path = {"PHOTO": picture, "BAD": tmp_path / "bad.png", "HALF": tmp_path / "half.png"}.get(image, image)

    captioner = Captioner.open(directory)
    with pytest.raises((ConfigError, ImageError)) as error:
        captioner.ask(path, question, history=read_turns(turns) if turns is not None else ())
    lines = [str(error.value)]

    words = ["ask", str(path), question, "--model", str(directory)]
    words += ["--conversation", str(tmp_path / "turns.json")] if turns is not None else []
    try:
        status = main(words)
    except SystemExit as exit:
        status = exit.code
    printed = capsys.readouterr()
    assert status == (1 if isinstance(error.value, ImageError) else 2) and not printed.out
    lines.append(printed.err.strip())

    with testing.TestClient(create_app(captioner)) as client:
        sent = {"image": (path.name, path.read_bytes())} if isinstance(path, Path) else None
        form = {"question": question} | ({"conversation": json.dumps(turns)} if turns is not None else {})
        answer = client.post("/v1/ask", files=sent, data=form)
        assert answer.status_code in (400, 415, 422)
        lines += [answer.json()["error"]] if sent else []
    assert all(told in line and "\n" not in line for line in lines), lines


def test_the_benchmark_measures_words_questions_and_operators(directory, picture, tmp_path):
    result = measure_reading(Bundle.open(directory), picture, 2, tmp_path)
    asking = result["asking"]
    assert 0 < asking["second"]["p50_ms"] < asking["first"]["p50_ms"] < asking["ten"]["p50_ms"]
    assert asking["times_first"]["second"] == pytest.approx(
        asking["second"]["p50_ms"] / asking["first"]["p50_ms"], 0.01
    )
    assert result["decoding"]["first_token"]["p50_ms"] > 0 and result["decoding"]["tokens_per_second"] > 1
    assert result["reading"] == {"tokens_kept": 4, "tokens": 16}
    assert {row["graph"] for row in result["operators"]} == {
        "vision_encoder.onnx", "projection.onnx", "prefix_init.onnx", "language_model.onnx"}  # fmt: skip
