"""Token ids to a sentence that can be shown to readers, worded as alt text."""

from __future__ import annotations

import re

from fastcap.errors import one_text
from fastcap.runtime import english

__all__ = ["ends_early", "lacks_noun", "sentence", "word_count"]

_LONGEST_REPEAT = 3  # words; longer immediate repeats hardly occur, and lists may repeat a phrase on purpose

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
    text = "".join(letter if letter.isprintable() else " " for letter in one_text(text, "the text"))
    before = None
    while text != before:  # one repair may make another necessary: "a dog , a dog"
        before = text
        text = _repaired(text)
    first = re.search(r"[^\W_]", text)
    if not first:
        return ""
    at = first.start()
    text = (text[:at] + text[at].upper() + text[at + 1 :]).rstrip(" ,;:-.")
    return text if text.endswith(("!", "?")) else text + "."


def _repaired(text: str) -> str:
    for pattern, replacement in _SPACING:
        text = pattern.sub(replacement, text)
    text = " ".join(_without_repeats(text.split()))
    return _PREAMBLE.sub("", text, count=1)


def word_count(text: str) -> int:
    """Words as a reader counts them: runs of non-space that hold a letter or digit."""
    return sum(1 for word in one_text(text, "the text").split() if re.search(r"\w", word))


def ends_early(text: str) -> bool:
    """Whether a sentence stops where a word is due: after an article, a preposition, a conjunction, an auxiliary, or an
    adjective or number whose noun is missing ("A man in a red."). A single noun is whole in the plural alone.
    """
    words = _WORD.findall(one_text(text, "the text").casefold())
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
    "Two soccer."). Stricter than `ends_early`: for captions among which others can be chosen."""
    *_, previous, last = ["", "", *_WORD.findall(text.casefold())]
    if previous in ("is", "are"):
        return last == "rock" or (last in english.COMPOUNDS and not last.endswith("ing"))
    if previous in english.NUMBERS:
        return not _PLURAL.fullmatch(last)
    return previous in ("a", "an") and last in english.COMPOUNDS


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
