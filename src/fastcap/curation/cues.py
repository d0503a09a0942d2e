"""Words around a term that tell whether it is about people."""

from __future__ import annotations

import re

from fastcap.runtime.english import words

__all__ = [
    "BEES", "BRIDGES", "CHESS", "COLOUR_OF_SKIN", "DAYS", "DESCRIBED_LATER", "EVENTS", "FIRST_NAMES", "HAVING",
    "KIN", "NEVER_CAPITAL", "NOT_SAID_OF", "NO_MEN", "OF_CONDITIONS", "OLD_PEOPLE", "ONLY_CAPITAL", "ORIGINS",
    "PETS", "PIECES", "RANKS_BEFORE", "SINGULAR_ADJECTIVES", "SPEAKING", "SURNAMES", "TAUGHT", "TOYS",
    "USUAL_NOUNS",
]  # fmt: skip

KIN = words("""
    mother father mom mum dad mama papa baby babies parent parents brother sister twins kid kids daddy mommy
    aunt mothers fathers brothers sisters child children young adult adults male female males females
""")
"""Words that name animals and people alike."""
SPEAKING = words("""
    speak speaks speaking spoke in learn learns learning study studies studying teach teaches teaching taught
    translated written reads write into from understand of
""")
"""What stands before a language."""
TAUGHT = words("""
    teacher teachers tutor tutors lesson lessons class classes exam exams homework book books textbook textbooks
    dictionary dictionaries professor professors course courses grammar language languages test tests alphabet
    speaker speakers words word phrase subtitles translation interpreter interpreters translator translators
""")
"""What stands after a language or a subject of a school."""
SURNAMES = words("""
    black white brown young french english welsh irish king gay christian bishop pope monk priest german scot
    deacon prince abbot baron duke earl cardinal elder guy israel jordan english holland vicar parsons rector
    friar
""")
FIRST_NAMES = words("christian guy gay israel german roma deacon")
NO_MEN = words("""
    letterman dobermen human superhuman subhuman inhuman german roman norman ottoman caiman cayman talisman
    shaman doberman ataman hetman mussulman pullman walkman batman superman spiderman pacman aquaman ironman
    hangman snowman strawman bogeyman wolfman sandman desman dragoman leman abdomen specimen regimen acumen
    stamen ramen lumen bitumen albumen cyclamen turkmen dolmen foramen gravamen cerumen snowmen strawmen merman
    mermen catechumen birdman brahman cyberman cybermen gingerbreadman gingerbreadmen x-men xmen newman truman
""")
"""Words in -man and -men that name no man."""
NEVER_CAPITAL = words("young old older elder blind straight mute lame senior")
"""Adjectives that have a capital only in names."""
DAYS = words("""
    monday tuesday wednesday thursday friday saturday sunday christmas easter january february march april may
    june july august september october november december
""")
CHESS = re.compile(
    r"\b(?:chess\w*|gambits?|checkmate|pawns?|rooks?|castling|(?:takes|captures) the (?:knight|bishop|queen))\b",
    re.IGNORECASE,
)
BEES = re.compile(r"\b(?:bees?|bee-?keepers?|bee-?hives?|hives?|ants?|wasps?|termites?)\b", re.IGNORECASE)
PIECES = words("king kings queen queens bishop bishops knight knights")
TOYS = words("toy lego playmobil barbie gingerbread scarecrow nutcracker snow plush")
"""What stands before a word for somebody who is a toy or a cake."""
EVENTS = words("""
    race match game march final finals tournament competition relay event championship protest rally football soccer
    hockey basketball tennis volleyball rugby cricket marathon sprint
""")
"""What people are in, so that "a women's race" is about them."""
USUAL_NOUNS = words(
    "train coach board box light cart paint park press swing plant ride show point pack star dive line camp"
)
"""Nouns that are verbs, too, but seldom after an adjective."""
BRIDGES = words("born both all almost now since partly and or so deaf blind young old black white gay straight")
"""What may stand between a noun and an adjective that follows it."""
COLOUR_OF_SKIN = words("black white brown")
DESCRIBED_LATER = words("straight old aged lame mute english male female")
"""Adjectives that follow their noun only after a comma."""
NOT_SAID_OF = words("straight bi native")
"""Adjectives that mean something else after "is"."""
SINGULAR_ADJECTIVES = words("elder male female adolescent juvenile infant newborn adult teen")
"""Adjectives that are nouns after an article."""
ONLY_CAPITAL = words("""
    kiwi kiwis yank yanks moor moors afar pueblo cham moro miao desi fula iban pole poles swede swedes scots scot finn
    finns dane danes turk turks brit brits
""")
"""Names of people that are other words in lower case."""
PETS = words("persian burmese maltese manx afghan arabian siamese bengal danish")
"""Which are pets, rugs or pastries where no noun for people follows."""
RANKS_BEFORE = words("school college university high")
"""Before "senior", what says a year of school."""
OLD_PEOPLE = words("""
    people person folk folks couple couples resident residents citizen citizens swimmer swimmers dancer dancers
    runner runners athlete athletes walker walkers hiker hikers golfer golfers patient patients traveller
    travellers group groups learner learners shopper shoppers cyclist cyclists
""")
"""After "senior", those who are old rather than of a rank."""
HAVING = words("with has have on his her wearing wears using their")
OF_CONDITIONS = words("awareness clinic charity centre center research test parking ward leaflet poster")
"""After a condition, what is about it only."""
ORIGINS = words("descent origin ancestry heritage ethnicity background")
"""What somebody is of: "of Asian descent"."""
