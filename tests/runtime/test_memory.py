"""A memory of captioned pictures says how much a sentence is like what people said of similar pictures."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fastcap.errors import ConfigError, ModelFileError
from fastcap.evaluation.cider import CiderD
from fastcap.runtime.memory import Memory
from fastcap.runtime.text import caption_words

WIDTH = 16
SUBJECTS = ["a brown dog", "two men", "the old woman in a hat", "a child's red ball", "three birds", "a surfer"]
VERBS = ["runs", "sits on grass", "is standing near a lake", "plays with a toy", "looks at the camera"]
PLACES = ["in the snow", "on a beach", "by the road", "at night", ""]
CANDIDATES = ["A brown dog runs on a beach.", "Two men sits on grass", "zebras gallop", "A surfer.", ""]


def sentences(drawn: random.Random, count: int) -> list[str]:
    return [" ".join(map(drawn.choice, (SUBJECTS, VERBS, PLACES))).strip() + "." for _ in range(count)]


def unit(drawn: np.random.Generator, count: int) -> np.ndarray:
    vectors = drawn.normal(size=(count, WIDTH)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def captions_of(count: int) -> list[list[str]]:
    drawn = random.Random(3)
    return [sentences(drawn, drawn.randint(1, 5)) for _ in range(count)]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return unit(np.random.default_rng(1), 200)


@pytest.fixture(scope="module")
def memory(vectors: np.ndarray) -> Memory:
    memory = Memory()
    memory.add(vectors, captions_of(len(vectors)))
    return memory


@pytest.fixture
def path(memory: Memory, tmp_path: Path) -> Path:
    memory.save(tmp_path / "memory.npz")
    return tmp_path / "memory.npz"


def by_the_metric(vectors: np.ndarray, vector: np.ndarray, candidates: list[str], neighbours: int, sharpness: float):
    """The slow twin of `Memory.similarity`: CIDEr-D with each picture's captions as the references. Its penalty for
    another length is made as wide as to cost nothing."""
    captions = captions_of(len(vectors))
    references = {str(row): [caption_words(text) for text in texts] for row, texts in enumerate(captions)}
    metric = CiderD(references, sigma=1e6)
    cosines = vectors @ vector
    rows = np.argsort(-cosines)[:neighbours]
    shares = np.exp(sharpness * cosines[rows]) / np.exp(sharpness * cosines[rows]).sum()
    return [
        sum(share * metric.score(caption_words(text), str(row)) for share, row in zip(shares, rows, strict=True))
        for text in candidates
    ]


@pytest.mark.parametrize(("neighbours", "sharpness"), [(1, 40.0), (30, 0.0), (30, 10.0), (1000, 40.0)])
def test_a_similarity_is_the_weighed_mean_cider_with_each_neighbour_but_for_rounding_to_8_bits(
    memory, vectors, neighbours, sharpness
):
    for vector in unit(np.random.default_rng(2), 5):
        got = memory.similarity(vector, CANDIDATES, neighbours, sharpness)
        expected = by_the_metric(vectors, vector, CANDIDATES, neighbours, sharpness)
        np.testing.assert_allclose(got, expected, atol=0.05)  # of 10
        assert max(expected) > 0.3


def test_the_nearest_pictures_are_those_of_the_largest_cosines(memory, vectors):
    for vector in unit(np.random.default_rng(2), 5):
        exact = set(np.argsort(-(vectors @ vector))[:20].tolist())
        assert len(exact & set(memory.nearest(vector, 20).tolist())) >= 19  # 8 bits may turn a tie
    assert memory.nearest(vectors[7], 1).tolist() == [7]


def test_what_was_said_of_the_picture_itself_is_most_like_it(memory, vectors):
    captions = captions_of(len(vectors))
    others = sentences(random.Random(9), 20)
    for row in range(0, 200, 20):
        scores = memory.similarity(vectors[row], [captions[row][0], *others], 1)
        assert scores[0] >= scores.max() - 0.1 and scores[0] > 2 * scores[1:].mean()  # others said nearly the same


def test_consensus_is_the_mean_similarity_with_the_other_candidates(memory):
    dog, same, birds = memory.consensus(["A dog runs on grass.", "a dog runs on grass", "Three birds."])
    assert dog == same > birds == 0
    assert dog == pytest.approx(10 / 2)  # one of the two others is equal
    assert memory.consensus(["A dog."]).tolist() == [0]
    assert memory.consensus([]).tolist() == []


def test_an_empty_memory_finds_nothing_alike():
    assert Memory().similarity(np.ones(WIDTH), ["A dog."]).tolist() == [0]
    assert Memory().consensus(["A dog.", "A dog."]).tolist() == [0, 0]


def test_a_memory_that_keeps_no_n_gram_finds_nothing_alike(memory, vectors, tmp_path):
    memory.smaller(entries=5, least=1000, width=WIDTH).save(tmp_path / "memory.npz")
    assert Memory.open(tmp_path / "memory.npz").similarity(vectors[0], CANDIDATES).tolist() == [0] * len(CANDIDATES)


def test_pictures_are_added_to_those_that_are_there(memory, vectors):
    own = Memory()
    captions = captions_of(len(vectors))
    own.add(vectors[:150], captions[:150])
    own.add(vectors[150:], captions[150:])
    assert len(own) == 200
    for vector in unit(np.random.default_rng(4), 5):
        assert sorted(own.nearest(vector)) == sorted(memory.nearest(vector))
        # n-grams of the first 150 keep the weights that they had among these
        np.testing.assert_allclose(own.similarity(vector, CANDIDATES), memory.similarity(vector, CANDIDATES), atol=0.3)


def test_what_is_written_and_read_is_the_same(memory, path, tmp_path):
    read = Memory.open(path)
    assert len(read) == len(memory) and read.width == WIDTH
    for vector in unit(np.random.default_rng(5), 5):
        np.testing.assert_array_equal(read.similarity(vector, CANDIDATES), memory.similarity(vector, CANDIDATES))
    read.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def test_an_empty_memory_can_be_written(tmp_path):
    Memory().save(tmp_path / "memory.npz")
    assert len(Memory.open(tmp_path / "memory.npz")) == 0


def test_numpy_reads_the_file_without_pickles(path):
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["vectors"].shape == (200, WIDTH)


def test_a_smaller_memory_keeps_what_counts_most(memory, path, tmp_path):
    small = memory.smaller(entries=30, least=3, width=WIDTH)
    small.save(tmp_path / "small.npz")
    assert (tmp_path / "small.npz").stat().st_size < 0.8 * path.stat().st_size
    for vector in unit(np.random.default_rng(6), 10):
        whole, part = (each.similarity(vector, CANDIDATES) for each in (memory, Memory.open(tmp_path / "small.npz")))
        assert (part <= 1.13 * whole).all()  # weights are rounded by an eighth at most
        assert part @ whole > 0.9 * np.linalg.norm(part) * np.linalg.norm(whole)
    everything = memory.smaller(entries=10_000, least=1, width=WIDTH)
    np.testing.assert_allclose(
        everything.similarity(vectors_of(memory), CANDIDATES),
        memory.similarity(vectors_of(memory), CANDIDATES),
        rtol=0.13,
    )


def test_a_smaller_memory_keeps_the_directions_in_which_pictures_differ(tmp_path):
    drawn = np.random.default_rng(3)
    flat = unit(drawn, 200)[:, :6] @ np.linalg.qr(drawn.normal(size=(WIDTH, 6)))[0].T  # six of sixteen
    flat = (flat / np.linalg.norm(flat, axis=1, keepdims=True)).astype(np.float32)
    whole = Memory()
    whole.add(flat[:190], captions_of(190))
    whole.smaller(entries=100, least=1, width=6).save(tmp_path / "narrow.npz")
    narrow = Memory.open(tmp_path / "narrow.npz")
    with np.load(tmp_path / "narrow.npz") as arrays:
        assert arrays["vectors"].shape == (190, 6) and arrays["directions"].shape == (WIDTH, 6)
    assert narrow.width == WIDTH
    for vector in flat[190:]:
        assert len({*whole.nearest(vector, 10)} & {*narrow.nearest(vector, 10)}) >= 9
    narrow.add(flat[190:], [["a zebra gallops"]] * 10)
    assert narrow.nearest(flat[195], 1).tolist() == [195]
    assert narrow.similarity(flat[195], ["a zebra gallops"], 1) > 5


def vectors_of(memory: Memory) -> np.ndarray:
    return unit(np.random.default_rng(8), 1)[0]


def test_no_sentence_is_kept_as_it_was_written(vectors, tmp_path):
    captions = [[f"the {word} fox jumps over a {word} dog near {word} water"] for word in ["red", "blue", "green"]] * 9
    memory = Memory()
    memory.add(vectors[: len(captions)], captions)
    memory.save(tmp_path / "memory.npz")
    with np.load(tmp_path / "memory.npz") as arrays:
        names = ["", *bytes(arrays["words"]).decode().split("\n")]
        keys = np.cumsum(np.ascontiguousarray(arrays["ngrams"].T).view(np.uint64).reshape(-1), dtype=np.uint64)
        ngrams = [[names[part] for part in row if part] for row in keys.view(np.uint16).reshape(-1, 4)]
        content = b"".join(array.tobytes() for array in arrays.values())
    assert max(map(len, ngrams)) == 4
    assert ["fox", "jumps", "over", "a"] in ngrams
    assert b"fox jumps over a" not in content and b"red fox jumps" not in content
    assert len(names) - 1 == len(set(names)) - 1 == len({word for (text,) in captions for word in text.split()})


@pytest.mark.parametrize(
    ("given", "captions", "told"),
    [
        (np.zeros((2, WIDTH)), [["a dog"]], "needed: a finite one for each of 1 pictures"),
        (np.full((1, WIDTH), np.nan), [["a dog"]], "needed: a finite one"),
        (np.zeros((1, WIDTH + 1)), [["a dog"]], "vectors have 17 numbers; those of this memory have 16"),
        (np.zeros((1, WIDTH)), [[]], "a picture has no caption"),
        (np.zeros((1, WIDTH)), ["a dog"], "got one text"),
    ],
)
def test_what_does_not_fit_is_refused(memory, given, captions, told):
    with pytest.raises(ConfigError, match=told):
        memory.add(given, captions)
    assert len(memory) == 200


def test_a_vector_of_another_width_is_refused(memory):
    with pytest.raises(ConfigError, match="those of this memory"):
        memory.similarity(np.zeros(3), ["a dog"])


def rewritten(path: Path, change) -> None:
    """The file with `change` applied to its arrays by name."""
    with np.load(path) as read:
        arrays = dict(read)
    change(arrays)
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=True)
            archive.writestr(f"{name}.npy", buffer.getvalue())


HOSTILE = {
    "another array": lambda arrays: arrays.update(more=np.zeros(3)),
    "an array is missing": lambda arrays: arrays.pop("weights"),
    "another type": lambda arrays: arrays.update(vectors=arrays["vectors"].astype(np.float32)),
    "objects": lambda arrays: arrays.update(weights=np.array([print], object)),
    "other axes": lambda arrays: arrays.update(vectors=arrays["vectors"].ravel()),
    "ids out of range": lambda arrays: arrays["ids"].__setitem__((3, 0), 255),
    "ids of other bytes": lambda arrays: arrays.update(ids=arrays["ids"][:3].copy()),
    "directions of other vectors": lambda arrays: arrays.update(directions=np.ones((16, 3), np.float32)),
    "directions that are no numbers": lambda arrays: arrays.update(directions=np.full((16, 16), np.nan, np.float32)),
    "counts that sum to more": lambda arrays: arrays["counts"].__setitem__(0, 60_000),
    "counts that sum to less": lambda arrays: arrays["counts"].__setitem__(slice(None), 0),
    "n-grams of no words": lambda arrays: arrays["ngrams"].__setitem__((slice(6), -1), 255),
    "n-grams out of order": lambda arrays: arrays["ngrams"].__setitem__((slice(None), 5), 0),
    "frequencies of nothing": lambda arrays: arrays["frequencies"].__setitem__(0, 0),
    "scales that are no numbers": lambda arrays: arrays["scales"].__setitem__(0, np.nan),
    "words twice": lambda arrays: arrays.update(words=np.frombuffer(b"a\na", np.uint8)),
    "words that are no text": lambda arrays: arrays.update(words=np.frombuffer(b"\xff\xfe", np.uint8)),
    "no ids": lambda arrays: arrays.update(ids=arrays["ids"][:, :0]),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_file_that_is_no_memory_is_told_in_one_line(path, change):
    rewritten(path, change)
    with pytest.raises(ModelFileError, match=r"memory\.npz: not a memory of captioned pictures \(") as error:
        Memory.open(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_an_array_that_claims_to_be_huge_takes_no_memory(path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|i1", "fortran_order": False, "shape": (2**40, WIDTH)})
    with np.load(path) as read:
        arrays = dict(read)
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array)
            archive.writestr(f"{name}.npy", header.getvalue() if name == "vectors" else buffer.getvalue())
    with pytest.raises(ModelFileError, match="does not fit its"):
        Memory.open(path)


def test_an_archive_that_unpacks_to_more_than_is_allowed_is_not_unpacked(path, monkeypatch):
    monkeypatch.setattr("fastcap.runtime.memory_file.MAX_MEMORY_BYTES", 10_000)
    with pytest.raises(ModelFileError, match="bytes unpacked; allowed: 10000"):
        Memory.open(path)


def test_damage_anywhere_is_found_or_changes_nothing_that_is_read(memory, path):
    content, drawn = path.read_bytes(), random.Random(1)
    vector = unit(np.random.default_rng(5), 1)[0]
    for _ in range(300):
        changed = bytearray(content)
        for _ in range(drawn.choice([1, 1, 20])):
            changed[drawn.randrange(len(changed))] = drawn.randrange(256)
        if drawn.random() < 0.2:
            del changed[drawn.randrange(len(changed)) :]
        path.write_bytes(changed)
        try:
            read = Memory.open(path)
        except ModelFileError as error:
            assert "\n" not in str(error)
        else:
            assert np.isfinite(read.similarity(vector, CANDIDATES)).all()


@pytest.mark.parametrize("content", [b"", b"PK", b"not an archive" * 100])
def test_another_file_is_told_in_one_line(tmp_path, content):
    (tmp_path / "memory.npz").write_bytes(content)
    with pytest.raises(ModelFileError, match="not a memory of captioned pictures"):
        Memory.open(tmp_path / "memory.npz")
    with pytest.raises(ModelFileError, match="not a memory of captioned pictures"):
        Memory.open(tmp_path / "none.npz")
