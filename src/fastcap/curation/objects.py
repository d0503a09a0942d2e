"""Which objects captions name: the nouns of their noun phrases, found by classes of words and endings, no downloads.

It is no parser: a noun that is also a verb counts after an article, an adjective or a preposition, and a run of nouns
is one object, "fire hydrant".
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from fastcap.curation.nouns import singular
from fastcap.runtime import english
from fastcap.runtime.grammar import base_form

__all__ = ["ADJECTIVES", "WORD", "ObjectCounts", "entropy", "gini", "objects_in", "sampling_weights", "word_kind"]

WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+|[^\w\s]")
_NOT_OBJECTS = english.words("""
    front back side sides top bottom middle center centre end background foreground distance edge corner way air
    direction left right part kind type sort lot lots bunch group number couple pair row line set piece variety day
    time view area place something thing things one ones other others look photo picture image snapshot shot scene
    position motion action style color colour s t
""")
"""Nouns of place, quantity and the picture itself."""
ADJECTIVES = (
    english.ADJECTIVES
    | english.COLOURS
    | english.words("""
    next other ready dark sharp much more most less everywhere public murky midair underwater such own same first second
    third last asleep alert alike alive aware able amazing bare blurry bumpy calm cold cool hot warm crazy dead dense
    dull empty extra fat flat foreign free funny fuzzy general gloomy grassed half hazy heavy high hollow huge human
    inner intense jagged joint late lean level light-colored local lonely long-haired loose low mad male female medium
    middle-aged mid mixed moist muscular natural neat near nude off-road opposite outer outside overhead pale partial
    past patchy plump polka present proud pure purple-haired rapid raw red-headed rustic separate serious short-haired
    shot sick sleepy slick slippery sloppy solid spiky spotty stray sudden super sweaty tired toy-filled unusual upper
    usual vacant vast wavy whole wild windswept woolly school-aged middle-eastern
""")
)
_OFTEN_VERBS = english.VERBS - english.words("""
    bat bike board box camp cart chair class clothes coach cook cover cut dance drink face field fish hand head hill
    horn iron land light line match mop park paint pet picnic pitch plant point pool pot race rail ramp ride road rock
    row sail score shop show shower ski sled slide smile snow spray step stick street strap surf swing table tap ties
    track train trap tree trip umbrella wall water wave
""")
_BEFORE_NOUNS = english.DETERMINERS | ADJECTIVES | english.PREPOSITIONS
_ENDINGS = ("ly", "ful", "ous", "less", "ish", "ive", "able", "ible")
_NOUNS_IN_ENDINGS = english.words("""
    family butterfly belly jelly fly bully dragonfly rally dish fish radish rubbish starfish olive drive dive detective
    table cable vegetable stable live natives captive wrestling ally trolley polly doily mouthful handful goldfish
    catfish jellyfish archive hive parish polish
