"""What the routes answer: options, several pictures, errors, metrics."""

from __future__ import annotations

import base64
import http.client
import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from fastcap.data.own import own_pictures
from fastcap.runtime.bulk.learn import learn
from fastcap.runtime.captioner import Captioner


@pytest.fixture(scope="session")
def captioner(tiny_bundle: Path) -> Captioner:
    return Captioner.open(tiny_bundle)


def form(*parts: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("image", part) for part in parts]


def test_a_body_or_a_form_gives_the_same_caption_as_the_library(client, captioner, pictures):
    expected = captioner.caption(pictures["red"])
    raw = client.post("/v1/caption", content=pictures["red"]).json()
    sent = client.post("/v1/caption", files=form(("barn.jpg", pictures["red"]))).json()
    assert raw["model"] == sent["model"] == "tiny"
    assert raw["images"][0].pop("milliseconds") > 0
    assert raw["images"] == [
        {"image": "body", "caption": expected.text, "confidence": pytest.approx(expected.confidence, abs=1e-4)}
    ]
    assert sent["images"][0]["image"] == "barn.jpg"
    assert sent["images"][0]["caption"] == expected.text


@pytest.mark.parametrize("options", [{"length": "long"}, {"length": 7}, {"candidates": 3}, {"neutral": True}])
def test_options_do_what_they_do_in_the_library(client, captioner, pictures, options):
    expected = captioner.caption(pictures["blue"], **options)
    row = client.post("/v1/caption", content=pictures["blue"], params=options).json()["images"][0]
    assert row["caption"] == expected.text
    wordings = [wording["caption"] for wording in row.get("candidates", [{"caption": expected.text}])]
    assert wordings == [candidate.text for candidate in expected.candidates]


def test_below_the_least_confidence_a_caption_is_empty_and_above_it_may_be_hedged(client, captioner, pictures):
    expected = captioner.caption(pictures["blue"])

    def row(**options: float) -> dict:
        return client.post("/v1/caption", content=pictures["blue"], params=options).json()["images"][0]

    silent = row(min_confidence=1)
    assert (silent["caption"], silent["confidence"]) == ("", pytest.approx(expected.confidence, abs=1e-4))
    assert row(hedge=1)["caption"] == f"Maybe: {expected.text}"
    assert row(hedge=0.01, min_confidence=0.01)["caption"] == expected.text
    assert "kind" not in silent  # this model cannot tell what a picture is


def test_a_server_may_have_other_bars_for_whoever_asks_for_none(start, pictures):
    server = start("--min-confidence", "1", "--hedge", "1", "--compat")

    def said(**options: float) -> str:
        answer = httpx.post(f"{server.url}/v1/caption", content=pictures["red"], params=options)
        return answer.json()["images"][0]["caption"]

    assert said() == ""
    assert said(min_confidence=0).startswith("Maybe: A red barn")
    assert said(min_confidence=0, hedge=0).startswith("A red barn")
    body = {"model": "tiny", "prompt": "?", "images": [base64.b64encode(pictures["red"]).decode()], "stream": False}
    assert httpx.post(f"{server.url}/api/generate", json=body).json()["response"] == ""


def test_with_a_memory_a_row_has_what_was_said_of_similar_pictures(start, captioner, pictures, tmp_path):
    for name, said in (("red", "Our barn."), ("blue", "Grandpa's boat.")):
        (tmp_path / f"{name}.png").write_bytes(pictures[name])
        (tmp_path / f"{name}.txt").write_text(said)
    learn(captioner, own_pictures(tmp_path).captions, tmp_path / "mine.memory")
    server = start("--memory", str(tmp_path / "mine.memory"))
    row = httpx.post(f"{server.url}/v1/caption", content=pictures["red"]).json()["images"][0]
    assert row["neighbours"][0]["caption"] == "Our barn."
    assert row["neighbours"][0]["similarity"] == pytest.approx(1, abs=0.01)
    plain = httpx.post(f"{server.url}/v1/caption?no_memory=true", content=pictures["red"]).json()["images"][0]
    assert "neighbours" not in plain


