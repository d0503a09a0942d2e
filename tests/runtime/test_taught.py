"""Taught by example: a user's captioned pictures rank candidates for similar pictures, and are shown beside them."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from golden_models import pictures
from PIL import Image

from fastcap import Captioner, ConfigError, DataError, ModelFileError
from fastcap.cli import main
from fastcap.data.own import own_pictures
from fastcap.runtime.bulk.learn import journal_of, learn
from fastcap.runtime.bulk.photos import write_text
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.contract import Weights
from fastcap.runtime.engine import Decoded
from fastcap.runtime.options import Options
from fastcap.runtime.ranking import Ranker
from fastcap.runtime.taught import NEAR, RANKING, Neighbour, Taught, TaughtRanker, nearness, plan_of


@pytest.fixture(scope="module")
def model(golden: Path) -> Path:
    """A small model directory with vectors of pictures."""
    return golden / "parallel" / "model"


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Three pictures, two of them with captions beside them."""
    folder = tmp_path / "album"
    folder.mkdir()
    for number, pixels in enumerate(pictures()):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "0.txt").write_text("Rex on the sofa.\nOur dog Rex.\n", encoding="utf-8")
    (folder / "1.txt").write_text("Grandma's garden in May.\n", encoding="utf-8")
    return folder


@pytest.fixture
def memory(album: Path, model: Path, tmp_path: Path) -> Path:
    out = tmp_path / "mine.memory"
    learn(Captioner.open(model), own_pictures(album).captions, out)
    return out


# --- what is learnt ------------------------------------------------------------------------------------------


def test_captions_beside_a_picture_within_it_or_in_a_table_are_read(album: Path) -> None:
    write_text(str(album / "2.png"), "A red kite.", "xmp", "made by somebody", overwrite=False)
    own = own_pictures(album)
    # Of 2.png a captioner has said something, which is no example.
    assert [*own.captions.values()] == [["Rex on the sofa.", "Our dog Rex."], ["Grandma's garden in May."]]
    assert (own.machine, own.uncaptioned, own.problems) == (1, 0, [])
    table = album / "captions.csv"
    table.write_text("image,caption\n0.png,Rex again.\n1.png,\nno.png,A cat.\n", encoding="utf-8")
    read = own_pictures(table)
    assert [(Path(image).name, texts) for image, texts in read.captions.items()] == [("0.png", ["Rex again."])]
    assert [re.sub(r".*: |image \S*/", "", problem) for problem in read.problems] == [
        "the caption is empty",
        "no.png is missing",
    ]


def test_a_description_that_a_person_wrote_into_a_photo_is_read(tmp_path: Path) -> None:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>'
        '<rdf:li xml:lang="x-default">Rex by the sea</rdf:li></rdf:Alt></dc:description></rdf:Description>'
        "</rdf:RDF></x:xmpmeta>"
    )
    for name, place in (("a.png", "a.xmp"), ("b.png", "b.png.xmp")):
        Image.fromarray(pictures()[0]).save(tmp_path / name)
        (tmp_path / place).write_text(packet, encoding="utf-8")
    Image.fromarray(pictures()[0]).save(tmp_path / "c.jpg", xmp=packet.encode())
    assert [*own_pictures(tmp_path).captions.values()] == [["Rex by the sea"]] * 3


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "no captioned picture"),
        ({"0.txt": " \n"}, "0.txt is empty"),
        ({"0.txt": b"caf\xe9"}, "0.txt: the caption is not valid UTF-8"),
        ({"0.txt": b"\xff\xfea\0b"}, "0.txt: not valid utf-16-le: truncated data"),
    ],
)
def test_a_folder_that_teaches_nothing_is_told(tmp_path: Path, files: dict[str, str | bytes], told: str) -> None:
    Image.fromarray(pictures()[0]).save(tmp_path / "0.png")
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=told):
        own_pictures(tmp_path)


# --- the file ------------------------------------------------------------------------------------------------


def test_it_keeps_captions_word_for_word_and_is_the_same_bytes_again(memory: Path, model: Path, tmp_path: Path) -> None:
    taught = Taught.open(memory, Bundle.open(model))
    assert [Path(name).name for name in taught.examples] == ["0.png", "1.png"]
    assert [*taught.examples.values()] == [("Rex on the sofa.", "Our dog Rex."), ("Grandma's garden in May.",)]
    taught.save(tmp_path / "again.memory")
    assert (tmp_path / "again.memory").read_bytes() == memory.read_bytes()


def test_one_of_another_model_is_refused_by_name_and_digest(memory: Path, golden: Path) -> None:
    with pytest.raises(ModelFileError, match=r"made with \S+ [0-9a-f]{8}, .* of \S+ [0-9a-f]{8}; make it again"):
        Captioner.open(golden / "autoregressive" / "model", memory=memory)


