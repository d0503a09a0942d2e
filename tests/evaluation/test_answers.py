"""VQA accuracy against examples worked out by hand."""

from __future__ import annotations

import pytest

from fastcap.errors import ConfigError
from fastcap.evaluation.answers import normalised, vqa_accuracy


@pytest.mark.parametrize(
    ("said", "compared"),
    [
        ("Yes.", "yes"),
        ("The two dogs", "2 dogs"),
        ("none", "0"),
        ("  a   Red\nball ", "red ball"),
        ("dont", "don't"),
        ("isn’t", "isn't"),
        ("black/white", "black white"),  # a mark between letters parts them
        ("black, white", "black white"),
        ("t-shirt", "t shirt"),
        ("1,000", "1000"),
        ("1.5 m.", "1.5 m"),
        ("u.s.a.", "usa"),
        ("(left)", "left"),
        ("o'clock", "o'clock"),
        ("ten", "10"),
        ("", ""),
    ],
)
def test_answers_are_compared_in_one_form(said: str, compared: str) -> None:
    assert normalised(said) == compared
    assert normalised(compared) == compared


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["yes"] * 10, 1.0),
        (["no"] * 10, 0.0),
        (["yes"] + ["no"] * 9, 0.3),  # for nine of ten people, one of the others agrees: 9/10 x 1/3
        (["yes"] * 2 + ["no"] * 8, 0.6),  # 8/10 x 2/3 + 2/10 x 1/3
        (["yes"] * 3 + ["no"] * 7, 0.9),  # 7/10 x 1 + 3/10 x 2/3
        (["Yes", "yes.", "YES", "the yes"] + ["no"] * 6, 1.0),
        (["yes"], 1.0),
        (["no"], 0.0),
    ],
)
def test_an_answer_counts_by_how_many_people_gave_it(answers: list[str], expected: float) -> None:
    assert vqa_accuracy("yes", answers) == pytest.approx(expected)


def test_what_is_no_list_of_texts_is_refused() -> None:
    with pytest.raises(ConfigError, match="got one text; needed: a list of answers"):
        vqa_accuracy("yes", "yes")
    with pytest.raises(ConfigError, match="no answers to compare with"):
        vqa_accuracy("yes", [])
    with pytest.raises(ConfigError, match="the answer is the int 2"):
        vqa_accuracy(2, ["2"])  # type: ignore[arg-type]