def test_several_pictures_come_back_in_order_and_a_bad_one_is_a_row(client, pictures):
    parts = form(("1", pictures["blue"]), ("notes.txt", b"no picture"), ("3", pictures["red"]), ("4", pictures["blue"]))
    answer = client.post("/v1/caption", files=parts)
    assert answer.status_code == 200
    first, bad, third, fourth = answer.json()["images"]
    assert bad.pop("error").startswith("notes.txt: holds text, not an image; allowed are JPEG, PNG, WebP, GIF, BMP")
    assert bad == {"image": "notes.txt"}
    assert "boat" in first["caption"]
    assert "barn" in third["caption"]
    assert first["caption"] == fourth["caption"]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("length=tiny", "length is 'tiny'; allowed are short, normal, long or a number of words from 4 to 24"),
        ("length=25", "length is '25'; allowed are short, normal, long or a number of words from 4 to 24"),
        ("candidates=0", "candidates is '0'; allowed are whole numbers from 1 to 8"),
        ("candidates=x", "candidates is 'x'; allowed are whole numbers from 1 to 8"),
        ("neutral=perhaps", "neutral is 'perhaps'; allowed are true and false"),
        ("decode=beam", "decode is 'beam'; allowed are parallel"),
        ("beams=9", "beams is '9'; allowed are whole numbers from 1 to 8"),
        (
            "seed=1",
            "unknown option 'seed'; allowed are length, candidates, neutral, decode, no_memory, min_confidence",
        ),
        ("candidates=9&neutral=2", "candidates is '9'; allowed are whole numbers from 1 to 8; neutral is '2'"),
        ("lenght=short", "unknown option 'lenght' (did you mean 'length'?); allowed are length, candidates, neutral"),
        ("url=http://localhost/", "url is ['http://localhost/']; allowed are none, as this server fetches nothing"),
    ],
)
def test_an_option_out_of_range_is_422_with_the_range(client, query, told):
    answer = client.post(f"/v1/caption?{query}")
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(told)


@pytest.mark.parametrize(
    ("content", "kind", "status", "told"),
    [
        (b"", "image/jpeg", 422, "no picture; send one as the body, or files named 'image' as multipart/form-data"),
        (b"hello", "image/jpeg", 422, "body: holds text, not an image; allowed are JPEG, PNG"),
        (b"\xff\xd8\xff\xe0", "image/jpeg", 422, "body: damaged or cut short JPEG"),
        (b"--x\r\n", "multipart/form-data", 400, "Missing boundary in multipart."),
        (b"nonsense", "multipart/form-data; boundary=x", 400, "Invalid multipart data."),
        (b"--x--\r\n", "multipart/form-data; boundary=x", 422, "no picture; send one"),
    ],
)
def test_a_bad_body_says_what_is_wrong_with_it(client, content, kind, status, told):
    answer = client.post("/v1/caption", content=content, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert answer.json()["error"].startswith(told)


@pytest.mark.parametrize("name", ["length", "candidates", "neutral", "beams"])
def test_an_option_that_is_given_twice_is_refused(client, pictures, name):
    value = {"length": "short", "neutral": "true"}.get(name, "2")
    answer = client.post("/v1/caption", params=[(name, value)] * 2, content=pictures["red"])
    assert (answer.status_code, answer.json()) == (422, {"error": f"{name} is given 2 times; allowed is once"})


def form_of(texts: tuple[str, ...], picture: bytes) -> bytes:
    """A form of two pictures and some texts, with the boundary B."""
    head = b'--B\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    parts = [head + picture + b"\r\n"] * (1 if texts else 2)
    parts += [f'--B\r\nContent-Disposition: form-data; name="text"\r\n\r\n{text}\r\n'.encode() for text in texts]
    return b"".join([*parts, b"--B--"])


ROUTES = [("/v1/caption", ()), ("/v1/score", ("a red barn", "a blue boat"))]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("path", "texts"), ROUTES)
def test_a_form_that_is_cut_short_is_refused_wherever_it_ends(client, pictures, path, texts, chunked):
    body = form_of(texts, pictures["red"])
    last = body.rindex(b"--B\r\n")
    kind = {"Content-Type": "multipart/form-data; boundary=B"}
    for end in (0, 3, 20, last - 100, last, last + 5, last + 20, len(body) - 10, len(body) - 5, len(body) - 1):
        content = body[:end]
        answer = client.post(path, content=iter([content]) if chunked else content, headers=kind)
        told = "the form is cut short; allowed is one that ends with its boundary and '--'"
        assert (answer.status_code, answer.json()) == (400, {"error": told}), end


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize("epilogue", [b"", b"\r\n", b"\r\nwhatever\r\n--B"])
@pytest.mark.parametrize(("path", "texts"), ROUTES)
def test_a_whole_form_is_served_whatever_follows_it_and_however_it_is_split(
    client, pictures, path, texts, epilogue, step
):
    body = form_of(texts, pictures["red"]) + epilogue
    chunks = (body[start : start + step] for start in range(0, len(body), step))
    answer = client.post(path, content=chunks, headers={"Content-Type": "multipart/form-data; boundary=B"})
    assert answer.status_code == 200
    assert len(answer.json()["scores" if texts else "images"]) == 2


