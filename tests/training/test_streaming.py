"""Training on shards: every caption once an epoch, exact to resume, the same whatever the number of processes."""

from __future__ import annotations

import dataclasses
import io
import json
import signal
import tarfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file
from test_distributed import SHARDINGS, assert_same_run, exact, started
from toy_recipe import stage

from fastcap.config import DataConfig, DatasetConfig, TeacherConfig, TrainConfig
from fastcap.data.shards import Cursor
from fastcap.errors import ConfigError, DataError
from fastcap.runtime.encoding import decode
from fastcap.training.inputs import Inputs
from fastcap.training.position import Position
from fastcap.training.state import State
from fastcap.training.trainer import Trainer, train

STREAMED = stage(freeze="none", steps=4)


@pytest.fixture(scope="session")
def samples(toy_data: Path) -> list[tuple[bytes, list[str]]]:
    """The toy data set: twelve pictures, two captions each."""
    captions: dict[str, list[str]] = {}
    for line in (toy_data / "toy" / "captions.txt").read_text().splitlines()[1:]:
        captions.setdefault(line.split(",")[0], []).append(line.split(",")[1])
    return [((toy_data / "toy" / "images" / name).read_bytes(), texts) for name, texts in captions.items()]


def write_tar(path: Path, samples: list[tuple[bytes, list[str]]]) -> None:
    with tarfile.open(path, "w") as archive:
        for n, (picture, captions) in enumerate(samples):
            for name, data in ((f"{n:03}.png", picture), (f"{n:03}.txt", "\n".join(captions).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def write_table(path: Path, samples: list[tuple[bytes, list[str]]]) -> None:
    pictures, captions = [{"bytes": picture} for picture, _ in samples], [texts for _, texts in samples]
    parquet.write_table(pa.table({"image": pictures, "captions": captions}), path, row_group_size=3)


@pytest.fixture
def streamed(recipe, samples, tmp_path) -> Callable[..., TrainConfig]:
    """A recipe that reads two uneven shards, of nine samples and of three; `bad` ones take the places of pictures."""

    def make(output: str = "run", kind: str = "webdataset", bad: dict[int, bytes] | None = None, **settings: Any):
        rows = [(bad[n] if bad and n in bad else picture, texts) for n, (picture, texts) in enumerate(samples)]
        write, ending = {"webdataset": (write_tar, "tar"), "parquet": (write_table, "parquet")}[kind]
        for index, part in enumerate((rows[:9], rows[9:])):
            write(tmp_path / f"{index}.{ending}", part)
        data = {key: settings.pop(key) for key in ("on_bad_data", "val", "text") if key in settings}
        base = recipe(output)
        train_on = (DatasetConfig(kind, str(tmp_path / f"{{0..1}}.{ending}")),)
        data = dataclasses.replace(base.data, train=train_on, shuffle_buffer=4, **data)
        return dataclasses.replace(base, **{"data": data, "stages": (STREAMED,), **settings})

    return make


def spoken(trainer: Trainer, steps: int, images: int) -> Counter[str]:
    """How often each caption was drawn in some steps of some images each."""
    trainer.prepare_stage(dataclasses.replace(trainer.config.stages[0], images=images))
    found: Counter[str] = Counter()
    for step in range(steps):
        batch = trainer.inputs.batch(step)
        assert batch.tensors["pixels"].shape == (images, 64, 64, 3) and batch.tensors["pixels"].float().std() > 1
        rows = batch.tensors["token_ids"].tolist()
        found.update(decode(trainer.tokenizer, [i for i in row if i]) for row in rows)
    return found


def checkpoint(config: TrainConfig) -> dict[str, torch.Tensor]:
    return load_file(sorted((Path(config.output) / "checkpoints").iterdir())[-1] / "training.safetensors")


def assert_equal_bits(found: TrainConfig, expected: TrainConfig) -> None:
    ours, theirs = checkpoint(found), checkpoint(expected)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


# What is read


@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
def test_every_caption_is_drawn_once_an_epoch_from_uneven_shards(streamed, kind):
    """Four epochs of twelve pictures, in steps of eight: across the edges of shards, blocks and epochs."""
    found = spoken(Trainer(streamed(kind=kind)), steps=6, images=8)
    assert len(found) == 24 and set(found.values()) == {4}


def test_a_step_may_be_larger_than_all_shards(streamed):
    assert set(spoken(Trainer(streamed()), steps=1, images=24).values()) == {2}


def test_it_trains_and_validates_on_shards_alone(streamed, tmp_path):
    """A tokenizer of the stream's captions, no file of pictures, and no pixel on disk."""
    stages = (dataclasses.replace(STREAMED, steps=1),)
    config = streamed(stages=stages, val=(DatasetConfig("webdataset", str(tmp_path / "1.tar")),))
    train(config)
    rows = [json.loads(line) for line in (Path(config.output) / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["val_cider"] >= 0
    assert (Path(config.output) / "best" / "tokenizer.json").is_file()
    assert not Path(config.data.cache).exists()


def test_the_tokenizer_is_learnt_from_texts_where_there_are_any(streamed, toy_data):
    (toy_data / "words.txt").write_text("zebra zebra zebra zebra\n")
    vocabulary = Trainer(streamed(text=("words.txt",))).tokenizer.get_vocab()
    assert any("zebra" in token for token in vocabulary) and not any("yellow" in token for token in vocabulary)


# Resuming


@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
def test_a_batch_is_the_same_read_in_a_row_or_from_the_place_that_a_checkpoint_knows(streamed, kind):
    """Every place of two epochs, within shards and blocks and at their edges."""
    whole, parted = (Trainer(streamed(kind=kind)) for _ in range(2))
    spec = whole.config.stages[0]
    whole.prepare_stage(spec)
    for step in range(6):
        expected = whole.inputs.batch(step)
        parted.position, parted.state = Position(0, 0, step), State(stream=whole.inputs.position(step))
        parted.prepare_stage(spec)
        found = parted.inputs.batch(step)
        assert all(torch.equal(found.tensors[name], value) for name, value in expected.tensors.items())
        assert parted.inputs.position(step + 1) == whole.inputs.position(step + 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
def test_an_interrupted_run_is_the_uninterrupted_one_bit_for_bit(streamed, monkeypatch, kind):
    """Stopped in an epoch, a shard and a block, after a batch was read and before it counted; then in another stage."""
    stages = (STREAMED, dataclasses.replace(STREAMED, name="more", steps=2))
    whole, parted = (streamed(name, kind, stages=stages) for name in ("whole", "parted"))
    train(whole)
    read = Inputs.batch

    def stopping(self: Inputs, step: int, *args: Any) -> Any:
        batch = read(self, step, *args)
        if (self.start.stage, step) in places:
            places.remove((self.start.stage, step))
            raise KeyboardInterrupt
        return batch

    monkeypatch.setattr(Inputs, "batch", stopping)
    places = [(0, 3), (1, 1)]
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(parted)
    train(parted)
    assert_equal_bits(parted, whole)


def test_other_shards_than_those_of_the_checkpoint_are_refused(streamed):
    stream = Trainer(streamed()).corpus.stream
    stream.begin([0], 7, Cursor(1, 1, 2, 3))
    position = stream.position(7)
    assert stream.cursor_at(position) == Cursor(1, 1, 2, 3)
    with pytest.raises(DataError, match=r"data\.train has 2 shards; the checkpoint was made with 3"):
        stream.cursor_at({**position, "n_shards": 3})


# Bad samples


def test_a_picture_that_cannot_be_decoded_stops_the_run_or_is_left_out(streamed, samples, tmp_path):
    """Its place is taken by the next sample; no other is lost."""
    bad = {10: samples[10][0][:150]}
    with pytest.raises(DataError, match=r"1\.tar#001\.png.*; on_bad_data=skip or quarantine leaves such samples out"):
        spoken(Trainer(streamed(bad=bad)), steps=3, images=4)
    trainer = Trainer(streamed(bad=bad, on_bad_data="quarantine"))
    found = spoken(trainer, steps=4, images=11)
    assert len(found) == 22 and set(found.values()) == {4}
    [row] = map(json.loads, (Path(trainer.config.data.cache) / "bad_train.jsonl").read_text().splitlines())
    assert row["where"] == f"{tmp_path}/1.tar#001.png" and "red" not in row["caption"]
    assert trainer.corpus.stream.bad.n_bad == 4


def test_a_stream_without_anything_to_learn_from_is_an_error(streamed, toy_data):
    (toy_data / "words.txt").write_text("zebra zebra zebra zebra\n")
    config = streamed(text=("words.txt",))
    trainer = Trainer(dataclasses.replace(config, model=dataclasses.replace(config.model, max_length=3)))
    with pytest.raises(DataError, match="no usable sample in a whole epoch of 2 shards: 48 captions"):
        spoken(trainer, steps=1, images=4)


# What does not go with streams


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"freeze": "convolutions"}, "freeze convolutions; allowed, where data.train is webdataset or parquet: freeze"),
        ({"teachers": (TeacherConfig("logits", ("a",)),), "reward": 0.5}, "teachers; reward 0.5; allowed"),
        ({"sources": ("machine",)}, "sources machine; allowed"),
        ({"sources": ("human", "distilled")}, "sources human, distilled; allowed"),
        ({"causal_reward": 1.0}, "causal_reward 1.0; allowed"),
    ],
)
def test_settings_that_keep_something_of_every_picture_are_one_clear_error(streamed, settings, message):
    with pytest.raises(ConfigError, match=rf"stage pretrain: {message}"):
        streamed(stages=(stage(**{"freeze": "none", **settings}),))


def test_shards_and_files_do_not_mix_and_shards_have_no_split():
    shards, files = DatasetConfig("webdataset", "*.tar"), DatasetConfig("csv", "mine")
    with pytest.raises(ConfigError, match=r"train has webdataset, csv; allowed: either all of webdataset, parquet, or"):
        DataConfig(train=(shards, files))
    with pytest.raises(ConfigError, match=r"split is 'val'; allowed: none, since parquet names its shards by root"):
        DatasetConfig("parquet", "*.parquet", "val")


# Processes


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["no", *SHARDINGS])
def test_two_processes_train_as_one_on_uneven_shards(streamed, samples, tmp_path, sharding):
    """Nine samples and two, one of them bad: found by one process, left out by both."""
    settings = {"bad": {10: samples[10][0][:150]}, "on_bad_data": "skip"}
    stages = (dataclasses.replace(STREAMED, balance=0.0, steps=6),)
    one, two = (exact(streamed(name, **settings), stages=stages, sharding=sharding) for name in ("one", "two"))
    train(one)
    process = started(two, tmp_path)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "2 training shards" in output and "processes 2" in output
    assert_same_run(two, one)


@pytest.mark.slow
def test_a_run_of_two_processes_on_shards_goes_on_as_one(streamed, tmp_path):
    stages = (dataclasses.replace(STREAMED, balance=0.0, steps=12),)
    whole, parted = (exact(streamed(name), stages=stages) for name in ("whole", "parted"))
    train(whole)
    process = started(parted, tmp_path)
    deadline, path = time.time() + 200, Path(parted.output) / "log.jsonl"
    while time.time() < deadline and (not path.is_file() or len(path.read_text().splitlines()) < 2):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=100)
    (found,) = (Path(parted.output) / "checkpoints").iterdir()
    assert 2 <= json.loads((found / "position.json").read_text())["step"] < 12, output
    train(parted)
    assert_same_run(parted, whole)