""")


def objects_in(caption: str) -> list[str]:
    """The objects of a caption in order, each once: the nouns in lower case and the singular, compounds as a whole."""
    found: dict[str, None] = {}
    run: list[str] = []
    before = ""
    words = WORD.findall(caption.lower())
    for place, word in enumerate([*words, "."]):
        after = words[place + 1] if place + 1 < len(words) else ""
        if word.endswith(("'s", "’s")):
            noun, ends = word[:-2], True  # an owner stands for itself
        else:
            noun, ends = word, False
        is_verb = bool(run) and noun in english.VERBS and singular(run[-1]) != run[-1]  # "people ride"
        if not is_verb and _is_noun(noun, before if not run else "the", after, bool(run)):
            run.append(noun)
        else:
            ends = True
        if ends and run:
            name = " ".join([*run[-2:-1], singular(run[-1])])  # of a longer run, the last two
            if run[-1] not in _NOT_OBJECTS and singular(run[-1]) not in _NOT_OBJECTS:
                found[name] = None
            run = []
        before = word
    return list(found)


@lru_cache(maxsize=50_000)
def word_kind(word: str) -> str:
    """ "other" for what is never a noun, "verb" for what is one only after an article or the like, "either" for what is
    one as an object, too, else "noun"."""
    if not word.isascii() or not word[0].isalpha() or len(word) < 2:
        return "other" if not word[:1].isalpha() or len(word) < 2 else "noun"
    if word in english.FUNCTION_WORDS or word in english.NUMBERS or word in ADJECTIVES:
        return "other"
    if word.endswith(("ing", "ed")) and word not in english.THINGS and word not in english.NOUNS_IN_ED:
        return "other" if word not in ("king", "ceiling") else "noun"
    if word.endswith(_ENDINGS) and word not in _NOUNS_IN_ENDINGS and singular(word) not in _NOUNS_IN_ENDINGS:
        return "other"
    if word in _OFTEN_VERBS or (base := base_form(word)) in _OFTEN_VERBS or word in english.PARTICIPLES:
        return "verb"
    return "either" if base in english.VERBS else "noun"


def _is_noun(word: str, before: str, after: str, in_run: bool) -> bool:
    kind = word_kind(word)
    if kind in ("noun", "other"):
        return kind == "noun"
    if in_run or before in ("to", "can", "who", "that", "which", "and"):
        return False  # "a dog runs"
    is_object = kind == "either" and (before in english.VERBS or before.endswith("ing"))  # "ride bikes"
    return (before in _BEFORE_NOUNS or is_object) and after not in english.DETERMINERS


_COMPOUND = 5  # captions that name a compound; below, its last noun is the object


class ObjectCounts:
    """How often objects are named. `pictures`: in how many pictures; `captions`: in how many captions.

    Args:
        captions: of each picture.
    """

    def __init__(self, captions: Iterable[Sequence[str]]) -> None:
        named = [[objects_in(text) for text in texts] for texts in captions]
        often = Counter(name for picture in named for names in picture for name in names)

        def settled(names: Iterable[str]) -> set[str]:
            return {name if often[name] >= _COMPOUND else name.rpartition(" ")[2] for name in names}

        self.by_picture: list[frozenset[str]] = []
        self.pictures: Counter[str] = Counter()
        self.captions: Counter[str] = Counter()
        for picture in named:
            captions_ = [settled(names) for names in picture]
            self.captions.update(name for names in captions_ for name in names)
            self.by_picture.append(frozenset().union(*captions_))
            self.pictures.update(self.by_picture[-1])

    def ranked(self) -> list[tuple[str, int]]:
        """Objects and in how many pictures they are, most frequent first."""
        return sorted(self.pictures.items(), key=lambda item: (-item[1], item[0]))

    def rare(self, below: int) -> list[tuple[str, int]]:
        """Those in fewer than `below` pictures but in more than one, rarest last: a word that stands once is as often
        a slip as an object."""
        return [(name, n) for name, n in self.ranked() if 1 < n < below]

    def figures(self, topk: int, below: int) -> dict[str, float | int]:
        """`objects` that are named, `rare` ones (in fewer than `below` pictures) and `once` ones (in a single one),
        `gini` (0 even, 1 one object has all) and `entropy` in bits of the counts, and `top_share`: the part of all
        counts that the `topk` most frequent have."""
        counts = [n for _, n in self.ranked()]
        return {
            "objects": len(counts),
            "rare": sum(1 < n < below for n in counts),
            "once": sum(n == 1 for n in counts),
            "gini": gini(counts),
            "entropy_bits": entropy(counts),
            "top_share": sum(counts[:topk]) / max(1, sum(counts)),
        }


def gini(counts: Sequence[int]) -> float:
    """Gini's coefficient: 0 where all counts are equal, towards 1 where one has nearly all."""
    if not counts:
        return 0.0
    ordered, n = sorted(counts), len(counts)
    return sum((2 * rank - n - 1) * count for rank, count in enumerate(ordered, 1)) / (n * sum(ordered))


def entropy(counts: Iterable[int]) -> float:
    """Shannon's entropy of shares, in bits."""
    values = [count for count in counts if count]
    total = sum(values)
    return -sum(count / total * math.log2(count / total) for count in values)


def sampling_weights(
    by_picture: Sequence[frozenset[str]], pictures: Mapping[str, int], *, threshold: int, floor: int = 5
) -> list[float]:
    """A weight for each picture, 1 or more, by repeat-factor sampling (Gupta et al., LVIS, CVPR 2019, section 4.2).

    An object in n pictures has the factor max(1, sqrt(threshold / n)); a picture has the largest of its objects.
    Objects in fewer than `floor` pictures are left out: among them are slips of the pen, which would gain most.
    """

    def factor(name: str) -> float:
        n = pictures[name]
        return max(1.0, math.sqrt(threshold / n)) if n >= floor else 1.0

    return [max(map(factor, names), default=1.0) for names in by_picture]
