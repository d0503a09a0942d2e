"""VQA accuracy: how far an answer agrees with those of ten people (Antol et al. 2015, section 4; Goyal et al. 2017).

Answers are compared as the challenge's evaluation does: in lower case, without articles and punctuation, numbers to ten
as digits, contractions with their apostrophes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from fastcap.errors import ConfigError, listed, one_text
from fastcap.runtime import english

__all__ = ["AGREEING", "normalised", "vqa_accuracy"]

AGREEING = 3
"""People who have to say the same for an answer to be fully right."""
ARTICLES = frozenset(("a", "an", "the"))
_TO_TEN = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(_TO_TEN)}
_WHOLE = english.words("""
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's i'd've i'm i've isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've
    needn't not've o'clock oughtn't shan't she'd've should've shouldn't shouldn't've that's there'd there'd've there're
    there's they'd they'd've they'll they're they've wasn't we'd've we've weren't what'll what're what's what've when's
    where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've
    y'all y'all'll y'all'd've you'd you'd've you'll you're you've
""")
CONTRACTIONS = {word.replace("'", ""): word for word in _WHOLE}
_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_POINT = re.compile(r"(?<!\d)\.|\.(?!\d)")  # but for that of 1.5
_GROUPED = re.compile(r"(\d),(?=\d)")  # 1,000


def normalised(answer: str) -> str:
    """An answer as it is compared with others: "The two dogs." and "2 dogs" are one.

    A mark beside a space, or in a number ("1,000"), is left out; one between letters becomes a space. Raises
    ConfigError for what is no text.
    """
    text = " ".join(one_text(answer, "the answer").lower().replace("’", "'").split())
    grouped = _GROUPED.search(text) is not None
    for mark in _MARKS:
        if mark in text:
            beside = f"{mark} " in f"{text} " or f" {mark}" in f" {text}"
            text = text.replace(mark, "" if beside or grouped else " ")
    words = (NUMBERS.get(word, word) for word in _POINT.sub("", text).split())
    words = (CONTRACTIONS.get(word.replace("'", ""), word) for word in words if word not in ARTICLES)
    return " ".join(words)


def vqa_accuracy(answer: str, answers: Sequence[str]) -> float:
    """How right an answer is, 0..1: `min(n / 3, 1)`, n of the other people's answers being the same, the mean over
    leaving out each person in turn. Of one answer alone, whether it is the same.

    Raises ConfigError where `answers` is no list of texts, or empty.
    """
    counts = Counter(normalised(one) for one in listed(answers, "answers"))
    total, same = counts.total(), counts[normalised(answer)]
    if total == 1:
        return float(same)
    if not total:
        raise ConfigError("there are no answers to compare with; needed: at least one")
    left, right = min((same - 1) / AGREEING, 1.0), min(same / AGREEING, 1.0)
    return (same * left + (total - same) * right) / total
