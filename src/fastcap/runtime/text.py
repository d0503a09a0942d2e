"""Token ids to a sentence that can be shown to readers, worded as alt text."""

from __future__ import annotations

import re

from fastcap.errors import one_text
from fastcap.runtime import english

__all__ = ["caption_words", "ends_early", "is_garbled", "lacks_noun", "names_twice", "sentence", "word_count"]

_LONGEST_REPEAT = 3  # words; longer immediate repeats hardly occur, and lists may repeat a phrase on purpose

_PICTURES = ("image", "pic", "photo", "snapshot")  # one of which each of the next contains
_PICTURE = r"(?:image|picture|photo|photograph|snapshot|pic)"
# Alt text says what is seen, not that it is a picture: screen readers announce "image" themselves.
_PREAMBLE = re.compile(
    rf"""^(?:this\ is\ |there\ is\ |it\ is\ )? (?:an?|the|this)? \s*\b {_PICTURE} \s+
         (?:(?:taken\ )?of|showing|depicting|shows|depicts|is\ of|contains|features) \s+ (?=.*[^\W_])""",
    re.IGNORECASE | re.VERBOSE,
)
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
# These end a sentence after some words alone: "cars drive by", "two men sitting down", "a crowd looks on"
_MAY_END = {
    "by": re.compile(r"(?:pass|stand|go|walk|driv|fl[iy]|run|rid|float|sail|watch)\w*"),
    "down": re.compile(
        r"(?:sit|look|la[iy]|l[iy]|fall|bend|kneel|hang|dangl|slid|climb|bow|stoop|crouch|com[ei]|crash|tip|roll|turn|"
        r"pull|knock)\w*|sat|set|bent|upside|back|one|heads?|face|hands?|and|it|them|go(?:es|ing)?"
    ),
    "over": re.compile(
        r"(?:look|bend|lean|hunch|flip|knock|turn|roll|fall|tip|toppl|tumbl|hang|pull)\w*|bent|all|and|it"
    ),
    "front": re.compile(r"(?!in$).*"),
}
_BEFORE_ON = re.compile(r"look\w*|with|without|has|have|wear\w*|nothing")
_PLURAL = re.compile(r"people|men|women|children|\w*[^\W_s]s")
_PARTS = english.words("group bunch pair couple number row")  # of something
_BEFORE_OFF = re.compile(r"(?:tak|show|tee|dr[yi]|com|go|fall|fly|cut|head|light|set)\w*")
_ARTICLES = ("a", "an")
_BEFORE_NOUNS = english.words("in of at with from for into to")
_RELATIVES = english.words("who that which whose where")
_TELLS_APART = _RELATIVES | {"in", "with"}  # begins what is said of one of several things
_VERBS_OF_STATE = ("is", "are", "was", "were")
# What no noun begins with, so that an adjective before it lacks its own
_AFTER_NOUN = english.PLAIN_PREPOSITIONS | english.words("is are was were has have a an the")
_DRESSED = ("in", "with", "wearing", "wears")  # after which a colour is whole: "dressed in red"
_SPACING = (
    (re.compile(r"\s+([,.;:!?%)\]}])"), r"\1"),
    (re.compile(r"([(\[{$#])\s+"), r"\1"),
    (re.compile(r"\s+(n't|'(?:s|re|ve|ll|d|m|t))\b", re.IGNORECASE), r"\1"),
    (re.compile(r"(?<=\w) - (?=\w)"), "-"),
    (re.compile(r'"\s*([^"]*?)\s*"'), r'"\1"'),
)


def sentence(text: str) -> str:
    """Repair raw decoder text: spacing, immediate repeats, picture preambles, first letter, full stop.

    Applying it twice changes nothing. Returns "" when `text` holds no letter or digit.
    """
    if not one_text(text, "the text").isprintable():
        text = "".join(letter if letter.isprintable() else " " for letter in text)
    before = None
    while text != before:  # one repair may make another necessary: "a dog , a dog"
        before = text
        text = _repaired(text)
    at = next((place for place, letter in enumerate(text) if letter.isalnum()), None)
    if at is None:
        return ""
    text = (text[:at] + text[at].upper() + text[at + 1 :]).rstrip(" ,;:-.")
    return text if text.endswith(("!", "?")) else text + "."


