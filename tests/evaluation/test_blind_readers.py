"""Readers of the question alone."""

from __future__ import annotations

import pytest

from fastcap.errors import ConfigError
from fastcap.evaluation.readers import BagOfWords, Majority

QUESTIONS = ["Is there a dog?", "is there a cat?", "what color is the dog?", "what color is the cat?"] * 5
ANSWERS = ["yes", "no", "Black", "white"] * 5


def test_the_majority_is_said_whatever_is_asked() -> None:
    reader = Majority([*ANSWERS, "Yes."])
    assert reader.answers(["what color?", "who?"]) == ["yes", "yes"]
    with pytest.raises(ConfigError, match="no answers to learn from"):
        Majority([])


def test_words_of_a_question_tell_its_answer() -> None:
    reader = BagOfWords(QUESTIONS, ANSWERS)
    assert reader.answers(QUESTIONS[:4]) == ["yes", "no", "black", "white"]
    assert reader.answers(["IS THERE A DOG"]) == ["yes"]
    assert reader.answers([""])[0] in ("yes", "no", "black", "white")


def test_the_same_seed_gives_the_same_reader() -> None:
    first, again = BagOfWords(QUESTIONS, ANSWERS, seed=1), BagOfWords(QUESTIONS, ANSWERS, seed=1)
    assert (first.weights == again.weights).all()


def test_answers_that_do_not_belong_to_the_questions_are_refused() -> None:
    with pytest.raises(ConfigError, match="got 2 questions and 1 answers"):
        BagOfWords(["a", "b"], ["c"])
