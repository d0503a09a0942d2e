"""Captions made neutral: by rules, and by a language model behind an endpoint that fails in every way one can."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fastcap.cli import main
from fastcap.curation.bias import CATEGORIES, mentions
from fastcap.curation.endpoint import Answers, Endpoint
from fastcap.curation.rewrite import rewrite_captions
from fastcap.curation.rules import rewrite_by_rules
from fastcap.curation.tables import read_table, write_table
from fastcap.errors import ConfigError, DataError, FastcapError

# --- rules


@pytest.mark.parametrize(
    ("caption", "text"),
    [
        ("A man hugs her and smiles.", "A person hugs them and smiles."),
        ("An elderly Japanese woman sells persimmons.", "An elderly person sells persimmons."),
        ("Two Italians argue about football.", "Two people argue about football."),
        ("A black dog and a black lawyer wait.", "A black dog and a lawyer wait."),
        ("Black and white players shake hands.", "Players shake hands."),
        ("The French cheer in the streets.", "The people cheer in the streets."),
        ("A Buddhist nun reads.", "A person reads."),
        ("An American waves.", "A person waves."),
        ("A person of Asian descent paints.", "A person paints."),
        ("African-American singers bow.", "Singers bow."),
        ("A gay couple cuts a cake.", "A couple cuts a cake."),
        ("A tall, German tourist yawns.", "A tall tourist yawns."),
        ("A Mexican artist paints.", "An artist paints."),
        ("A Catholic priest blesses a boat.", "A priest blesses a boat."),
        ("French fries and an Indian elephant.", "French fries and an Indian elephant."),
        ("A blind child reads.", "A blind child reads."),
    ],
)
def test_what_a_photograph_does_not_tell_is_left_out(caption, text):
    assert rewrite_by_rules(caption) == text


@pytest.mark.parametrize("caption", ["The tourist is Turkish.", "A black and a white lawyer shake hands."])
def test_what_no_rule_is_certain_of_stays_and_is_named(caption):
    (one,) = rewrite_captions([caption])
    assert one.caption == caption and one.mentions_left and not one.passes and one.written_by == "nobody"


def test_categories_can_be_chosen():
    assert rewrite_by_rules("A blind German boy runs.", ["disability"]) == "A German boy runs."
    assert rewrite_by_rules("A blind German boy runs.", ["gender"]) == "A blind German child runs."
    assert rewrite_by_rules("A girl with autism paints.", ["disability"]) == "A girl paints."
    with pytest.raises(ConfigError, match=r"got 'nation'.*did you mean 'nationality'"):
        rewrite_by_rules("x", ["nation"])


def test_a_second_rewriting_changes_nothing_and_no_sentence_gains_a_mention():
    path = Path(__file__).with_name("bias_sentences.txt")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    for line in lines:
        caption = "".join(part.partition("|")[0] for part in line.replace("]", "[").split("["))
        once = rewrite_by_rules(caption)
        assert rewrite_by_rules(once) == once
        added = {m.category for m in mentions(once)} - {m.category for m in mentions(caption)}
        assert added <= {"age"}, once  # a daughter is a child
        assert "  " not in once and " ," not in once and " ." not in once, once


def test_every_row_is_checked():
    (one,) = rewrite_captions(["An image of a priest."])
    assert (one.mentions_left, one.lint, one.passes) == (("religion: priest",), ("preamble",), False)


# --- tables


@pytest.mark.parametrize("name", ["captions.csv", "captions.tsv", "captions.jsonl"])
def test_the_command_keeps_every_row_with_its_original(tmp_path, capsys, name):
    rows = [
        {"image": "1.jpg", "caption": 'A German boy, "laughing"\twaves.', "n": "7"},
        {"image": "2.jpg", "caption": "A dog runs.\nFast.", "n": ""},
    ]
    write_table(tmp_path / name, rows)
    out = tmp_path / "out" / name
    assert main(["data", "rewrite", str(tmp_path / name), "--out", str(out)]) == 0
    written = read_table(out)
    assert [row["original"] for row in written] == [row["caption"] for row in rows]
    assert [row["caption"] for row in written] == ['A child, "laughing"\twaves.', "A dog runs.\nFast."]
    assert [(row["image"], row["n"]) for row in written] == [("1.jpg", "7"), ("2.jpg", "")]
    assert [row["written_by"] for row in written] == ["rules", "nobody"]
    assert "2 captions, 1 changed" in capsys.readouterr().out
    assert main(["data", "bias", str(out)]) == 0
    with pytest.raises(SystemExit):
        main(["data", "rewrite", str(out), "--out", str(tmp_path / "again.csv")])
    assert "rewritten before" in capsys.readouterr().err


def test_a_folder_is_rewritten_too(tmp_path):
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "train.jsonl").write_text('{"image": "a.png", "caption": "A man runs."}\n')
    assert main(["data", "rewrite", str(tmp_path), "--out", str(tmp_path / "out.csv")]) == 0
    (row,) = read_table(tmp_path / "out.csv")
    assert (row["image"], row["caption"], row["original"]) == ("a.png", "A person runs.", "A man runs.")


@pytest.mark.parametrize("verb", ["rewrite", "bias", "prompts", "questions"])
def test_rows_of_a_folder_that_cannot_be_used_are_told(tmp_path, capsys, verb):
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    rows = [{"image": "a.png", "caption": "A man runs."}, {"image": "a.png", "caption": 7}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = [] if verb == "bias" else ["--out", str(tmp_path.parent / f"{tmp_path.name}.jsonl")]
    with contextlib.suppress(SystemExit):
        main(["data", verb, str(tmp_path), "--split", "train", *out])
    told = capsys.readouterr().err
    assert "1 of 2 rows cannot be used and are left out" in told
    assert "train.jsonl:2: the caption is int, not text" in told


def test_a_rewritten_data_set_is_not_advised_to_be_rewritten(tmp_path):
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    for caption, advised in (("A woman runs.", True), ("A child runs.", False)):
        (tmp_path / "train.jsonl").write_text(json.dumps({"image": "a.png", "caption": caption}) + "\n")
        assert main(["data", "report", str(tmp_path), "--out", str(tmp_path / "report"), "--model", "none"]) == 0
        summary = json.loads((tmp_path / "report" / "quality_summary.json").read_text())
        assert any("data rewrite" in line for line in summary["next"]) == advised


def test_a_rewritten_folder_is_a_data_set_elsewhere_too(tmp_path, capsys):
    from PIL import Image

    source, out = tmp_path / "source", tmp_path / "neutral" / "train.jsonl"
    (source / "images").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(source / "images" / "a.png")
    (source / "train.jsonl").write_text('{"image": "images/a.png", "caption": "A man runs."}\n')
    assert main(["data", "rewrite", str(source), "--out", str(out)]) == 0
    assert main(["data", "report", str(out.parent), "--out", str(tmp_path / "report"), "--model", "none"]) == 0
    summary = json.loads((tmp_path / "report" / "quality_summary.json").read_text())
    assert summary["unreadable"]["count"] == 0
    assert summary["bias"]["categories"]["gender"]["captions"] == 0
    assert summary["bias"]["originals"]["gender"]["captions"] == 1


@pytest.mark.parametrize(
    ("name", "content", "told", "status"),
    [
        ("a.txt", "caption\nx\n", "allowed: .jsonl", 2),
        ("a.csv", "", "no rows", 1),
        ("a.csv", "title\nx\n", "no column 'caption' or", 2),
        ("a.csv", "caption,n\nx\n", "a.csv:2: 2 columns are named", 1),
        ("a.jsonl", "{}x\n", "a.jsonl:1: no JSON", 1),
        ("a.jsonl", "[]\n", "got a list", 1),
        ("a.jsonl", '{"caption": "x"}\n{"caption": 3}\n', "row 2: 'caption' is 3; needed: text", 1),
        ("a.csv", b"caption\n\xff\n", "byte 8 is not UTF-8", 1),
    ],
)
def test_a_table_that_is_none_is_told_in_one_line(tmp_path, capsys, name, content, told, status):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    line = ["data", "rewrite", str(path), "--out", str(tmp_path / "out.csv")]
    if status == 2:
        with pytest.raises(SystemExit, match="2"):
            main(line)
    else:
        assert main(line) == status
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert not (tmp_path / "out.csv").exists()


# --- an endpoint


class Server:
    """A local chat endpoint; `answer` makes a status and a body of each list of captions."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.keys: list[str | None] = []
        self.answer: Callable[[list[str]], tuple[int, Any]] = lambda captions: (200, [c.upper() for c in captions])
        self.headers: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                captions = json.loads(body["messages"][1]["content"])
                outer.asked.append(captions)
                outer.keys.append(self.headers["Authorization"])
                status, answer = outer.answer(captions)
                if isinstance(answer, list):
                    message = {"message": {"content": json.dumps(answer)}}
                    answer = {"choices": [message], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):  # whoever asked may have given up
                    self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


