"""What the captions of a picture say, and a question about it in words."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fastcap.curation.nouns import is_person_noun, singular
from fastcap.curation.phrases import noun_phrases, words_of
from fastcap.curation.question_words import MASS_NOUNS, PLURAL_ONLY, SAME

__all__ = ["FORMS", "Picture", "Question", "named", "phrased"]

FORMS: Mapping[str, tuple[str, ...]] = {
    "existence": (
        "is there {a}?",
        "is there {a} in the picture?",
        "do you see {a}?",
        "can you see {a} here?",
        "does the picture show {a}?",
    ),
    "number": ("how many {s} are there?", "how many {s} are in the picture?", "how many {s} can you see?"),
    "colour": ("what color is the {s}?", "what is the color of the {s}?"),
    "attribute": ("{is} the {s} {c}?", "is the color of the {s} {c}?"),
    "amount": ("are there {c} {s}?", "do you see {c} {s}?", "does the picture show {c} {s}?"),
    "activity": ("what {is} the {s} doing?",),
    "place": ("where {is} the {s}?",),
}
"""How each kind is asked; which form a question has says nothing about its answer."""


@dataclass(frozen=True)
class Question:
    """A question about a picture, and its answer; `about`: what it asks for, in one word or two."""

    image: Path
    kind: str
    about: str
    text: str
    answer: str

    def record(self, image: str) -> dict[str, object]:
        """As a file of conversations has it, where the picture is called `image`."""
        turns = [{"from": "human", "value": self.text}, {"from": "assistant", "value": self.answer}]
        return {"image_path": image, "answer_type": self.kind, "conversations": turns}


class Picture:
    """What the captions of a picture say: their words, noun phrases and objects, under one name for each thing."""

    def __init__(self, image: Path, captions: Sequence[str], names: Iterable[str]) -> None:
        self.image = image
        self.captions = [words_of(caption) for caption in captions]
        self.phrases = [list(noun_phrases(words)) for words in self.captions]
        self.objects = frozenset(names)

    @functools.cached_property
    def words(self) -> frozenset[str]:
        """All words, also in the singular and under one name."""
        said = {word for words in self.captions for word in words}
        said |= {part for word in said for part in word.split("-")}
        said |= {singular(word) for word in said}
        return frozenset(said | {named(word) for word in said})

    @functools.cached_property
    def beginnings(self) -> frozenset[str]:
        """The first four letters of the words: "surf" is that of surfer, surfing and surfboard."""
        return frozenset(word[:4] for word in self.words if len(word) >= 4)

    @functools.cached_property
    def people(self) -> frozenset[str]:
        """Words for people."""
        return frozenset(word for word in self.words if is_person_noun(word))

    @functools.cached_property
    def counts(self) -> Counter[str]:
        """How many captions name each object; a compound is another thing than its last noun: a stream bed, a hot
        dog."""
        return Counter(name for phrases in self.phrases for name in {named(phrase.name) for phrase in phrases})


def named(noun: str) -> str:
    """The one name of a thing that has several."""
    return SAME.get(noun, noun)


def phrased(image: Path, kind: str, about: str, shown: str, answer: str, rng: np.random.Generator) -> Question:
    """A question in one of the forms of its kind."""
    forms = FORMS[kind]
    form = forms[rng.integers(len(forms))]
    article = "an" if shown[0] in "aeiou" and not shown.startswith(("uni", "one")) else "a"
    a = shown if shown in MASS_NOUNS else f"{article} {shown}"
    last = shown.rpartition(" ")[2]
    many = singular(last) != last or last in PLURAL_ONLY
    if last in PLURAL_ONLY and kind == "existence":
        form, a = form.replace("is there", "are there"), shown
    text = form.replace("{a}", a).replace("{s}", shown).replace("{is}", "are" if many else "is")
    return replace(Question(image, kind, about, "", answer), text=text)
