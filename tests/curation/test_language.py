"""Captions as texts: their figures, how far annotators agree, what a transformed caption keeps."""

from __future__ import annotations

import pytest

from fastcap.curation.language import Agreement, content_words, language_figures, word_fidelity

PICTURES = (
    ("a brown dog runs on grass", "the dog is running", "a red bus"),
    ("two men on bikes", "men riding bicycles"),
    ("a single caption",),
)


def test_content_words_are_stems_without_grammar():
    assert content_words("The dogs are running in the fields") == content_words("a dog runs in a field")
    assert content_words("of the and") == []


def test_agreement_is_the_cosine_with_the_closest_other_caption():
    first, second, third = Agreement(PICTURES).closest()
    assert first[0] == first[1] and first[0] is not None and first[0] > 0.5
    assert first[2] == 0 and third == [None]
    assert second[0] == second[1] and 0 < (second[0] or 0) < 1


def test_rare_words_weigh_more():
    pictures = [("a dog in snow", "a dog on snow")] * 5 + [("a dog with a zebra", "a zebra", "a dog")]
    zebra, dog = Agreement(pictures).closest()[-1][1:]
    assert zebra is not None and dog is not None and zebra > dog


def test_figures_by_hand():
    figures = language_figures(["a dog", "A dog!", "a dog dog runs over there", ""])
    assert figures["captions"] == 4 and figures["length"]["mean"] == 2.5
    assert figures["length"]["histogram"] == {0: 1, 2: 2, 6: 1}
    assert (figures["vocabulary"], figures["used_once"]) == (5, 3)
    assert figures["repeated"] == 0.5 and figures["repeated_texts"] == [["a dog", 2]]
    assert figures["repetition_rate"] == 0.25 and figures["openings"] == [["a dog dog", 1]]
    assert figures["lint"]["repeat"] == 1 and figures["lint"]["empty"] == 1


def test_no_captions_have_figures_too():
    assert language_figures([])["length"]["mean"] == 0


@pytest.mark.parametrize(
    ("original", "transformed", "kept"),
    [
        ("a man rides a horse", "a man rides a horse", 1.0),
        ("a man rides a horse", "a person rides the horse", 2 / 3),
        ("a man rides a horse", "two cats sleep", 0.0),
        ("of the", "of a", 1.0),
        ("of the", "a dog", 0.0),
    ],
)
def test_fidelity_is_the_f_score_of_content_words(original, transformed, kept):
    assert word_fidelity([original], [transformed]) == pytest.approx([kept])