def endpoint(server: Server, waited: list[float], **settings: Any) -> Endpoint:
    return Endpoint(server.url, "tiny", "Rewrite.", sleep=waited.append, **settings)


CAPTIONS = ["A man runs.", "A dog sleeps.", "A man runs.", "Two women sing."]


def test_only_what_needs_it_is_asked_once_in_batches_with_the_key(server, tmp_path):
    model = endpoint(server, [], key="secret")
    answers = Answers(tmp_path / "answers.jsonl", model)
    found = rewrite_captions(CAPTIONS, endpoint=model, answers=answers, batch=1)
    assert server.asked == [["A man runs."], ["Two women sing."]] and set(server.keys) == {"Bearer secret"}
    assert [one.caption for one in found] == ["A MAN RUNS.", "A dog sleeps.", "A MAN RUNS.", "TWO WOMEN SING."]
    assert [one.written_by for one in found] == ["tiny", "nobody", "tiny", "tiny"]
    assert found[0].mentions_left == ("gender: MAN",) and found[0].mentions_added == ()
    assert (model.usage.requests, model.usage.prompt_tokens, model.usage.completion_tokens) == (2, 200, 20)
    assert model.usage.cost((1.0, 10.0)) == pytest.approx(0.0004)
    again = endpoint(server, [], key="secret")
    assert rewrite_captions(CAPTIONS, endpoint=again, answers=Answers(answers.path, again), batch=1) == found
    assert len(server.asked) == 2  # all was known


