"""Classes of English words, in lower case: what the rules of captions (`text`) and of neutral wording (`neutral`) need.

Closed classes are whole; the open ones hold the words that captions of photographs use often, and are no dictionary.
`scripts/web_constants.py` writes them for the web page.
"""

from __future__ import annotations

__all__ = [
    "ADJECTIVES",
    "ADVERBS",
    "AUXILIARIES",
    "COLOURS",
    "CONJUNCTIONS",
    "DETERMINERS",
    "NEVER_LAST",
    "NUMBERS",
    "POSSESSIVES",
    "PREPOSITIONS",
    "PRONOUNS",
    "THINGS",
    "TRANSITIVES",
    "VERBS",
    "VERBS_OR_NOUNS",
]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


POSSESSIVES = _set("my your his her its our their whose")
NUMBERS = _set("""
    two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
    nineteen twenty thirty forty fifty hundred hundreds dozens several many few
""")
DETERMINERS = (
    NUMBERS
    | POSSESSIVES
    | _set("""
    a an the this that these those some any no every each one both all another
""")
)
PREPOSITIONS = _set("""
    in on of at with from into onto to for by as like than through throughout against during between toward towards
    under underneath beneath below beside besides near across along alongside among amongst amid atop above over
    behind before after around about inside outside within without upon past beyond until till via per despite off
    down up out opposite except including aboard
""")
CONJUNCTIONS = _set("""
    and or but nor yet while whilst as that which who whom whose because if whether unless since until when whenever
    where wherever what why how than although though so
""")
AUXILIARIES = _set("""
    am is are was were be been being has have had having do does did can could will would shall should must may might
    cannot isn aren wasn weren hasn haven hadn doesn don didn can couldn won wouldn shouldn mustn isnt arent wasnt
    werent hasnt havent hadnt doesnt dont didnt
""")
PRONOUNS = _set("""
    i you he she it we they me him us them myself yourself himself herself itself ourselves themselves mine yours
    theirs hers ours something someone somebody everyone everybody everything nothing nobody anyone anything
""")
ADVERBS = _set("""
    not also always never ever just still already now then there here again too very quite rather almost only even
    often sometimes usually soon once together alone away apart back forward forwards backward backwards sideways
    upside upward upwards downward downwards indoors outdoors nearby ahead aside home upstairs downstairs else perhaps
    maybe however instead meanwhile today tonight afterwards somewhere anyway either neither twice well hard fast high
    low far long straight right left
""")
COLOURS = _set("""
    black white red blue green yellow pink purple brown grey gray beige maroon turquoise teal khaki navy tan orange
    silver gold golden lavender
""")
ADJECTIVES = COLOURS - _set("orange silver gold navy tan") | _set("""
    young younger youngest old older oldest elderly little small smaller tiny large larger big bigger huge giant
    enormous massive tall taller short shorter long wide narrow thick thin slender new modern antique vintage ancient
    beautiful pretty cute adorable lovely nice attractive handsome gorgeous happy sad angry excited curious playful
    busy crowded quiet deserted empty full lush grassy snowy sandy rocky muddy dirty dusty rusty messy cluttered wet
    dry wooden wooded stony icy hilly mountainous leafy blond blonde brunette redheaded bald balding bearded shirtless
    barefoot barefooted topless naked homeless pregnant overweight chubby skinny slim muscular athletic tattooed
    masked hooded helmeted uniformed costumed toothless asian african american indian chinese japanese korean mexican
    european caucasian hispanic oriental french british english german italian irish scottish jewish muslim aged
    teenage teenaged adolescent newborn senior colorful colourful multicolored multicoloured colored striped plaid
    checkered checked spotted floral flowered patterned bright shiny sunny cloudy clear rainy foggy windy stormy
    stuffed fluffy furry shaggy deep shallow steep calm rough rural urban suburban residential tropical outdoor indoor
    electric electronic professional military formal casual traditional commercial industrial fake real strange odd
    weird unique funny silly different various numerous multiple single lone double certain main major minor great
    good bad best fine nice fresh ripe soft hard smooth flat round curved vertical horizontal strong heavy metallic
    plastic stainless acoustic musical medical scenic snow-covered paved cobbled tiled fenced fallen broken frozen
    wrapped fancy elegant ornate decorative decorated elaborate nearby opposing oncoming portable inflatable oversized
    miniature parking living dining amusement grocery martial stainless cell nintendo
""")
"""Words that stand before a noun, of which no caption of a photograph ends in one where a noun is due."""
THINGS = _set("""
    building painting ceiling wedding swing ring string thing clothing railing opening crossing landing clearing
    sibling duckling gosling king wing spring awning earring offering gathering meeting drawing carving sling dumpling
    pudding being evening morning marking covering dressing setting outing stocking scaffolding dwelling
""")
"""Nouns in -ing: "a building" is whole, "a smiling" is not."""
TRANSITIVES = _set("""
    wearing wears holding holds carrying carries doing taking takes using uses making makes getting gets putting puts
    giving gives trying tries attempting attempts preparing prepares enjoying enjoys containing featuring overlooking
    facing dressed covered filled surrounded lined topped appears seems
""")
"""Words after which something has to follow: in 264,000 captions by people fewer than 1 in 200 of them is the last."""
NEVER_LAST = (
    (DETERMINERS - _set("one both all another her"))
    | _set("""
    in of at with from into onto to for as like than through against during between toward towards under
""")
    | _set("""
    beneath beside near among amongst amid atop via per despite without within upon across until till except
""")
    | (CONJUNCTIONS - _set("so how why"))
    | (AUXILIARIES - _set("can do did"))
    | TRANSITIVES
    | _set("i he she we they very just almost next")
)
"""Words in which no caption ends: they stand before what they belong to."""