def _repaired(text: str) -> str:
    is_plain = text.isascii() and _has_words_alone(text)  # as nearly all captions are: no pattern of spacing matches
    if not is_plain:
        for pattern, replacement in _SPACING:
            text = pattern.sub(replacement, text)
    text = " ".join(_without_repeats(text.split()))
    if is_plain and not any(map(text.lower().__contains__, _PICTURES)):
        return text
    return _PREAMBLE.sub("", text, count=1)


def _has_words_alone(text: str) -> bool:
    """Whether there are letters, digits and spaces, and nothing else."""
    return text.replace(" ", "").isalnum()


def caption_words(text: str) -> list[str]:
    """The words of a text in small letters, without punctuation but for what is within a word."""
    folded = text.casefold()
    plain = folded.removesuffix(".")
    # The engine of patterns has left the processor's caches by the time that a network has run.
    return plain.split() if _has_words_alone(plain) else _WORD.findall(folded)


def word_count(text: str) -> int:
    """Words as a reader counts them: runs of non-space that hold a letter or digit."""
    return sum(1 for word in one_text(text, "the text").split() if re.search(r"\w", word))


def ends_early(text: str) -> bool:
    """Whether a sentence stops where a word is due: after an article, a preposition, a conjunction, an auxiliary, or an
    adjective or number whose noun is missing ("A man in a red."). A single noun is whole in the plural alone.
    """
    words = caption_words(one_text(text, "the text"))
    if not words:
        return True
    *before, last = words
    previous = before[-1] if before else ""
    if last in english.NEVER_LAST:
        return True
    if not before:  # "Dogs" tells what is seen, "Dog" lacks its article
        return not _PLURAL.fullmatch(last)
    if last in _MAY_END:
        return not _MAY_END[last].fullmatch(previous)
    if last == "on":
        return not any(map(_BEFORE_ON.fullmatch, before))
    if last == "her":  # as an object it may: "looks at her"
        return previous in ("in", "on")
    if last in english.ADJECTIVES:
        while before and (before[-1] in english.ADJECTIVES | english.COLOURS or before[-1] in ("and", "or", "very")):
            before.pop()
        if not before or before[-1] in english.DETERMINERS:
            return True
        needs_noun = before[-1] in english.PREPOSITIONS | english.TRANSITIVES
        return needs_noun and not (last in english.COLOURS and before[-1] in _DRESSED)
    if last in english.COLOURS:  # also nouns: "holds an orange", but "in an orange"
        return len(before) > 1 and previous in ("a", "an") and before[-2] == "in"
    if last.endswith("ing") and last not in english.THINGS and previous in ("a", "an"):
        return True
    if last in ("standing", "sitting"):  # where? But "a man is standing" is whole
        return len(words) < 7 and english.AUXILIARIES.isdisjoint(words)
    return len(words) == 2 and previous in ("a", "an") and last in _PARTS


def lacks_noun(text: str) -> bool:
    """Whether a sentence stops after the first part of a compound ("A man holding a tennis.", "A man is rock.",
    "Two soccer.", "A group of football."), or has a participle and nothing else for a verb ("A bus driving."). Stricter
    than `ends_early`: for captions among which others can be chosen."""
    words = caption_words(text)
    *_, part, previous, last = ["", "", "", *words]
    if previous in ("is", "are"):
        return last == "rock" or (last in english.COMPOUNDS and not last.endswith("ing"))
    if previous == "of" and part in _PARTS:
        return not (_PLURAL.fullmatch(last) or last in english.MASSES)
    if previous in english.NUMBERS:
        return not _PLURAL.fullmatch(last)
    if last == "off":
        return not _BEFORE_OFF.fullmatch(previous)
    if last.endswith("ing") and last not in english.THINGS and len(words) <= 4:
        return english.AUXILIARIES.isdisjoint(words)
    return previous in _ARTICLES and last in english.COMPOUNDS


