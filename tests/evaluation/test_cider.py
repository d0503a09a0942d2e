"""CIDEr-D: hand-computed cases, the properties the definition promises, and the reference tool's figures."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcap.errors import ConfigError, DataError
from fastcap.evaluation.cider import CiderD

WORDS = ["a", "dog", "cat", "runs", "on", "the", "grass", "red", "ball"]
words = st.lists(st.sampled_from(WORDS), min_size=4, max_size=12)


def test_a_hand_computed_caption():
    # Two images, so words of one image have idf log 2 and words of both have idf 0. The candidate "red dog"
    # against "red cat": unigrams share red, so cosine 1/2 (dog and cat each weigh log 2; dog is unknown).
    # The bigrams differ, longer n-grams do not exist. Lengths agree. CIDEr-D = 10 * (1/2 + 0 + 0 + 0) / 4.
    cider = CiderD({"1": [["red", "cat"]], "2": [["blue", "bird"]]})
    assert cider.score(["red", "dog"], "1") == pytest.approx(1.25)


def test_a_shorter_caption_pays_the_gaussian_penalty():
    cider = CiderD({"1": [["red", "cat", "sits"]], "2": [["blue", "bird"]]})
    # One of three equally rare unigrams: cosine 1/sqrt(3). Two tokens are missing: the reference tool's
    # length counts bigrams, 0 against 2.
    assert cider.score(["cat"], "1") == pytest.approx(10 / 4 / math.sqrt(3) * math.exp(-(2**2) / (2 * 6**2)))


def test_repeating_a_word_is_clipped_at_the_references_count():
    cider = CiderD({"1": [["red", "cat"]], "2": [["blue", "bird"]]})
    # "red red": norm doubles, the match is counted once: cosine 1/(2*sqrt(2)).
    assert cider.score(["red", "red"], "1") == pytest.approx(10 / 4 / (2 * math.sqrt(2)))


def test_words_that_every_image_shares_are_worth_nothing():
    cider = CiderD({"1": [["a", "cat"]], "2": [["a", "bird"]]})
    assert cider.score(["a"], "1") == 0.0


@given(words, words.filter(lambda tokens: "red" in tokens))
def test_the_only_reference_itself_scores_ten_and_nothing_scores_more(other, tokens):
    reference = [f"{word}!" for word in tokens]  # shares no word with the other image: every idf is positive
    cider = CiderD({"1": [reference], "2": [other]})
    assert cider.score(reference, "1") == pytest.approx(10.0)
    assert cider.score(other + reference, "1") <= 10.0


@given(st.lists(words, min_size=2, max_size=5), words, st.randoms(use_true_random=False))
def test_the_order_of_references_does_not_matter(references, candidate, random):
    shuffled = references[:]
    random.shuffle(shuffled)
    other = [["blue", "bird", "sings"]]
    one, two = CiderD({"1": references, "2": other}), CiderD({"1": shuffled, "2": other})
    assert one.score(candidate, "1") == pytest.approx(two.score(candidate, "1"))


@given(words)
def test_token_ids_score_like_words(candidate):
    ids = {word: index for index, word in enumerate(WORDS)}
    references = {"1": [["a", "dog", "runs"], ["the", "red", "dog"]], "2": [["a", "cat"]]}
    as_ids = {key: [[ids[word] for word in caption] for caption in value] for key, value in references.items()}
    expected = CiderD(references).score(candidate, "1")
    assert CiderD(as_ids).score([ids[word] for word in candidate], "1") == pytest.approx(expected)


def test_an_empty_caption_scores_zero():
    assert CiderD({"1": [["red", "cat"]], "2": [["bird"]]}).score([], "1") == 0.0


def test_the_corpus_mean_is_the_mean_of_the_images():
    cider = CiderD({"1": [["red", "cat"]], "2": [["blue", "bird"]]})
    mean, each = cider.corpus({"1": ["red", "cat"], "2": ["cat"]})
    assert each == {"1": pytest.approx(cider.score(["red", "cat"], "1")), "2": 0.0}
    assert mean == pytest.approx(each["1"] / 2)


def test_forgetting_old_images_changes_no_score(monkeypatch):
    monkeypatch.setattr("fastcap.evaluation.cider.CACHED", 1)
    references = {str(n): [["red", "cat", f"w{n}"]] for n in range(5)}
    cider = CiderD(references)
    for _ in range(2):
        mean, _ = cider.corpus({key: value[0] for key, value in references.items()})
        assert mean == pytest.approx(10 / 4 * 3)  # the 4-grams of three words do not exist


def test_bad_input_is_named():
    with pytest.raises(DataError, match="at least one image"):
        CiderD({})
    with pytest.raises(DataError, match="no references of '7'"):
        CiderD({"7": []})
    with pytest.raises(ConfigError, match="sigma=0"):
        CiderD({"1": [["a"]]}, sigma=0)
    with pytest.raises(DataError, match="no references for image 'x'"):
        CiderD({"1": [["a"]]}).score(["a"], "x")
    with pytest.raises(DataError, match="at least one caption"):
        CiderD({"1": [["a"]]}).corpus({})


def test_equals_the_reference_tool(golden):
    references = {item["id"]: item["reference_tokens"] for item in golden["items"]}
    mean, _ = CiderD(references).corpus({item["id"]: item["prediction_tokens"] for item in golden["items"]})
    assert mean == pytest.approx(golden["scores"]["CIDEr"], abs=1e-9)


def test_a_reward_takes_well_under_a_millisecond(golden):
    cider = CiderD({item["id"]: item["reference_tokens"] for item in golden["items"]})
    candidates = {item["id"]: item["prediction_tokens"] for item in golden["items"]}
    cider.corpus(candidates)
    start = time.process_time()
    cider.corpus(candidates)
    assert (time.process_time() - start) / len(candidates) < 0.5e-3  # seconds; about 0.05 ms on a 2-core server
