"""Classes of English words, in lower case: what the rules of captions (`text`) and of neutral wording (`neutral`) need.

Closed classes are whole; the open ones hold the words that captions of photographs use often, and are no dictionary.
`scripts/web_constants.py` writes them for the web page.
"""

from __future__ import annotations

__all__ = [
    "ADJECTIVES",
    "ADVERBS",
    "AFTER_OBJECT",
    "ANIMALS",
    "AUXILIARIES",
    "BARE_OBJECTS",
    "BEFORE_ADJECTIVE",
    "BEFORE_INVERSION",
    "BEFORE_NOUNS",
    "CAUSATIVES",
    "CLOTHES",
    "COLOURS",
    "COMPOUNDS",
    "CONJUNCTIONS",
    "COUNTS",
    "DETERMINERS",
    "DIRECTIONS",
    "FUNCTION_WORDS",
    "GROUPS",
    "IRREGULAR_VERBS",
    "MASSES",
    "NEVER_LAST",
    "NEVER_NOUNS",
    "NOT_VERBS",
    "NOUNS_IN_ED",
    "NO_OBJECT",
    "NUMBERS",
    "PARTICIPLES",
    "PERFECT",
    "PERSONAL",
    "PLAIN_PREPOSITIONS",
    "PLURAL_AUXILIARIES",
    "POSSESSIVES",
    "PREPOSITIONS",
    "PRONOUNS",
    "QUESTIONS",
    "SUBORDINATORS",
    "THINGS",
    "TRANSITIVES",
    "VERBS",
    "VERBS_OR_NOUNS",
    "pairs",
    "words",
]


def words(text: str) -> frozenset[str]:
    """The set of words that a text lists."""
    return frozenset(text.split())


def pairs(text: str) -> dict[str, str]:
    """The table that a text of pairs with commas between them lists."""
    return dict(pair.split() for pair in text.split(","))


