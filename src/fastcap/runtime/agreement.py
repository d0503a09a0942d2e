"""Subjects that become plural, and the verbs that agree with them: "he runs" to "they run"."""

from __future__ import annotations

from fastcap.runtime import english
from fastcap.runtime.draft import Draft
from fastcap.runtime.grammar import base_form, in_case_of, is_participle

__all__ = ["fit_subject"]


def fit_subject(draft: Draft, place: int) -> None:
    """Reword "he" and "she"."""
    gap = draft.gaps[place]
    if (
        draft.gaps[place + 1].startswith("-")
        or gap.endswith(("-", ")"))
        or (gap == "/" and draft.lower[place - 1] == "s")
    ):
        draft.doubt()  # "s/he"
    draft.put(place, "they")
    if _is_inverted(draft, place):
        return
    at = place + 1
    if clitic := draft.sentence.clitic(place):
        if clitic == "s":
            capitals = in_case_of(draft.sentence.words[place], "they") == "THEY"
            draft.words[at] = ("VE" if capitals else "ve") if _is_perfect(draft, at) else ("RE" if capitals else "re")
        _fit_coordinated(draft, at + 1)
        return
    while _continues(draft, at) and _is_adverb(draft, at):
        at += 1
    if not _continues(draft, at):
        at = _after_insertion(draft, at)  # "he, however, runs"
    elif draft.lower[at] in ("who", "that"):
        draft.doubt()  # "he who laughs last laughs best"
        return
    if at < len(draft.words) and draft.lower[at] != "and":
        if verb := base_form(draft.lower[at]):
            draft.put(at, verb)
        _fit_coordinated(draft, at + 1)


def _after_insertion(draft: Draft, at: int) -> int:
    """The place of the verb after what stands between two commas; the end of the sentence if there is no verb."""
    known = [place for place in range(at, len(draft.words)) if _is_finite(draft, place)]
    commas = [place for place in range(at, len(draft.words)) if draft.gaps[place].strip() == ","]
    if not known:
        return len(draft.words)
    if commas[:1] != [at] or commas[1:2] != known[:1]:
        draft.doubt()
    return known[0]


def _is_finite(draft: Draft, place: int) -> bool:
    """Whether a word is the third person of a verb that is known."""
    word = draft.lower[place]
    return word in english.PLURAL_AUXILIARIES or base_form(word) in english.VERBS


def _continues(draft: Draft, at: int) -> bool:
    return at < len(draft.words) and draft.gaps[at].isspace()


def _is_adverb(draft: Draft, at: int) -> bool:
    word = draft.lower[at]
    return word in english.ADVERBS or word in ("himself", "herself", "both") or (word.endswith("ly") and word != "fly")


def _is_inverted(draft: Draft, place: int) -> bool:
    """Whether an auxiliary stands before the subject; it is then made to fit: "Is he tall?", "Who is she?"."""
    at = place - 1
    if draft.before(place) == "t" and draft.sentence.has_apostrophe(at):
        at -= 1
    if draft.before(place) == "s" and draft.sentence.has_apostrophe(at) and draft.lower[at - 1] in english.QUESTIONS:
        draft.gaps[at] = " "
        draft.words[at] = "have" if draft.after(place) in english.PERFECT else "are"
        return True
    if not draft.before(place) or draft.lower[at] not in english.AUXILIARIES:
        return False
    first = at == 0 or not draft.gaps[at].isspace()
    if not first and draft.lower[at - 1] not in english.BEFORE_INVERSION and draft.lower[0] not in english.QUESTIONS:
        return False  # "it is he"
    draft.put(at, english.PLURAL_AUXILIARIES.get(draft.lower[at], draft.lower[at]))
    return True


def _is_perfect(draft: Draft, at: int) -> bool:
    """Whether the s of "he's" is has: "he's been", "he's caught a fish"."""
    while _continues(draft, at + 1) and _is_adverb(draft, at + 1):
        at += 1
    verb, then = draft.after(at), draft.after(at + 1)
    participle = is_participle(verb) or verb.endswith("en")
    has_object = then in english.POSSESSIVES or then in ("a", "an", "the", "it", "him", "them")
    return verb in english.PERFECT or (participle and has_object)


def _fit_coordinated(draft: Draft, at: int) -> None:
    """Make the other verbs of a subject fit: "he sits and reads", "she stops, looks and is gone"."""
    for place in range(at, len(draft.words)):
        word, verb, after = draft.lower[place], base_form(draft.lower[place]), draft.after(place)
        if word in ("he", "she", "they", "i", "we", "you"):
            return
        has_object = after in english.DETERMINERS or after in english.PRONOUNS
        noun_too = word in english.VERBS_OR_NOUNS and not (has_object or after in english.DIRECTIONS)
        if verb and (_is_finite(draft, place) or has_object) and _follows_conjunction(draft, place):
            if noun_too:
                draft.doubt()
            draft.put(place, verb)
        elif _is_finite(draft, place) and not noun_too and draft.before(place) not in english.DETERMINERS:
            if not _has_subject(draft, place):
                draft.doubt()
            return  # of another clause, "as a dog runs and barks", to which those after it may belong


def _has_subject(draft: Draft, place: int) -> bool:
    """Whether a noun or pronoun stands before a third person, so that it is a verb."""
    before = draft.before(place)
    if draft.lower[place] in english.PLURAL_AUXILIARIES or before in english.SUBORDINATORS | english.PRONOUNS:
        return True
    plain = before not in english.FUNCTION_WORDS | english.ADJECTIVES and base_form(before) not in english.VERBS
    return plain and any(draft.before(at) in english.DETERMINERS for at in (place - 1, place - 2))


def _follows_conjunction(draft: Draft, place: int) -> bool:
    at = place - 1
    while at > 0 and _continues(draft, at + 1) and _is_adverb(draft, at):
        at -= 1
    joined = _continues(draft, at + 1) and draft.lower[at] in ("and", "or", "but")
    return joined or draft.gaps[at + 1].strip() == ","