@pytest.mark.parametrize("damage", ["cut", "text", "bytes", "examples", "about", "missing"])
def test_a_damaged_one_is_told_in_one_line(memory: Path, model: Path, damage: str) -> None:
    data = memory.read_bytes()
    if damage == "cut":
        memory.write_bytes(data[:-30])
    elif damage == "text":
        memory.write_text("A dog.")
    elif damage == "bytes":
        memory.write_bytes(data[:200] + bytes(100) + data[300:])
    elif damage == "missing":
        memory.unlink()
    else:
        with zipfile.ZipFile(memory) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        members |= {"examples.jsonl": b'{"image": "a"}\n'} if damage == "examples" else {"about.json": b"[]"}
        with zipfile.ZipFile(memory, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    with pytest.raises(ModelFileError, match=r"mine\.memory: not a memory") as error:
        Captioner.open(model, memory=memory)
    assert "\n" not in str(error.value)


# --- captions ------------------------------------------------------------------------------------------------


def test_the_nearest_captions_are_shown_beside_the_caption(memory: Path, model: Path) -> None:
    captioner = Captioner.open(model, memory=memory)
    near = captioner.caption(pictures()[0]).neighbours
    assert isinstance(near[0], Neighbour)
    assert (near[0].caption, Path(near[0].source).name) == ("Rex on the sofa.", "0.png")
    assert near[0].similarity == pytest.approx(1, abs=0.01)
    assert all(NEAR[0] < one.similarity <= near[0].similarity for one in near)
    assert captioner.caption(pictures()[0], no_memory=True).neighbours == ()
    assert Captioner.open(model).caption(pictures()[0]).neighbours == ()


def test_candidates_come_from_a_beam_of_eight_unless_asked_otherwise(memory: Path, model: Path) -> None:
    bundle = Bundle.open(model)
    ranker = TaughtRanker(Taught.open(memory, bundle), bundle.tokenizer())
    usual = plan_of(Options(), ranker, bundle)
    assert (usual.decode, usual.beams) == ("beam", 8)
    assert plan_of(Options(), None, bundle).decode == "parallel"
    for options in (Options(decode="parallel"), Options(length="short"), Options(no_memory=True)):
        assert plan_of(options, ranker, bundle) == options.plan(bundle)


def ranked(model: Path, cosine: float) -> list[float]:
    """Probabilities of two candidates, best first, where a memory prefers the less likely one and its nearest picture
    has this cosine."""
    bundle = Bundle.open(model)
    width = 4
    vectors = np.eye(width, dtype=np.float32)[:3]
    tokenizer = bundle.tokenizer()
    ids = [tokenizer.encode(text).ids for text in ("a dog runs on grass", "two men sit on a bench")]
    words = [tokenizer.decode(each) for each in ids]
    said = {"a": [words[1]], "b": ["something else entirely"], "c": ["and another thing"]}
    ranker = TaughtRanker(
        Taught.of(bundle, vectors, said),
        tokenizer,
        ranking=RANKING._replace(neighbours=1, weights={"search": Weights(1.0, 0.0, 1.0, 0.0, 0.0)}),
    )
    picture = np.array([cosine, 0, 0, np.sqrt(1 - cosine**2)], np.float32)
    candidates = [Decoded(ids[0], 0.5, [0.5] * len(ids[0])), Decoded(ids[1], 0.4, [0.4] * len(ids[1]))]
    return [each.probability for each in ranker.order(candidates, picture, "beam")]


def test_a_memory_counts_as_far_as_its_nearest_picture_is_near(model: Path) -> None:
    assert ranked(model, 0.99) == [0.4, 0.5]
    assert ranked(model, NEAR[0] - 0.01) == [0.5, 0.4]  # of other pictures it says nothing
    assert [nearness(cosine, (0.6, 0.9)) for cosine in (0.5, 0.75, 0.95)] == pytest.approx([0, 0.5, 1])


def test_what_the_model_directory_ranks_by_goes_on(memory: Path, model: Path) -> None:
    class Own(Ranker):
        """Prefers what is unlikely, twice as much as a directory's scores are worth."""

        def __init__(self) -> None:
            self.ranking = RANKING._replace(weights={"search": Weights(2.0, 0.0, 0.0, 0.0, 0.0)})

        def scores(self, candidates, vector, way):
            return np.array([-2 * np.log(candidate.probability) for candidate in candidates])

    bundle = Bundle.open(model)
    tokenizer = bundle.tokenizer()
    taught, ids = Taught.open(memory, bundle), tokenizer.encode("a dog runs").ids
    candidates = [Decoded(ids, 0.5, [0.5] * len(ids)), Decoded(ids[:2], 0.4, [0.4] * 2)]
    far = -taught.memory.vectors[0]
    both = TaughtRanker(taught, tokenizer, Own())
    np.testing.assert_allclose(both.scores(candidates, far, "beam"), -np.log([0.5, 0.4]))
    near = taught.memory.vectors[0]
    texts = [tokenizer.decode(each.token_ids) for each in candidates]
    similar = RANKING.weights["search"].similarity * taught.memory.similarity(near, texts, RANKING.neighbours, 40.0)
    np.testing.assert_allclose(both.scores(candidates, near, "beam"), -np.log([0.5, 0.4]) + similar)


def test_it_travels_to_other_processes(memory: Path, model: Path) -> None:
    captioner = Captioner.open(model, memory=memory)
    other = pickle.loads(pickle.dumps(captioner))
    assert other.caption(pictures()[0]).neighbours == captioner.caption(pictures()[0]).neighbours
    assert pickle.loads(pickle.dumps(captioner)) is other  # opened once


# --- the command ---------------------------------------------------------------------------------------------


def learns(*arguments: object) -> int:
    return main(["learn", *map(str, arguments)])


def test_learn_then_caption(album: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine.memory"
    (album / "bad.png").write_bytes(b"no picture")
    (album / "bad.txt").write_text("A bad one.")
    assert learns(album, "--out", out, "--model", model) == 1
    told = capsys.readouterr().err
    assert "bad.png: holds text, not an image" in told
    assert "2 pictures learnt" in told and "1 without a caption" in told and "1 failed" in told
    assert not journal_of(out).exists()
    assert main(["caption", str(album / "0.png"), "--json", "--model", str(model), "--memory", str(out)]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["neighbours"][0]["caption"] == "Rex on the sofa."
    assert row["neighbours"][0].keys() == {"caption", "similarity", "source"}


def test_a_bulk_job_has_the_neighbours_and_another_memory_is_another_job(
    album: Path, memory: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.jsonl"
    job = ["caption", str(album), "--out", str(rows), "--model", str(model), "--workers", "1"]
    assert main([*job, "--memory", str(memory)]) == 0
    read = [json.loads(line) for line in rows.read_text("utf-8").splitlines()]
    assert {Path(row["image"]).name: row["neighbours"][0]["caption"] for row in read}["0.png"] == "Rex on the sofa."
    assert main(job) == 1
    assert "made with" in capsys.readouterr().err


def test_a_memory_that_exists_is_kept_added_to_or_replaced(
    album: Path, memory: Path, model: Path, tmp_path: Path, wrong_usage
) -> None:
    before = memory.read_bytes()
    assert "exists; --add keeps its pictures" in wrong_usage("learn", album, "--out", memory, "--model", model)
    assert memory.read_bytes() == before
    (album / "2.txt").write_text("The lake.")
    (album / "0.txt").write_text("Rex asleep.")
    assert learns(album, "--out", memory, "--model", model, "--add") == 0
    said = Taught.open(memory, Bundle.open(model)).examples
    assert {Path(name).name: texts[0] for name, texts in said.items()} == {
        "0.png": "Rex asleep.",
        "1.png": "Grandma's garden in May.",
        "2.png": "The lake.",
    }
    for number in (1, 2):
        (album / f"{number}.txt").unlink()
    assert learns(album, "--out", memory, "--model", model, "--overwrite") == 0
    assert len(Taught.open(memory, Bundle.open(model)).examples) == 1


def test_an_interrupted_run_goes_on_and_changed_pictures_are_read_again(
    album: Path, model: Path, tmp_path: Path
) -> None:
    captioner, out = Captioner.open(model), tmp_path / "mine.memory"
    examples = own_pictures(album).captions

    class Interrupted(Exception):
        pass

    def interrupt() -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        learn(captioner, examples, out, on_picture=interrupt)
    assert not out.exists()
    (row,) = map(json.loads, journal_of(out).read_text().splitlines())
    with journal_of(out).open("a") as file:
        file.write('{"image": "torn')  # what a kill leaves
    embedded: list[object] = []
    usual = captioner.embed_images
    captioner.embed_images = lambda images: embedded.append(images) or usual(images)  # type: ignore[method-assign]
    learn(captioner, examples, out)
    assert embedded == [[image] for image in examples if image != row["image"]]
    whole = out.read_bytes()
    learn(captioner, examples, tmp_path / "at_once.memory")
    assert (tmp_path / "at_once.memory").read_bytes() == whole


def test_a_kill_leaves_the_old_memory_and_the_next_run_finishes(album: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.memory"
    for number in range(3, 400):
        os.link(album / "0.png", album / f"{number}.png")
        os.link(album / "0.txt", album / f"{number}.txt")
    command = [sys.executable, "-m", "fastcap", "learn", str(album), "--out", str(out), "--model", str(model)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (journal_of(out).exists() and journal_of(out).stat().st_size > 2000) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists() and journal_of(out).exists()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert len(Taught.open(out, Bundle.open(model)).examples) == 399


def test_wrong_usage(album: Path, tmp_path: Path, model: Path, wrong_usage) -> None:
    assert "--out" in wrong_usage("learn", album)
    assert "is a folder" in wrong_usage("learn", album, "--out", tmp_path, "--model", model)
    assert "exclude each other" in wrong_usage("learn", album, "--out", "x.memory", "--add", "--overwrite")
    with pytest.raises(ConfigError, match="gives no vectors"):
        Taught.of(replace(Bundle.open(model), alignment=None), np.eye(2), {"a": ["b"], "c": ["d"]})