def test_a_model_that_guesses_is_found_out(server, tmp_path):
    server.answer = lambda captions: (200, ["A German person runs."] * len(captions))
    model = endpoint(server, [])
    (one,) = rewrite_captions(CAPTIONS[:1], endpoint=model, answers=Answers(tmp_path / "a.jsonl", model))
    assert one.mentions_added == ("nationality: German",) and not one.passes


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "answers 401 (bad key); is the key in the variable that --key-env names?"),
        (403, "answers 403"),
        (404, "answers 404 (bad key); is the address that of the API"),
        (422, "answers 422"),
    ],
)
def test_a_refusal_is_told_at_once(server, tmp_path, status, told):
    server.answer = lambda captions: (status, {"error": {"message": "bad\nkey"}})
    waited: list[float] = []
    model = endpoint(server, waited, key="secret")
    with pytest.raises(FastcapError) as caught:
        rewrite_captions(CAPTIONS, endpoint=model, answers=Answers(tmp_path / "a.jsonl", model))
    assert told in str(caught.value) and "secret" not in str(caught.value)
    assert len(server.asked) == 1 and waited == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_asked_again_and_waits_as_it_is_told(server, tmp_path, status):
    server.headers = {"Retry-After": "7"} if status == 429 else {}
    statuses = iter([status, status])
    server.answer = lambda captions: (code, b"") if (code := next(statuses, 200)) != 200 else (200, captions)
    waited: list[float] = []
    model = endpoint(server, waited)
    rewrite_captions(CAPTIONS, endpoint=model, answers=Answers(tmp_path / "a.jsonl", model))
    assert waited == ([7, 7] if status == 429 else [1, 2]) and model.usage.retries == 2


def test_what_does_not_pass_is_given_up_and_what_is_done_is_kept(server, tmp_path):
    server.answer = lambda captions: (200, captions) if captions == ["A man runs."] else (500, b"oops")
    waited: list[float] = []
    model = endpoint(server, waited, retries=2)
    answers = Answers(tmp_path / "a.jsonl", model)
    with pytest.raises(FastcapError, match="answers 500; gave up after 3 tries"):
        rewrite_captions(CAPTIONS, endpoint=model, answers=answers, batch=1)
    assert Answers(answers.path, model).get("A man runs.") == "A man runs."
    with answers.path.open("a") as file:
        file.write('{"key": "cut sho')  # as a kill leaves it
    server.asked.clear()
    server.answer = lambda captions: (200, captions)
    rewrite_captions(CAPTIONS, endpoint=model, answers=Answers(answers.path, model), batch=1)
    assert server.asked == [["Two women sing."]]


def test_a_server_that_is_silent_or_away_is_given_up(server, tmp_path):
    gone = threading.Event()
    server.answer = lambda captions: ((gone.wait(5) and 200) or 200, captions)
    model = endpoint(server, [], timeout=0.1, retries=1)
    with pytest.raises(FastcapError, match="timed out; gave up after 2 tries"):
        rewrite_captions(CAPTIONS, endpoint=model, answers=Answers(tmp_path / "a.jsonl", model))
    gone.set()
    away = Endpoint("http://127.0.0.1:9/v1", "tiny", "x", retries=0)
    with pytest.raises(FastcapError, match="refused; gave up after 1 tries"):
        rewrite_captions(CAPTIONS, endpoint=away, answers=Answers(tmp_path / "b.jsonl", away))


