"""Which gender a term states, and so that of the people in a caption and in a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastcap.curation.bias import Mention, mentions
from fastcap.curation.terms import Gender, gender_of

__all__ = ["Gender", "gender_of", "of_caption", "of_picture", "without_gender"]


def of_caption(found: Iterable[Mention]) -> Gender:
    """The gender of the people in a caption, by its mentions; "" unless all that say one say the same."""
    said = {gender_of(mention.text) for mention in found if mention.category == "gender"} - {""}
    return said.pop() if len(said) == 1 else ""


def of_picture(captions: Sequence[Gender]) -> Gender:
    """The gender of the people in a picture, by its captions': said by two of them, or by the only one, and no other
    said by any (as Zhao et al., "Understanding and Evaluating Racial Biases in Image Captioning", ICCV 2021)."""
    said = [gender for gender in captions if gender]
    agree = len(set(said)) == 1 and len(said) >= min(2, len(captions))
    return said[0] if agree else ""


def without_gender(text: str) -> str:
    """A caption without the words that state a gender."""
    parts, at = [], 0
    for mention in mentions(text):
        if mention.category == "gender" and mention.start >= at:
            parts.append(text[at : mention.start])
            at = mention.end
    return "".join([*parts, text[at:]])
