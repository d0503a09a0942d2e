"""Alternative text that breaks a published rule is flagged, with the rule's name; good text is not."""

from __future__ import annotations

import json

import pytest

from fastcap.cli import main
from fastcap.runtime.lint import LONGEST, RULES, lint

BROKEN = {
    "empty": ["", "  ", "...", "\u2013"],
    "file name": ["IMG_1234.jpg", "IMG_20200101_120000", "DSC00042", "holiday beach.png", "1234", "screenshot 12"],
    "placeholder": ["image", "Photo.", "alt text", "untitled"],
    "preamble": [
        "An image of a dog in a park",
        "photo of two cats",
        "This is a picture showing a boat on a lake",
        "This picture shows a dog",
        "There is a picture of a dog",
        "A black and white photo of a dog",
    ],
    "too long": ["a dog " * 26],
    "too short": ["dog"],
    "capitals": ["A DOG RUNS ON GRASS"],
    "repeat": ["A dog a dog on grass", "two two cats"],
    "markup": ["A <b>red</b> ball", "cats &amp; dogs", "a [dog](http)"],
    "address": ["A dog, see https://example.org/dog", "the www.example.org logo on a wall"],
    "emoji": ["A happy dog \U0001f600"],
    "line break": ["A dog\nruns"],
}
GOOD = [
    "A brown dog catches a frisbee on the grass.",
    "Two children build a sandcastle beside the sea.",
    "Map of the harbour with three ferry lines",
    "Image sensors on a circuit board, seen from above",  # about images, not a preamble
    "7 swans on a lake",
    "New York at night",
    "Bora Bora beach at dusk",
    "Tourists take photos of a bear",
]


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in BROKEN.items() for text in texts])
def test_a_broken_rule_is_named(rule, text):
    assert rule in [finding.rule for finding in lint(text)]


def test_every_rule_has_an_example():
    assert set(BROKEN) == set(RULES)


@pytest.mark.parametrize("text", GOOD)
def test_good_text_is_not_flagged(text):
    assert lint(text) == []


def test_the_longest_text_allowed_is_allowed():
    text = ("abcd " * 40)[: LONGEST - 1] + "x"
    assert "too long" not in [finding.rule for finding in lint(text)]
    assert "too long" in [finding.rule for finding in lint(text + "x")]


def test_gendered_words_are_flagged_when_asked_for():
    assert lint("A woman holds a cup") == []
    (finding,) = lint("A woman holds a cup", neutral=True)
    assert finding.rule == "gendered"
    assert "(woman)" in finding.advice


def test_the_command_prints_findings_and_fails_when_there_are_any(capsys, monkeypatch):
    assert main(["lint", GOOD[0]]) == 0
    assert capsys.readouterr().out == ""
    assert main(["lint", GOOD[0], "image"]) == 1
    assert capsys.readouterr().out.startswith("'image': placeholder: say what the picture shows")
    monkeypatch.setattr("sys.stdin", iter(["dog\n", f"{GOOD[1]}\n"]))
    assert main(["lint", "--json", "-"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [[finding["rule"] for finding in row["findings"]] for row in rows] == [["too short"], []]