def test_a_redirect_is_refused_as_it_would_carry_the_key(server, tmp_path):
    server.headers = {"Location": "http://127.0.0.1:9/"}
    server.answer = lambda captions: (307, b"")
    model = endpoint(server, [], key="secret")
    with pytest.raises(FastcapError, match="answers 307"):
        rewrite_captions(CAPTIONS, endpoint=model, answers=Answers(tmp_path / "a.jsonl", model))


@pytest.mark.parametrize(
    "answer",
    [
        b"no json",
        b"[1]",
        {"choices": []},
        {"choices": [{"message": {"content": None}}]},
        {"choices": [{"message": {"content": "Sure! Here you are"}}]},
        {"choices": [{"message": {"content": '["one too", "many", "by far"]'}}]},
        {"choices": [{"message": {"content": "[1, 2]"}}]},
        {"choices": [{"message": {"content": '["", ""]'}}]},
        {"choices": [{"message": {"content": "[" * 100_000}}]},
    ],
)
def test_odd_answers_leave_the_original_and_say_so(server, tmp_path, answer):
    server.answer = lambda captions: (200, answer)
    model = endpoint(server, [])
    found = rewrite_captions(CAPTIONS, endpoint=model, answers=Answers(tmp_path / "a.jsonl", model))
    assert [one.caption for one in found] == CAPTIONS
    assert [bool(one.problem) for one in found] == [True, False, True, True]


def test_a_batch_that_is_odd_is_asked_in_halves(server, tmp_path):
    server.answer = lambda captions: (200, captions if len(captions) == 1 else [])
    model = endpoint(server, [])
    found = rewrite_captions(CAPTIONS, endpoint=model, answers=Answers(tmp_path / "a.jsonl", model))
    assert not any(one.problem for one in found)
    assert [len(captions) for captions in server.asked] == [2, 2, 1, 1]


@pytest.mark.parametrize("content", ['```json\n["a b"]\n```', '{"captions": ["a  b"]}', ' ["a\\nb"] '])
def test_fences_and_objects_around_the_list_are_understood(server, tmp_path, content):
    server.answer = lambda captions: (200, {"choices": [{"message": {"content": content}}]})
    assert endpoint(server, []).rewrite(["x"]) == ["a b"]


def test_the_command_asks_tells_the_cost_and_goes_on(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TINY_KEY", "secret")
    table = tmp_path / "in.jsonl"
    write_table(table, [{"caption": caption} for caption in CAPTIONS])
    out = tmp_path / "out.jsonl"
    line = ["data", "rewrite", str(table), "--out", str(out), "--endpoint", server.url, "--model", "tiny"]
    line += ["--key-env", "TINY_KEY", "--price-in", "1", "--price-out", "10", "--batch", "1"]
    assert main([*line, "--dry-run"]) == 0
    assert "2 of 4 captions in 2 requests" in capsys.readouterr().out and not server.asked
    server.answer = lambda captions: (200, ["A person does it."]) if "man" in captions[0] else (401, {})
    assert main(line) == 1 and not out.exists()
    assert "answers 401" in capsys.readouterr().err
    server.answer = lambda captions: (200, ["People sing."])
    assert main(line) == 0
    assert server.keys[0] == "Bearer secret"
    assert [row["caption"] for row in read_table(out)] == [
        "A person does it.",
        CAPTIONS[1],
        "A person does it.",
        "People sing.",
    ]
    told = capsys.readouterr().out
    server.answer = lambda captions: (200, [])
    again = tmp_path / "again.jsonl"
    assert main([*line[:4], str(again), *line[5:]]) == 1  # the table is there, with what was not rewritten
    assert all(row["problem"] for row in read_table(again) if row["original"] not in (CAPTIONS[1], ""))
    assert "1 requests" in told and "100 tokens asked and 10 answered, cost 0.0002" in told and "secret" not in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--endpoint", "ftp://x", "--model", "m"], "endpoint 'ftp://x'; needed"),
        (["--endpoint", "http://x"], "--endpoint needs --model"),
        (["--model", "m"], "need --endpoint"),
        (["--price-in", "cheap"], "allowed are numbers of 0 or more"),
        (["--categories", "gender,hair"], f"allowed: {', '.join(CATEGORIES)}"),
    ],
)
def test_misuse_is_one_line(tmp_path, capsys, options, told):
    write_table(tmp_path / "in.csv", [{"caption": "x"}])
    with pytest.raises(SystemExit, match="2"):
        main(["data", "rewrite", str(tmp_path / "in.csv"), "--out", str(tmp_path / "out.csv"), *options])
    assert told in capsys.readouterr().err


def test_answers_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("hello\n")
    with pytest.raises(DataError, match=r"a\.jsonl:1: no answer that this command has kept"):
        Answers(path, Endpoint("http://x", "m", "p"))
