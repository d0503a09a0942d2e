"""Neutral wording: captions that say "person" where a picture cannot tell who somebody is.

A model guesses gender from clothes and hair, and is wrong often enough to hurt. The option `neutral` bars gendered
words from decoding, so that the decoder searches for the best sentence without one; those that it spells from smaller
tokens are replaced afterwards. Only whole words are compared: "manhole" contains "man", but is kept.
"""

from __future__ import annotations

import re

__all__ = ["GENDERED", "gendered_words", "neutralise"]

_PAIRS = """
    man person, mans persons, men people, mens peoples, woman person, women people, womens peoples, boy child,
    boys children, girl child, girls children, lady person, ladies people, gentleman person, gentlemen people,
    guy person, guys people, gal person, gals people, male person, males people, female person, females people,
    dude person, dudes people, lad child, lads children, lass child, bro person, he they, she they, him them, his their,
    her their, hers theirs, himself themselves, herself themselves, father parent, fathers parents, mother parent,
    mothers parents, stepfather parent, stepmother parent, dad parent, dads parents, daddy parent, daddies parents,
    mom parent, moms parents, mommy parent, mommies parents, mum parent, mummy parent, mama parent, papa parent,
    son child, sons children, daughter child, daughters children, brother sibling, brothers siblings, sister sibling,
    sisters siblings, husband spouse, husbands spouses, wife spouse, wives spouses, housewife person,
    boyfriend partner, boyfriends partners, girlfriend partner, girlfriends partners, uncle relative,
    uncles relatives, aunt relative, aunts relatives, nephew relative, nephews relatives, niece relative,
    nieces relatives, grandfather grandparent, grandfathers grandparents, grandmother grandparent,
    grandmothers grandparents, granddad grandparent, grandpa grandparent, grandpas grandparents, grandma grandparent,
    grandmas grandparents, granny grandparent, grannies grandparents, grandson grandchild, grandsons grandchildren,
    granddaughter grandchild, granddaughters grandchildren, widow person, widower person, bride newlywed,
    brides newlyweds, groom newlywed, grooms newlyweds, bridegroom newlywed, bridesmaid attendant,
    bridesmaids attendants, groomsman attendant, groomsmen attendants, actress actor, actresses actors,
    waitress server, waitresses servers, waiter server, waiters servers, barman bartender, barmaid bartender,
    hostess host, hostesses hosts, maid cleaner, maids cleaners, ballerina dancer, ballerinas dancers,
    geisha performer, geishas performers, nun person, nuns people, monk person, monks people, king monarch,
    kings monarchs, queen monarch, queens monarchs, prince royal, princes royals, princess royal, princesses royals,
    cowboy rider, cowboys riders, cowgirl rider, cowgirls riders, businessman professional,
    businessmen professionals, businesswoman professional, businesswomen professionals, policeman officer,
    policemen officers, policewoman officer, policewomen officers, fireman firefighter, firemen firefighters,
    firewoman firefighter, fisherman fisher, fishermen fishers, fisherwoman fisher, salesman seller, salesmen sellers,
    saleswoman seller, saleswomen sellers, mailman carrier, mailmen carriers, postman carrier, postmen carriers,
    milkman carrier, workman worker, workmen workers, craftsman artisan, craftsmen artisans, handyman worker,
    handymen workers, doorman attendant, doormen attendants, repairman technician, repairmen technicians,
    cameraman operator, cameramen operators, serviceman soldier, servicemen soldiers, servicewoman soldier,
    servicewomen soldiers, guardsman guard, guardsmen guards, crewman worker, crewmen workers, lineman worker,
    linemen workers, stuntman performer, stuntmen performers, horseman rider, horsemen riders, horsewoman rider,
    horsewomen riders, sportsman athlete, sportsmen athletes, sportswoman athlete, sportswomen athletes,
    batsman batter, batsmen batters, baseman player, basemen players, ballboy helper, ballgirl helper,
    frenchman person, frenchmen people, englishman person, englishmen people, irishman person, scotsman person,
    gunman person, gunmen people, swordsman fencer, swordsmen fencers, schoolboy pupil, schoolboys pupils,
    schoolgirl pupil, schoolgirls pupils, tomboy child, tomboys children, stewardess attendant,
    stewardesses attendants, landlord owner, landlady owner, congressman politician, congresswoman politician,
    chairman chair, chairmen chairs, spokesman speaker, spokeswoman speaker, showgirl dancer, showgirls dancers,
    playboy person, sir person, madam person, mister person, mr mx, mrs mx, ms mx
"""
GENDERED: dict[str, str] = dict(pair.split() for pair in _PAIRS.split(","))
"""Gendered words and their replacements, in lower case. A list of our own, for English captions of photographs."""

_AFTER_THEY = {"is": "are", "was": "were", "has": "have", "does": "do"}
_WORD = re.compile(r"([^\W\d_]+)")


def gendered_words(text: str) -> list[str]:
    """The gendered words of a text, in order, as they are written there."""
    return [word for word in _WORD.findall(text) if word.casefold() in GENDERED]


def neutralise(text: str, always: bool = False) -> str:
    """The text with every gendered word replaced in the same case, and the articles and verbs beside it adapted.

    "male" and "female" before another word are left out.
    """
    parts = _WORD.split(text)  # words are at odd indices
    for place in range(1, len(parts), 2):
        word = parts[place]
        neutral = GENDERED.get(word.casefold())
        if neutral is None:
            continue
        followed = place + 2 < len(parts) and parts[place + 1].isspace()
        following = parts[place + 2].casefold() if followed else ""
        if word.casefold() in ("male", "female") and followed and following not in ("and", "or", *GENDERED):
            parts[place] = parts[place + 1] = ""
            if word[0].isupper():
                parts[place + 2] = parts[place + 2].capitalize()
            neutral = following
        else:
            if word.casefold() == "her" and not followed:
                neutral = "them"
            parts[place] = _in_case_of(word, neutral)
            if neutral == "they" and following in _AFTER_THEY:
                parts[place + 2] = _AFTER_THEY[following]
        before = place - 2
        if before > 0 and parts[before].casefold() in ("a", "an") and parts[before + 1].isspace():
            parts[before] = _in_case_of(parts[before], "an" if neutral[0] in "aeiou" else "a")
    return "".join(parts)


def _in_case_of(model: str, word: str) -> str:
    if model.isupper() and len(model) > 1:
        return word.upper()
    return word.capitalize() if model[0].isupper() else word
