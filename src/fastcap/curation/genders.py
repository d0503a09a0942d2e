"""Which gender a term states, and so that of the people in a caption and in a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

from fastcap.curation.bias import Mention, mentions
from fastcap.runtime.english import words

__all__ = ["Gender", "gender_of", "of_caption", "of_picture", "without_gender"]

Gender: TypeAlias = Literal["woman", "man", ""]
"""What captions say; "" where they say nothing, both, or something else."""

_WOMEN = words("""
    she her hers herself mother mom mommy mum mummy mama momma mamma grandma granny gran nana nonna abuela
    babushka gramma grandmom grandmum grandmama grannie aunt auntie aunty wife wifey missus sister sis
    girlfriend bride bridesmaid widow spinster maiden damsel dame madam madame mademoiselle mrs ms miss maid nun
    ballerina diva heroine female feminine womanly girly girlish lass lassie gal lady ladylike matron geisha
    matriarch housewife latina chicana filipina muslimah tsarina czarina maharani rani ranee contessa señora
    señorita senora senorita signora signorina frau ma'am lumberjill schoolmarm handmaiden maidservant crone
    dowager marchesa marquise margravine hajja bhikkhuni sheikha superior starlet debutante suffragette
    ladyfriend parisienne charlady fiancee fiancée tomboy wench unladylike womenfolk
""")
_WOMEN_END = words("""
    woman women girl girls lady ladies maid maids mother mothers daughter daughters sister sisters aunt aunts
    niece nieces wife wives queen queens ess esses ette ettes enne ennes euse euses trix trixes mom moms mum
    mums girlfriend girlfriends
""")
_NEITHER = words("""
    transgender transgendered trans transsexual transsexuals nonbinary genderqueer genderfluid agender bigender
    intersex cisgender cis transmasculine transfeminine cissexual androgynous mx enby enbies
""")


def gender_of(term: str) -> Gender:
    """The gender that a mention of one states; "" for trans and non-binary terms that state neither."""
    lower = term.lower().replace("-", " ")
    last = lower.rpartition(" ")[2]
    if last in _NEITHER or lower.endswith(("binary", "fluid", "nonconforming", "conforming", "diverse", "spirit")):
        return ""
    if last in ("law", "waiting") or lower.endswith(("of color", "of colour")):
        last = lower.partition(" ")[0]
    if last == "ma" or {last, last.removesuffix("s"), last.removesuffix("es"), last.removesuffix("ies") + "y"} & _WOMEN:
        return "woman"
    return "woman" if last.endswith(tuple(_WOMEN_END)) else "man"


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