_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
POSSESSIVES = words("my your his her its our their whose")
NUMBERS = frozenset(_NUMBERS[1:]) | words("""
    thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty hundred hundreds dozens
    several many few
""")
DETERMINERS = (
    NUMBERS
    | POSSESSIVES
    | words("""
    a an the this that these those some any no every each one both all another
""")
)
PREPOSITIONS = words("""
    in on of at with from into onto to for by as like than through throughout against during between toward towards
    under underneath beneath below beside besides near across along alongside among amongst amid atop above over
    behind before after around about inside outside within without upon past beyond until till via per despite off
    down up out opposite except including aboard
""")
CONJUNCTIONS = words("""
    and or but nor yet while whilst as that which who whom whose because if whether unless since until when whenever
    where wherever what why how than although though so
""")
AUXILIARIES = words("""
    am is are was were be been being has have had having do does did can could will would shall should must may might
    cannot isn aren wasn weren hasn haven hadn doesn don didn can couldn won wouldn shouldn mustn isnt arent wasnt
    werent hasnt havent hadnt doesnt dont didnt
""")
PRONOUNS = words("""
    i you he she it we they me him us them myself yourself himself herself itself ourselves themselves mine yours
    theirs hers ours something someone somebody everyone everybody everything nothing nobody anyone anything
""")
ADVERBS = words("""
    not also always never ever just still already now then there here again too very quite rather almost only even
    often sometimes usually soon once together alone away apart back forward forwards backward backwards sideways
    upside upward upwards downward downwards indoors outdoors nearby ahead aside home upstairs downstairs else perhaps
    maybe however instead meanwhile today tonight afterwards somewhere anyway either neither twice well hard fast high
    low far long straight right left
""")
COLOURS = words("""
    black white red blue green yellow pink purple brown grey gray beige maroon turquoise teal khaki navy tan orange
    silver gold golden lavender
""")
ADJECTIVES = COLOURS - words("orange silver gold navy tan") | words("""
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
PERSONAL = words("""
    young younger old older teenage shirtless bearded bald balding barefoot barefooted redheaded blond blonde topless
    pregnant
""")
"""Adjectives of which the noun that is missing is a person."""
BEFORE_NOUNS = POSSESSIVES | NUMBERS | words("a an the another this that")
"""What stands before a noun, and never for one: "one", "both" and "all" do."""
NEVER_NOUNS = (PERSONAL - words("blond blonde")) | words("""
    little tiny small smaller large larger big bigger huge tall short narrow wide wet dry dirty plaid spotted smiling
    teenage narrow lush grassy snowy sandy rocky muddy dusty rusty messy wooden wooded stony hilly leafy sunny cloudy
    foggy rainy colorful colourful multicolored multicoloured striped checkered stuffed fluffy furry shaggy beautiful
    cute lovely adorable handsome gorgeous happy excited curious busy crowded deserted skinny slim muscular athletic
    tattooed hooded helmeted uniformed middle-aged steep shallow curved paved tiled fallen frozen fancy elegant
    decorated inflatable oversized bright shiny
""")
"""Adjectives that are no nouns, either: "a wooden in front of a wall" lacks one."""
COMPOUNDS = words("""
    tennis soccer hockey rugby golf karate bowling skate skating ski bmx motocross sports dirt surf swimming fishing
    shopping construction traffic police teddy christmas leather denim cobblestone gravel graffiti art
""")
"""Nouns after whose article another one follows: in captions by people fewer than 1 in 20 of "a tennis" ends there."""
THINGS = words("""
    building painting ceiling wedding swing ring string thing clothing railing opening crossing landing clearing
    sibling duckling gosling king wing spring awning earring offering gathering meeting drawing carving sling dumpling
    pudding being evening morning marking covering dressing setting outing stocking scaffolding dwelling
""")
"""Nouns in -ing: "a building" is whole, "a smiling" is not."""
TRANSITIVES = words("""
    wearing wears holding holds riding carrying carries doing taking takes using uses making makes getting gets
    putting puts giving gives trying tries attempting attempts preparing prepares enjoying enjoys containing
    featuring overlooking facing dressed covered filled surrounded lined topped appears seems
""")
"""Words after which something has to follow: in 264,000 captions by people fewer than 1 in 200 of them is the last."""
ANIMALS = words("""
    dog puppy pup poodle retriever terrier shepherd greyhound collie spaniel labrador bulldog dachshund husky hound
    pitbull beagle mutt canine cat kitten horse pony donkey mule zebra cow bull calf sheep lamb ram goat pig elephant
    giraffe bear cub lion tiger leopard cheetah monkey ape gorilla deer moose elk rabbit bunny squirrel fox wolf bird
    duck goose swan gull seagull eagle hawk owl parrot pigeon chicken hen rooster turkey penguin flamingo heron crane
    stork ostrich peacock fish shark whale dolphin seal turtle tortoise lizard snake frog crocodile alligator camel
    llama kangaroo koala panda rhino hippo animal
""")
"""Animals, one of each."""
MASSES = words("""
    sheep fish deer geese mice cattle poultry livestock wildlife police military infantry youth staff folk kin water
    food fruit wood snow grass people men women children firemen policemen fishermen sportsmen
""")
"""What may come after "a group of" though it ends in no s."""
NO_OBJECT = words("standing sitting parked lying posing smiling seated smiles sits stands")
"""Verbs after which an article misses its preposition: "sitting a bench"."""
NEVER_LAST = (
    (DETERMINERS - words("one both all another her"))
    | words("""
    in of at with from into onto to for as like than through against during between toward towards under
""")
    | words("""
    beneath beside near among amongst amid atop via per despite without within upon across until till except
""")
    | (CONJUNCTIONS - words("so how why"))
    | (AUXILIARIES - words("can do did"))
    | TRANSITIVES
    | words("i he she we they very just almost next")
)
"""Words in which no caption ends: they stand before what they belong to."""

VERBS = words("""
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
VERBS_OR_NOUNS = words("""
    bats bikes boards boxes carts coaches cooks covers dresses drinks eyes faces grills guides hands heads hikes irons
    kisses lights lines packs paints parks paws pets pitches plants points races reels rides rows sails scales shines
    shops shoots shots showers skates skis sleds slides slips snaps steps sticks straps suits swings tests ties toasts
    tours trains traps vacuums watches waters waves wraps
""")
"""Third persons of verbs that are usual plurals of nouns as well."""

FUNCTION_WORDS = DETERMINERS | PREPOSITIONS | CONJUNCTIONS | AUXILIARIES | PRONOUNS | ADVERBS
PLAIN_PREPOSITIONS = words("of in on at with from for by to into onto like than")
"""Prepositions that are never adverbs or adjectives."""
DIRECTIONS = words("""
    to into down along across through over off up past around away toward towards onto out back at
""")
"""After a word that may be a noun, a sign that it is a verb: "and walks into the sea"."""
AFTER_OBJECT = (FUNCTION_WORDS - NUMBERS) - words("""
    one own very only most more other both well hard fast high low far long straight right left back home
""")
"""What follows "her" where that is an object, "beside her with a dog", unlike "her two dogs" and "her right hand"."""
QUESTIONS = words("what who whom whose which where when why how")
BEFORE_INVERSION = QUESTIONS | words("""
    and but or so nor neither than as then only never rarely seldom hardly not
""")
"""Words after which an auxiliary may stand before its subject: "nor is he"."""
SUBORDINATORS = (QUESTIONS - words("how why")) | words("that as while whilst because if until although though")
PLURAL_AUXILIARIES = pairs("""
    is are, was were, has have, does do, isn aren, wasn weren, hasn haven, doesn don, isnt arent, wasnt werent,
    hasnt havent, doesnt dont
""")
IRREGULAR_VERBS = pairs("""
    aches ache, axes axe, buses bus, canoes canoe, dies die, focuses focus, hoes hoe, lies lie, quizzes quiz, shoes
    shoe, ties tie, tiptoes tiptoe, toes toe, unties untie, vies vie
""")
"""Third persons of which the plural is not formed as others are."""
NOT_VERBS = words("""
    always sometimes perhaps besides afterwards nowadays towards sideways backwards forwards upwards downwards indoors
    outdoors upstairs downstairs across plus his its this yes whereas news
""")
CAUSATIVES = words("""
    make makes making made let lets letting help helps helping helped watch watches watching watched see sees seeing
    saw seen hear hears hearing heard have has having had feel feels feeling felt notice notices noticing noticed
""")
"""Verbs after whose object another verb stands: "makes her smile"."""
BARE_OBJECTS = words("""
    wearing holding having using eating drinking making doing taking getting giving playing watching carrying throwing
    kicking reading singing selling smoking pushing pulling riding
""")
"""Participles whose object needs no article: "a male playing guitar"."""
PERFECT = words("been got had gone become done fallen grown won begun")
PARTICIPLES = words("""
    caught made found built bought brought held kept left lost won hit cut put read sold hurt shot thrown drawn torn
    worn blown seen sung hung dug spun struck swept done sat seated dressed bent clad
""")
NOUNS_IN_ED = words("""
    bed sled bobsled shed seed weed reed red speed breed tweed steed moped creed hundred
""")
BEFORE_ADJECTIVE = words("""
    is are was were be being been looks look looking appears seems very so more
""")
CLOTHES = words("""
    jacket coat vest parka comforter pillow shirt pocket pockets
""")
GROUPS = words("""
    team group band crew duo trio troupe class competition contest game match race league
""")
COUNTS = {"a": 1, "an": 1, **{number: at for at, number in enumerate(_NUMBERS, 1)}}
"""What articles and numbers count."""