def is_garbled(text: str) -> bool:
    """Whether words stand where no rule of grammar lets them: "A red is parked", "a sitting in", "in is", "is playing
    is running", "Two man are", "in a white dog". For captions among which others can be chosen."""
    words = [*caption_words(text), "", ""]
    clauses = any(mark in text for mark in ",;:") or not _RELATIVES.isdisjoint(words)
    state = False  # whether a verb of this clause was found
    for place, word in enumerate(words[:-2]):
        before, after, then = words[place - 1] if place else "", words[place + 1], words[place + 2]
        if word in english.CONJUNCTIONS:
            state = False
        elif word in _VERBS_OF_STATE:
            compound = after == "rock" or (after in english.COMPOUNDS and not after.endswith("ing"))
            if after in _VERBS_OF_STATE or before in _BEFORE_NOUNS or (state and not clauses):
                return True
            if compound and then and not then.endswith(("ing", "s")):
                return True  # "is rock wall"
            state = True
        if word in english.NO_OBJECT and after in ("a", "an", "the"):
            return True
        if word in ("on", "in", "to", "with") and after == "of":
            return True
        if word in ("with", "to", "of") and after in _BEFORE_NOUNS:
            return True
        if word in english.NUMBERS and then in ("is", "are") and not _may_be_plural(after):
            return True
        if word in _ARTICLES and _lacks_its_noun(words, place):
            return True
    return False


def names_twice(text: str) -> bool:
    """Whether a thing comes in a second time as if it were new: "riding a horse on a horse", "in a red shirt is wearing
    a red shirt", "Two dogs are playing with a dog". What is said of another one tells them apart ("a black dog and a
    white dog", "a boy and a boy in red"). For captions among which others can be chosen."""
    words = caption_words(text)
    nouns = [word.removesuffix("s") for word in words if word not in english.FUNCTION_WORDS]
    if len({*nouns}) == len(nouns):  # as in most
        return False
    known: dict[str, set[str]] = {}  # the adjectives of each noun
    adjectives: set[str] = set()
    article = False
    for word, after in zip(words, [*words, ""][1:], strict=True):
        last = not after or after in english.FUNCTION_WORDS  # of a noun phrase
        if word in english.ADJECTIVES or (not last and word in english.COLOURS):
            adjectives.add(word)
        elif word not in english.FUNCTION_WORDS and (last or word not in english.COMPOUNDS):  # "a tennis racquet"
            noun = word.removesuffix("s")
            told = not last or after in _TELLS_APART
            if article and not told and noun in known and adjectives <= known[noun]:
                return True
            known.setdefault(noun, set()).update(adjectives)
            adjectives, article = set(), False
        elif word in english.FUNCTION_WORDS and word != "and":  # "a black and white dog"
            adjectives, article = set(), word in _ARTICLES
    return False


def _may_be_plural(word: str) -> bool:
    others = english.MASSES | english.ADJECTIVES | english.FUNCTION_WORDS
    return bool(_PLURAL.fullmatch(word)) or word in others


def _lacks_its_noun(words: list[str], article: int) -> bool:
    """Whether a noun is missing after "a", or is one that cannot be: "a red is", "a sitting in", "in a dog"."""
    at = article + 1
    while words[at] in english.ADJECTIVES or (words[at] == "and" and words[at + 1] in english.ADJECTIVES):
        at += 1
    noun, after = words[at], words[at + 1]
    bare = words[at - 1]
    if at > article + 1:
        adjective = bare in english.NEVER_NOUNS or bare in english.COLOURS
        degree = bare == "little" and at == article + 2 and article > 0
        if adjective and noun in _AFTER_NOUN and not degree:
            return True
    elif noun in _AFTER_NOUN - english.words("like than"):
        return True
    if noun.endswith("ing") and noun not in english.THINGS:
        return not after or after in english.PLAIN_PREPOSITIONS
    if noun in english.ANIMALS and article and words[article - 1] == "in":
        return not after or after in _AFTER_NOUN
    one = noun in english.ANIMALS or noun in ("man", "woman", "boy", "girl", "child", "person")
    return one and after == "are" and "and" not in words[:article]


def _without_repeats(words: list[str]) -> list[str]:
    """Drop immediate repeats of one to three words: "a hat a hat" says no more than "a hat"."""
    result: list[str] = []
    keys: list[str] = []
    for word in words:
        result.append(word)
        keys.append(word.casefold().strip(",.;:") or word)
        for n in range(1, _LONGEST_REPEAT + 1):
            if len(result) >= 2 * n and keys[-n:] == keys[-2 * n : -n]:
                del result[-2 * n : -n], keys[-2 * n : -n]  # the later copy stays, with the punctuation that ends it
                break
    return result
