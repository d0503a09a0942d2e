"""BLEU, ROUGE-L, METEOR, tokens and diversity: small cases by hand, and equality with the reference tool."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcap.errors import DataError
from fastcap.evaluation.bleu import bleu
from fastcap.evaluation.cider import CiderD
from fastcap.evaluation.diversity import diversity, has_repeat
from fastcap.evaluation.meteor import align, compare, meteor
from fastcap.evaluation.metrics import UNITS, evaluate_captions, score_captions
from fastcap.evaluation.ptb import ptb_tokens
from fastcap.evaluation.rouge import rouge_l
from fastcap.evaluation.stem import stem


def words(text: str) -> list[str]:
    return text.split()


captions = st.lists(st.sampled_from(words("a dog cat runs on the grass red ball")), min_size=4, max_size=12)


@pytest.mark.parametrize(
    ("caption", "tokens"),
    [
        ("A dog's ball, and a cat.", "a dog 's ball and a cat"),
        (
            "They'll tow it if you don't pay; you cannot stay!",
            "they 'll tow it if you do n't pay you can not stay",
        ),
        ('A sign that reads "STOP - now..."', "a sign that reads stop now"),
        ("A boy (with a T-shirt) skis cross-country", "a boy -lrb- with a t-shirt -rrb- skis cross-country"),
        ("Traffic at 4:30 on St. Luke's Ave. in the U.S.", "traffic at 4:30 on st. luke 's ave. in the u.s."),
        ("A t.v. is on.", "a t.v. is on"),
        ("22 3/4 st and 50/50", "22 3/4 st and 50/50"),
        ("Hors d'oeuvres at five o'clock", "hors d'oeuvres at five o'clock"),
        ("the ground.A man", "the ground.a man"),
        ("Bread &amp; butter for $3.50", "bread & butter for $ 3.50"),
        ("A beige/white cat with 8+ kittens", "a beige/white cat with 8 + kittens"),
        ("a café’s sign", "a café 's sign"),
        ("", ""),
        (" ... ", ""),
    ],
)
def test_tokens_are_those_of_the_java_tokenizer(caption, tokens):
    assert ptb_tokens(caption) == tokens.split()


@given(st.text(max_size=80))
def test_any_text_has_tokens_without_spaces_or_capitals(text):
    for token in ptb_tokens(text):
        assert token and not any(letter.isspace() for letter in token)
        assert token == token.lower()


def test_tokens_equal_the_reference_tools_on_every_caption(golden):
    for item in golden["items"]:
        assert ptb_tokens(item["prediction"]) == item["prediction_tokens"]
        assert [ptb_tokens(reference) for reference in item["references"]] == item["reference_tokens"]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("एक कुत्ता है", "एक कुत्ता है"),
        ("كلبٌ يركض", "كلبٌ يركض"),
        ("A dog—brown—runs.", "a dog brown runs"),
        ("**A dog** runs.", "** a dog ** runs"),
        ("Train No. 7", "train no. 7"),
        ("joe@example.com", "joe@example.com"),
        ("(555) 123-4567", "-lrb-555-rrb- 123-4567"),
        ("(555)123-4567", "-lrb-555-rrb-123-4567"),
        ("+1-800-555-1234", "+1 -800 -555 -1234"),
        ("open 12:30-13:00", "open 12:30 -13:00"),
        ("A U.S.-based team, ex-U.S.", "a u.s.-based team ex-u.s."),
        (r"a\*b and\/or d' c", r"a \* b and\/or d' c"),
        ("A #tag and @user", "a #tag and @user"),
        ("½ of it", "1/2 of it"),
        ("€5 and 7¢", "$ 5 and 7 cents"),
        ("A dog 😀 at 5:54pm", "a dog at 5:54 pm"),
        ("The AT&T sign, 4m² :-)", "the at&t sign 4m ² :--rrb-"),
        ("Plan B. The dog at the U.S. border", "plan b the dog at the u.s. border"),
    ],
)
def test_marks_scripts_and_symbols_become_what_the_java_tool_makes_of_them(text, tokens):
    assert ptb_tokens(text) == tokens.split()


def test_tokens_equal_those_of_the_java_tool_on_5000_drawn_texts():
    """`benchmarks/ptb.py` draws the texts and asks the Java tool."""
    lines = gzip.decompress((Path(__file__).parent / "ptb_golden.tsv.gz").read_bytes()).decode("utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    different = [text for text, tokens in rows if ptb_tokens(text) != tokens.split()]
    assert len(rows) == 5000
    assert len(different) <= 6, different  # should’nt, a slip of the pen, and dates after a number


def test_bleu_by_hand():
    # "a red dog runs" against "a red cat runs": 3 of 4 words, 1 of 3 pairs, no triple; lengths agree.
    scores = bleu({"1": words("a red dog runs")}, {"1": [words("a red cat runs")]})
    assert scores[0] == pytest.approx(3 / 4)
    assert scores[1] == pytest.approx(math.sqrt(3 / 4 * 1 / 3))
    assert scores[2] == pytest.approx(0, abs=1e-4)


def test_bleu_punishes_brevity_against_the_closest_reference():
    references = {"1": [words("a red dog runs"), words("a red dog runs on the green grass")]}
    # All words are right; 3 words against the closest length, 4.
    assert bleu({"1": words("a red dog")}, references)[0] == pytest.approx(math.exp(1 - 4 / 3))


def test_bleu_counts_a_repeated_word_as_often_as_one_reference_has_it():
    assert bleu({"1": ["a", "a", "a", "a"]}, {"1": [["a", "a", "dog", "x"], ["a", "y", "z", "u"]]})[0] == (
        pytest.approx(2 / 4)
    )


def test_rouge_by_hand():
    # Common subsequence "a dog runs" of length 3: precision 3/4, recall 3/5, beta 1.2.
    score = rouge_l(words("a dog quickly runs"), [words("a dog there runs on")])
    assert score == pytest.approx((1 + 1.44) * (3 / 4) * (3 / 5) / (3 / 5 + 1.44 * 3 / 4))


def test_rouge_of_nothing_in_common_is_zero():
    assert rouge_l(["a"], [["b"]]) == 0.0
    assert rouge_l([], [["b"], []]) == 0.0


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("skateboarding", "skateboard"),
        ("skateboards", "skateboard"),
        ("running", "run"),
        ("horses", "hors"),
        ("parties", "parti"),
        ("skies", "sky"),
        ("hoped", "hope"),
        ("generally", "general"),
        ("hopefulness", "hope"),
        ("playing", "play"),
        ("on", "on"),
    ],
)
def test_stems_are_porters(word, expected):
    assert stem(word) == expected


def test_meteor_by_hand():
    # "dog runs" against "dogs run": two stem matches of weight 0.6 in one chunk. Precision = recall = 0.6, so
    # the mean is 0.6; there is no penalty, since all words match in one chunk.
    statistics = compare(["dog", "runs"], ["dogs", "run"])
    assert (statistics.matches, statistics.chunks) == (2, 1)
    assert statistics.score == pytest.approx(0.6)
    # Swapped: two chunks for two matches, the full penalty of 0.6.
    assert compare(["runs", "dog"], ["dog", "runs"]).score == pytest.approx(1 - 0.6)


def test_meteor_weighs_function_words_less():
    # "the dog" against "a dog": the content word matches; 0.75 of a length of 0.75 + 0.25.
    statistics = compare(["the", "dog"], ["a", "dog"])
    assert statistics.score == pytest.approx(0.75 * (1 - 0.6))


def test_meteor_aligns_a_repeated_word_with_the_fewest_chunks():
    pairs = align(words("a man on a red horse"), words("on a red horse a man"))
    assert list(pairs) == [(0, 4), (1, 5), (2, 0), (3, 1), (4, 2), (5, 3)]


def test_meteor_differs_from_the_full_tool_by_what_its_docstring_says(golden):
    candidates = {item["id"]: item["prediction_tokens"] for item in golden["items"]}
    references = {item["id"]: item["reference_tokens"] for item in golden["items"]}
    score = meteor(candidates, references)
    assert score == pytest.approx(0.2720, abs=5e-5)
    assert golden["scores"]["METEOR"] == pytest.approx(0.2810, abs=5e-5)


@given(captions)
def test_the_reference_itself_gets_the_maximum(tokens):
    caption = " ".join(tokens)
    metrics = evaluate_captions({"1": caption, "2": "blue bird"}, {"1": [caption], "2": ["blue bird"]})
    for name in ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l"):
        assert metrics[name] == pytest.approx(100, abs=1e-3)
    assert compare(tokens, tokens).score == pytest.approx(1)


@given(captions, st.lists(captions, min_size=1, max_size=4))
def test_every_score_stays_within_its_range_whatever_the_order_of_references(candidate, references):
    texts = [" ".join(tokens) for tokens in references]
    forward, backward = (
        evaluate_captions({"1": " ".join(candidate), "2": "blue bird"}, {"1": order, "2": ["a blue bird"]})
        for order in (texts, texts[::-1])
    )
    assert forward == pytest.approx(backward)
    assert 0 <= forward["cider"] <= 1000 + 1e-6
    assert all(0 <= forward[name] <= 100 + 1e-6 for name in ("bleu_1", "bleu_4", "rouge_l", "meteor"))


def test_diversity_by_hand():
    metrics = diversity({"1": words("a dog runs"), "2": words("a dog runs"), "3": [], "4": words("a a dog")})
    assert metrics["distinct_captions"] == 3
    assert metrics["vocabulary"] == 3
    assert metrics["distinct_1"] == pytest.approx(3 / 9)
    assert metrics["distinct_2"] == pytest.approx(3 / 6)
    assert metrics["mean_length"] == pytest.approx(9 / 4)
    assert metrics["repetition_rate"] == pytest.approx(1 / 4)
    assert metrics["empty_rate"] == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("caption", "repeats"),
    [
        ("a hat on top of a hat", False),
        ("two boys side by side", False),
        ("a very very tall man", True),
        ("a hat on a hat on a bed", True),
        ("on top of on top of a bed", True),
        ("", False),
    ],
)
def test_an_immediate_repeat_is_of_one_to_three_words(caption, repeats):
    assert has_repeat(caption.split()) is repeats


def test_every_metric_has_a_unit():
    assert list(evaluate_captions({"1": "a dog"}, {"1": ["a dog"]})) == list(UNITS)


def test_captions_and_references_must_be_of_the_same_images():
    with pytest.raises(DataError, match="1 of 1 images have no references, among them '2'"):
        evaluate_captions({"2": "a dog"}, {"1": ["a dog"]})
    with pytest.raises(DataError, match="1 of 2 images have no caption, among them '2'"):
        evaluate_captions({"1": "a dog"}, {"1": ["a dog"], "2": ["a cat"]})
    with pytest.raises(DataError, match="at least one image"):
        evaluate_captions({}, {})


def test_the_front_equals_the_reference_tool(golden):
    scores = score_captions(
        {item["id"]: item["prediction"] for item in golden["items"]},
        {item["id"]: item["references"] for item in golden["items"]},
    )
    names = {f"BLEU-{n}": f"bleu_{n}" for n in range(1, 5)} | {"ROUGE-L": "rouge_l", "CIDEr": "cider"}
    for name, ours in names.items():
        assert scores.metrics[ours] / 100 == pytest.approx(golden["scores"][name], abs=1e-6), name
    assert sum(scores.cider.values()) / len(scores.cider) == pytest.approx(scores.metrics["cider"])


def test_a_published_two_sentence_example(data_root):
    folder = data_root / "metrics" / "nlg_eval_example"
    hypotheses, *references = (
        [line.split() for line in (folder / name).read_text(encoding="utf-8").splitlines() if line]
        for name in ("hyp.txt", "ref1.txt", "ref2.txt")
    )
    candidates = {str(i): tokens for i, tokens in enumerate(hypotheses)}
    expected = {str(i): list(both) for i, both in enumerate(zip(*references, strict=True))}
    # Tokens are split at white space there, without further tokenisation.
    assert bleu(candidates, expected) == pytest.approx([0.550000, 0.428174, 0.284043, 0.201143], abs=1e-6)
    rouge = [rouge_l(candidates[key], expected[key]) for key in candidates]
    assert sum(rouge) / len(rouge) == pytest.approx(0.522104, abs=1e-6)
    assert CiderD(expected).corpus(candidates)[0] == pytest.approx(1.242192, abs=1e-6)
