"""Words of pictures: how likely each is by the picture's vector, and what that says of a candidate."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from fastcap.errors import ConfigError, ModelFileError
from fastcap.release.words import fit_words
from fastcap.runtime.words import PictureWords

DOG, CAT = np.array([1.0, 0.0]), np.array([0.0, 1.0])
CAPTIONS = [["A dog runs.", "The dog runs on grass."], ["A cat sleeps.", "A cat sleeps on the sofa."]]


@pytest.fixture(scope="module")
def words() -> PictureWords:
    """Learnt from sixty pictures of a dog and sixty of a cat, whose vectors are about `DOG` and `CAT`."""
    drawn = np.random.default_rng(0)
    vectors = np.repeat([DOG, CAT], 60, axis=0) + 0.05 * drawn.normal(size=(120, 2))
    return fit_words(vectors, [captions for captions in CAPTIONS for _ in range(60)])


@pytest.fixture
def path(words: PictureWords, tmp_path: Path) -> Path:
    words.save(tmp_path / "words.npz")
    return tmp_path / "words.npz"


def test_a_word_is_as_likely_as_the_captions_of_such_pictures_use_it(words):
    likely = dict(zip(words.words, words.probabilities(DOG), strict=True))
    assert {"dog", "cat", "grass", "a", "the"} <= likely.keys()
    assert likely["dog"] > 0.9 and likely["cat"] < 0.1
    assert likely["a"] == pytest.approx(0.5, abs=0.15)  # one of two captions has it
    assert likely["grass"] == pytest.approx(0.5, abs=0.15)
    assert dict(zip(words.words, words.probabilities(CAT), strict=True))["cat"] > 0.9


def test_the_candidate_whose_words_fit_the_picture_is_expected(words):
    candidates = ["A dog runs on grass.", "A cat sleeps.", "A zebra."]
    expected = words.score(DOG, candidates)[:, 0]
    assert expected[0] > expected[1] > -1e-9
    assert words.score(CAT, candidates)[1, 0] > words.score(CAT, candidates)[0, 0]


def test_scores_are_sums_over_the_different_words_that_are_known(words):
    idf = {"dog": np.log(2), "grass": np.log(2), "a": 0.0, "on": 0.0}
    likely = dict(zip(words.words, words.probabilities(DOG), strict=True))
    ((expected, information),) = words.score(DOG, ["A DOG, a dog on unheard-of grass"])
    length = np.sqrt(sum(value**2 for value in idf.values()))
    assert information == pytest.approx(length)
    assert expected == pytest.approx(sum(idf[word] ** 2 * likely[word] for word in idf) / length, rel=1e-5)


def test_candidates_that_share_words_are_scored_as_each_alone(words):
    candidates = ["a dog on grass", "The dog runs.", "a cat on the sofa", "zebra"]
    alone = [words.score(DOG, [text])[0] for text in candidates]
    np.testing.assert_allclose(words.score(DOG, candidates), alone, rtol=1e-6)


def test_a_candidate_without_known_words_says_nothing_and_is_not_expected(words):
    assert words.score(DOG, ["zebra zebra", ""]).tolist() == [[0, 0], [0, 0]]
    assert words.score(DOG, []).shape == (0, 2)


def test_only_words_that_enough_pictures_use_are_kept(words):
    captions = [["one dog", "a dog"]] * 8 + [["one cat", "a dog"]] * 7
    vectors = np.random.default_rng(1).normal(size=(15, 3))
    assert fit_words(vectors, captions).words == ["a", "dog", "one"]
    assert fit_words(vectors, captions, common=7).words == ["a", "cat", "dog", "one"]
    none = fit_words(vectors, captions, common=16)
    assert none.words == [] and none.score(vectors[0], ["a dog"]).tolist() == [[0, 0]]


def test_the_same_pictures_give_the_same_bytes_and_these_the_same_scores(words, path, tmp_path):
    read = PictureWords.open(path)
    assert read.words == words.words and read.width == 2
    np.testing.assert_array_equal(read.probabilities(DOG), words.probabilities(DOG))
    read.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def test_weights_in_8_bits_move_probabilities_little():
    drawn = np.random.default_rng(2)
    weights, offsets, vector = drawn.normal(size=(50, 128)), drawn.normal(size=50), drawn.normal(size=128)
    vector /= np.linalg.norm(vector)
    words = PictureWords([f"w{number}" for number in range(50)], weights, offsets, np.ones(50))
    exact = 1 / (1 + np.exp(-(weights @ vector + offsets)))
    np.testing.assert_allclose(words.probabilities(vector), exact, atol=0.01)


@pytest.mark.parametrize(
    ("names", "weights", "told"),
    [
        (["a", "a"], np.zeros((2, 3)), "needed: different words, a row for each"),
        (["a", "b"], np.zeros((3, 3)), r"2 words, rows \(3, 3\)"),
        (["a", "b"], np.zeros(2), "needed: different words, a row for each"),
        (["a", "b"], np.full((2, 3), np.nan), "are no numbers"),
    ],
)
def test_what_does_not_fit_is_refused(names, weights, told):
    with pytest.raises(ConfigError, match=told), np.errstate(invalid="ignore"):
        PictureWords(names, weights, np.zeros(2), np.zeros(2))


def test_vectors_that_do_not_fit_are_refused(words):
    with pytest.raises(ConfigError, match=r"the vector has the shape \(3,\); needed: \(2,\)"):
        words.score(np.zeros(3), ["a dog"])
    with pytest.raises(ConfigError, match="needed: one for each of 1 pictures"):
        fit_words(np.zeros((2, 3)), [["a dog"]])
    with pytest.raises(ConfigError, match="needed: one for each of 0 pictures"):
        fit_words(np.zeros((0, 3)), [])


def test_damage_anywhere_is_found_or_changes_nothing_that_is_read(path):
    content, drawn = path.read_bytes(), random.Random(1)
    for _ in range(200):
        changed = bytearray(content)
        for _ in range(drawn.choice([1, 1, 20])):
            changed[drawn.randrange(len(changed))] = drawn.randrange(256)
        if drawn.random() < 0.2:
            del changed[drawn.randrange(len(changed)) :]
        path.write_bytes(changed)
        try:
            read = PictureWords.open(path)
        except ModelFileError as error:
            assert str(error).startswith(f"{path}: not the words of pictures (") and "\n" not in str(error)
        else:
            assert np.isfinite(read.score(DOG, ["a dog runs"])).all()


def test_another_file_and_arrays_that_do_not_fit_one_another_are_told_in_one_line(path):
    with np.load(path) as arrays:
        read = dict(arrays)
    for change in (
        {"words": np.frombuffer(b"a\na", np.uint8)},
        {"words": np.frombuffer(b"\xff", np.uint8)},
        {"idf": read["idf"] * np.nan},
        {"offsets": read["offsets"][1:]},
    ):
        np.savez(path, **{**read, **change})
        with pytest.raises(ModelFileError, match="not the words of pictures"):
            PictureWords.open(path)
    with pytest.raises(ModelFileError, match="not the words of pictures"):
        PictureWords.open(path.with_name("none.npz"))