VERBS = _set("""
    accept ache act add adjust admire advertise aim answer appear approach argue arrange arrive ask assist attach
    attack attempt balance bang bark bat bathe battle beat become beg begin belong bend bike bite blast blow board
    boil bounce bow box brace break breathe bring browse brush build bungee burn burst bury buy call camp carry cart
    carve catch celebrate change chase chat check cheer chew chop clap clean climb cling close clutch coach collapse
    collect comb come compete concentrate consider consult contemplate continue control converse cook cough count
    cover crash crawl create cross crouch cruise cry cuddle curl cut cycle dance dangle dash decide decorate deliver
    demonstrate descend dig dip direct discuss display dive do drag draw dress dribble drink drive drop dry dump dunk
    eat embrace emerge enjoy enter entertain examine exercise exit explain explore extend eye face fall fasten feed
    feel fight fill find finish fish fit fix flash flee flex flip float fly fold follow frown gather gaze gesture get
    giggle give glance glide go grab greet grill grin grind grip groom grow guide hammer hand handle hang happen have
    head hear help hide hike hit hold hop hug hurdle hurl hurry ignore inspect instruct iron jog join juggle jump keep
    kick kiss kneel knit knock know lack laugh launch lay lead lean leap learn leave let lick lie lift light like line
    listen live load look lose lounge love lower lunge make march measure meet mix mop mount move mow munch nap
    navigate need notice observe offer open operate order overlook pack paddle paint parade park participate pass pat
    paw pay pedal peek peel peer perform pet photograph pick pitch place plant play plow point poke polish ponder pose
    practice practise prepare present press pretend protest provide pull punch push put race raise reach read receive
    recline record reel relax remain remove repair rest return ride rinse rise roll row rub run rush sail say scale
    scan scoop score scrape scream scrub search seem select sell send serve set sew shake share shave shine shoot shop
    shout shovel show shower sing sip sit skate skateboard ski skim skip slam sled sleep slice slide slip smell smile
    smoke snap sniff snowboard soar speak speed spin splash spray spread sprint squat squeeze squint stack stand stare
    start stay steer step stick stir stitch stop straddle strap stretch stride stroll strum study suck suit surf
    surround sweep swim swing swipe take talk taste teach tear tell test think throw tie toast toss touch tour tow
    train trap travel tread trim trip try tug tumble turn twirl twist type unload use vacuum visit wade wait wake walk
    wander want warm wash watch water wave wear weave weigh welcome whisper whistle wipe wonder work wrap wrestle
    write yawn yell
""")
"""Base forms of verbs that captions use often."""
VERBS_OR_NOUNS = _set("""
    bats bikes boards boxes carts coaches cooks covers crashes dresses drinks eyes faces fights flips grills guides
    hands heads hikes irons jumps kicks kisses lights lines looks packs paints parks paws pets pitches plants plays
    points presses races reels rides rolls rows runs sails scales shines shops shoots shots showers shows skates skis
    sleds slides slips smokes snaps steps sticks straps suits swings tests ties toasts tours trains traps trips turns
    types vacuums walks watches waters waves works wraps
""")
"""Third persons of verbs that are usual plurals of nouns as well."""
