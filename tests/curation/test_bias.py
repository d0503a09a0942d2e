"""What counts as a mention of a protected attribute, and that the matcher finds it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastcap.curation.bias import CATEGORIES, mentions

LETTERS = {
    "g": "gender",
    "o": "sexual_orientation",
    "r": "race_ethnicity",
    "n": "nationality",
    "f": "religion",
    "d": "disability",
    "a": "age",
}
HERE = Path(__file__).parent


def marked(path: Path) -> list[tuple[str, set[tuple[int, int, str]]]]:
    """Sentences without their marks, and the spans that were marked."""
    cases = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        text, spans = "", set()
        for part in re.split(r"(\[[^]|]+\|[a-z]+\])", line):
            if part.startswith("["):
                phrase, letters = part[1:-1].split("|")
                spans |= {(len(text), len(text) + len(phrase), LETTERS[letter]) for letter in letters}
                text += phrase
            else:
                text += part
        cases.append((text, spans))
    return cases


def measured(cases: list[tuple[str, set[tuple[int, int, str]]]]) -> tuple[float, float, list[str]]:
    """Precision, recall, and the sentences that are not as marked."""
    right = said = due = 0
    wrong = []
    for text, spans in cases:
        found = {(mention.start, mention.end, mention.category) for mention in mentions(text)}
        right, said, due = right + len(found & spans), said + len(found), due + len(spans)
        if found != spans:
            missing = [(text[start:end], category) for start, end, category in sorted(spans - found)]
            extra = [(text[start:end], category) for start, end, category in sorted(found - spans)]
            wrong.append(f"{text}  MISSING {missing} EXTRA {extra}")
    return right / said, right / due, wrong


def test_the_sentences_are_many_and_cover_every_category():
    cases = marked(HERE / "bias_sentences.txt")
    assert len(cases) >= 300
    for category in CATEGORIES:
        assert sum(category in {label for *_, label in spans} for _, spans in cases) >= 12, category
    assert sum(not spans for _, spans in cases) >= 90


def test_precision_and_recall_of_spans_with_their_category():
    precision, recall, wrong = measured(marked(HERE / "bias_sentences.txt"))
    assert min(precision, recall) >= 0.97, "\n".join(wrong)


def test_precision_and_recall_on_sentences_written_before_it_was_run_on_them():
    precision, recall, wrong = measured(marked(HERE / "bias_sentences_blind.txt"))
    assert min(precision, recall) >= 0.97, "\n".join(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "A Great Dane carries his ball past a fence.",
        "A queen bee crawls over her hive.",
        "A German shepherd licks his bowl.",
        "A king penguin waddles to her mate.",
        "A Vizsla and a shih tzu wait; one lost his toy.",
        "A pupil reads with a coloured ruler.",
    ],
)
def test_pronouns_of_breeds_and_kinds_of_animals_and_colours_of_things_are_no_mentions(text):
    assert mentions(text) == []
    assert [m.text for m in mentions("A man walks a Great Dane with his son.")] == ["man", "his", "son"]


@pytest.mark.parametrize(
    "text", ["", " ", "\n", "12", "?!", "’s", "'", "\U0001f600", "İstanbul", "ﬁreman", "a" * 9_999]
)
def test_odd_texts_are_read_without_an_error(text):
    assert all(text[m.start : m.end] == m.text for m in mentions(text))


def test_offsets_count_code_points_also_behind_letters_that_grow_in_lower_case():
    text = "\U0001f600 İİ’s café: the woman’s hat"
    assert [(m.text, text[m.start : m.end]) for m in mentions(text)] == [("woman", "woman")]


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("A {} tourist waves.", "nationality"),
        ("Two {}-born runners rest.", None),
        ("A {} dog barks.", None),
        ("A {} restaurant opens.", None),
    ],
)
def test_a_demonym_counts_before_people_only(text, category):
    for nation in ("Bhutanese", "Togolese", "Vanuatuan", "Kittitian", "Burkinabe", "East Timorese", "Liechtenstein"):
        found = {mention.category for mention in mentions(text.format(nation))}
        assert found == ({category} if category and nation != "Liechtenstein" else set()), nation