@pytest.mark.parametrize("kind", ["Multipart/Form-Data; boundary=B", "multipart/form-data ;BOUNDARY=B"])
@pytest.mark.parametrize(("path", "texts"), ROUTES)
def test_the_letter_case_of_a_content_type_says_nothing(client, pictures, path, texts, kind):
    answer = client.post(path, content=form_of(texts, pictures["red"]), headers={"Content-Type": kind})
    assert answer.status_code == 200
    assert len(answer.json()["scores" if texts else "images"]) == 2


@pytest.mark.parametrize(
    ("charset", "text", "status", "told"),
    [
        ("utf-7", "+2D0-", 422, r"the text '\ud83d' holds half a character; allowed: what UTF-8 can encode"),
        ("raw_unicode_escape", r"\udfff dog", 422, r"the text '\udfff dog' holds half a character"),
        ("undefined", "a dog", 400, "a form that is not in the charset that it states; allowed is UTF-8"),
    ],
)
def test_a_charset_that_gives_no_text_is_refused(client, pictures, charset, text, status, told):
    kind = {"Content-Type": f"multipart/form-data; boundary=B; charset={charset}"}
    answer = client.post("/v1/score", content=form_of((text,), pictures["red"]), headers=kind)
    assert answer.status_code == status
    assert answer.json()["error"].startswith(told)


@pytest.mark.parametrize(
    ("size", "status", "told"),
    [
        (500, 422, "a text 'image'; allowed are files named 'image', with filename=, and for scores texts 'text'"),
        (
            1001,
            400,
            "a part without filename= has more than 1000 bytes; allowed are texts of at most 1000 bytes, and f",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/v1/caption", "/v1/score"])
def test_a_file_says_filename_as_rfc_7578_demands(client, path, size, status, told):
    head = b"--B\r\nContent-Disposition: form-data; name=\"image\"; filename*=UTF-8''a.jpg\r\n\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=B"}
    answer = client.post(path, content=head + b"x" * size + b"\r\n--B--\r\n", headers=kind)
    assert answer.status_code == status
    assert answer.json()["error"].startswith(told)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([("photo", ("a.jpg", b"x"))], "a file 'photo'; allowed are files named 'image'"),
        ([("image", (None, b"x"))], "a text 'image'; allowed are files named 'image'"),
        ([("text", (None, b"x"))], "a part 'text'; allowed are files named 'image' (options go into the query)"),
    ],
)
def test_a_form_holds_pictures_and_nothing_else(client, parts, told):
    answer = client.post("/v1/caption", files=parts)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(told)


@pytest.mark.parametrize(
    ("method", "path", "status", "told"),
    [
        ("GET", "/v1/caption", 405, "GET /v1/caption: allowed is POST"),
        ("GET", "/v2/caption", 404, "/v2/caption: no such path; allowed are those of /openapi.json"),
    ],
)
def test_a_wrong_path_or_method_is_told_in_json(client, method, path, status, told):
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()) == (status, {"error": told})


def test_scores_are_those_of_the_library(client, captioner, pictures):
    texts = ["A red barn.", "A blue boat."]
    answer = client.post("/v1/score", files=form(("a.jpg", pictures["red"])), data={"text": texts})
    rows = answer.json()["scores"]
    assert [row["text"] for row in rows] == texts
    assert [row["score"] for row in rows] == pytest.approx(captioner.score(pictures["red"], texts), abs=1e-4)
    assert rows[0]["score"] != rows[1]["score"]


@pytest.mark.parametrize(
    ("texts", "status", "told"),
    [
        ([], 422, "1 picture and 0 texts; allowed are one file 'image' and 1 to 64 texts 'text'"),
        (["x"] * 65, 400, "Too many fields. Maximum number of fields is 64."),
        (["x" * 1000], 422, "the text 'xxx"),
        (
            ["x" * 1001],
            400,
            "a part without filename= has more than 1000 bytes; allowed are texts of at most 1000 byte",
        ),
        ([" "], 422, "the text ' ' has 0 tokens; allowed: 1 to 24"),
    ],
)
def test_a_score_takes_one_to_64_texts_that_the_model_can_read(client, pictures, texts, status, told):
    answer = client.post("/v1/score", files=form(("a.jpg", pictures["red"])), data={"text": texts})
    assert answer.status_code == status
    assert answer.json()["error"].startswith(told)


def test_the_model_tells_its_quality_and_speed(client):
    (model,) = client.get("/v1/models").json()["models"]
    assert (model["name"], model["kind"], model["quality"]["cider"]) == ("tiny", "parallel", 45.25)


def test_alive_and_ready(client):
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_metrics_count_answers_and_pictures(client, pictures):
    def values() -> dict[str, float]:
        lines = client.get("/metrics").text.splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}

    before = values()
    client.post("/v1/caption", files=form(("a", pictures["red"]), ("b", b"no picture")))
    after = values()
    for series in (
        'fastcap_requests_total{route="/v1/caption",status="200"}',
        'fastcap_request_seconds_count{route="/v1/caption"}',
        'fastcap_pictures_total{outcome="captioned"}',
        'fastcap_pictures_total{outcome="failed"}',
        "fastcap_picture_seconds_count",
    ):
        assert after[series] == before.get(series, 0) + 1
    assert after["fastcap_queue_taken"] == 0


def test_every_answer_belongs_to_its_picture_under_load(server, captioner, pictures):
    ask_many(server.url, captioner, pictures, requests=240)


@pytest.mark.slow
def test_no_answer_is_lost_or_swapped_in_20000_requests(server, captioner, pictures):
    ask_many(server.url, captioner, pictures, requests=20_000)


def ask_many(url: str, captioner: Captioner, pictures: dict[str, bytes], requests: int) -> None:
    """Eight clients, each with its own order of 63 different questions; every answer is compared."""
    questions = [(colour, length) for colour in pictures for length in range(4, 25)]
    expected = {(c, n): captioner.caption(pictures[c], length=n).text for c, n in questions}
    assert len(set(expected.values())) > 30

    def ask(seed: int) -> int:
        order = random.Random(seed)
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)  # a third of httpx's own work
        for _ in range(requests // 8):
            colour, length = order.choice(questions)
            connection.request("POST", f"/v1/caption?length={length}", pictures[colour])
            answer = connection.getresponse()
            assert answer.status == 200
            assert json.loads(answer.read())["images"][0]["caption"] == expected[colour, length]
        connection.close()
        return requests // 8

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(8))) == requests
