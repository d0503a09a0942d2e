"""English words that state somebody's gender, and what to say instead: a list of our own, for captions of photographs.

It is about people who are seen. Not in it are animals (hen, lioness), things and species (manhole, king crab, cowboy
hat), characters (Batman), names (Stephen King), words that only look gendered (human, hero), and mankind and manpower,
which name nobody's gender.
"""

from __future__ import annotations

from fastcap.runtime.english import pairs, words

__all__ = [
    "AGES",
    "CHARACTERS",
    "FORMS_OF_ADDRESS",
    "GENDERED",
    "GENDERED_ADJECTIVES",
    "NAMES",
    "PAIRS",
    "PEOPLE",
    "PEOPLE_OR_VERBS",
    "PLAIN",
    "PLURALS",
    "SPLIT",
    "THINGS",
    "TITLES",
    "gendered_compound",
]

# "words = neutral"; a plural is formed where none stands after the slash, and "word/" has none
_NOUNS = """
    man/men woman/women gentlewoman/gentlewomen gentleman/gentlemen guy dude gal bloke fella chap/ gent lady maiden
    damsel matron spinster nun monk friar playboy widow widower wench crone male female = person; menfolk/
    womenfolk/ = people; boy girl lad lass laddie lassie tomboy sonny = child; bachelor bachelorette = single
    person; dowager hag playgirl = person;

    father mother dad daddy mom mommy mum/ mama momma mamma papa poppa pappa housemother mummy = parent; stepfather
    stepmother stepdad stepmom stepmum/ = stepparent; godfather godmother = godparent; forefather = ancestor; son
    daughter = child; stepson stepdaughter = stepchild; godson goddaughter = godchild; grandson granddaughter =
    grandchild; grandfather grandmother grandad granddad granddaddy grandpa grandpapa grandma grandmama grandmom
    grandmum gran granny grannie gramps/ = grandparent; bro = person; brother sister sis/ = sibling; halfbrother
    halfsister = half-sibling; stepbrother stepsister = stepsibling; uncle aunt auntie aunty nephew niece
    grandnephew grandniece grandaunt granduncle = relative; husband hubby wife/wives wifey missus/ = spouse;
    boyfriend girlfriend fiance fiancee fiancé fiancée beau/ = partner; housewife/housewives househusband =
    homemaker; bride groom bridegroom = newlywed; matriarch patriarch = elder; stepgrandfather stepgrandmother =
    stepgrandparent; greatuncle greataunt greatnephew greatniece = relative; greatgrandfather greatgrandmother =
    great-grandparent; fosterfather fostermother = foster parent; godbrother godsister = godsibling; exhusband
    exwife/exwives = ex-spouse; exboyfriend exgirlfriend = ex-partner; brethren/ = siblings; ancestress = ancestor;

    bridesmaid groomsman/groomsmen maidservant manservant/menservants stewardess bellboy bellman/bellmen ballboy
    ballgirl batboy batgirl cabinboy = attendant; actress = actor; waitress waiter = server; hostess = host; barmaid
    barman/barmen barwoman/barwomen = bartender; maid housemaid chambermaid parlourmaid parlormaid charlady
    charwoman/charwomen = cleaner; handmaid handmaiden houseboy = servant; milkmaid dairymaid = milker; nursemaid =
    nanny; ballerina danseuse danseur showgirl = dancer; geisha = performer; chanteuse songstress diva = singer;
    cowboy cowgirl = rider; busboy = busser; choirboy choirgirl = choir member; newsboy newsgirl paperboy papergirl
    = newspaper carrier; stableboy stablegirl = stable hand; farmboy farmgirl = farm hand; fanboy fangirl = fan;
    flyboy = pilot; homeboy homegirl = friend; schoolboy schoolgirl = pupil; salesgirl saleslady shopgirl = seller;
    landlord landlady = owner; heiress = heir; goddess = deity; priestess = priest; poetess = poet; authoress =
    author; sculptress = sculptor; seamstress = tailor; mistress = owner; governess = tutor; enchantress =
    enchanter; sorceress = sorcerer; huntress = hunter; murderess = murderer; temptress = tempter; adventuress =
    adventurer; ambassadress = ambassador; benefactress = benefactor; conductress = conductor; directress =
    director; editress = editor; instructress = instructor; manageress = manager; mayoress = mayor; millionairess =
    millionaire; patroness = patron; postmistress postmaster = postal worker; headmistress headmaster = head
    teacher; schoolmistress schoolmaster schoolmarm = teacher; prioress = prior; abbess abbot = superior;
    proprietress = proprietor; protectress = protector; shepherdess = shepherd; traitress = traitor; villainess =
    villain; laundress = launderer; comedienne = comedian; heroine = hero; executrix = executor; aviatrix = aviator;
    usherette = usher; majorette = twirler; suffragette = suffragist; starlet = star; masseuse masseur = massage
    therapist; equestrienne = equestrian; tragedienne = tragedian; debutante = newcomer; giantess = giant; ogress =
    ogre; demoness = demon; vampiress = vampire; jewess = Jewish person; mermaid merman/mermen = merperson;
    taskmistress = taskmaster; toastmistress = toastmaster; doyenne = elder; weathergirl = forecaster; callgirl
    callboy = escort; covergirl = model; poolboy = attendant; busgirl = busser; landgirl = farm hand; dinnerlady =
    canteen worker; ladyboy = person; ladyfriend = friend; ringmistress = ringmaster; deaconess = deacon; peeress =
    peer; prophetess = prophet; seductress = seducer; sempstress tailoress = tailor; wardress = warder; warrioress =
    warrior; championess = champion; chieftainess = chieftain; clerkess = clerk; doctress = doctor; hermitess =
    hermit; inheritress = inheritor; inspectress = inspector; janitress = janitor; monitress = monitor; paintress =
    painter; spectatress = spectator; archeress = archer; captainess = captain; farmeress farmerette = farmer;
    butleress = butler; cateress = caterer; procuress = procurer; creatress = creator; tutoress = tutor; jockette =
    jockey; coquette = flirt; testatrix = testator; administratrix = administrator; dominatrix = performer;
    mediatrix = mediator; chauffeuse = chauffeur; coiffeuse coiffeur = hairdresser; vendeuse = seller; parisienne =
    Parisian; deliveryboy deliverygirl = carrier; errandboy errandgirl = runner; altarboy altargirl = altar server;
    waterboy = attendant; fratboy = fraternity member; chairlady = chairperson; forelady = supervisor;
    fishwife/fishwives = fish seller; adulteress = adulterer;

    king queen emperor empress tsar tsarina czar czarina maharaja maharani sultan = monarch; prince princess =
    royal; duke duchess archduke archduchess baron baroness countess earl marquess marquis/ marchioness viscount
    viscountess lord dame baronet contessa = noble; latino latina = Latin American; chicano chicana = Mexican
    American; filipina = Filipino; rani raja rajah ranee maharajah shah = monarch; sheikh sheik sheikha = leader;
    laird = landowner; baronetess marchesa marquise margrave margravine = noble
"""
# "stems = neutral": what ends in -man, -men, -woman and -women
_COMPOUNDS = """
    alder congress select states = politician; council = council member; assembly = assembly member; air = pilot;
    ambulance = paramedic; anchor = news anchor; artillery infantry cavalry minute service = soldier; axe lumber
    timber woods wood = logger; barge boat ferry = boat operator; base = player; bats = batter; bond bonds =
    servant; bow crossbow = archer; brake train motor = train operator; business = professional; camera = operator;
    cattle cow herds = herder; chair = chairperson; vicechair = vice-chair; clans tribes = tribe member; clergy
    church = cleric; con = con artist; country = compatriot; crafts journey = artisan; crags = climber; crew work
    line yard oil gas rail railway railroad handy = worker; dairy milk = milk carrier; delivery mail post = carrier;
    door yeo = attendant; drafts draughts = drafter; dust garbage trash bin = garbage collector; fire = firefighter;
    fisher = fisher; lobster = lobster fisher; flag signal = flagger; fore = supervisor; fresh = first-year student;
    frog = diver; front = lead singer; gun trigger = shooter; guards watch = guard; hench = accomplice; highway =
    robber; hit = assassin; horse plains = rider; hunts = hunter; jazz = jazz musician; junk rag = scrap dealer;
    jury = juror; kins = relative; land stock = farmer; laundry wash washer = launderer; law patrol police =
    officer; lay = layperson; lines = line judge; longshore dock = dock worker; mad = mad person; marks rifle =
    shooter; middle = intermediary; militia = militia member; needle = tailor; news press = reporter; noble = noble;
    nursery = gardener; oars = rower; ombuds = ombudsperson; outdoors = hiker; pitch sales = seller; plow plough =
    plougher; quarry = quarry worker; radio sound = sound engineer; repair maintenance = technician; sea yachts =
    sailor; show stunt = performer; sign = sign painter; space = astronaut; spear = fighter; spokes = speaker;
    sports = athlete; stable = stable hand; steers = pilot; strong = weightlifter; swords = fencer; tax = tax
    collector; towns = townsperson; trades = tradesperson; warehouse = warehouse worker; weather = forecaster; wheel
    = driver; wing = companion; french = French person; english = English person; irish = Irish person; scots scotch
    = Scottish person; welsh = Welsh person; dutch = Dutch person; cornish = Cornish person; manx = Manx person;
    norse = Norse person; china = Chinese person; ulster = Ulster person; yorkshire = Yorkshire person; helms ship =
    sailor; lighter lifeboat = boat operator; pace = bowler; props prop = stagehand; rounds = deliverer; scrub =
    cleaner; switch footplate = rail worker; trawler = fisher; underclass upperclass = student; bands side =
    musician; blues = blues musician; cab coach dray van truck = driver; corps = medic; counter = server; coal ice =
    seller; excise = tax collector; fields = fielder; foot = servant; frontiers = settler; gate = gatekeeper; head =
    leader; lift winch = operator; lens = photographer; longbow = archer; money = financier; newspaper = reporter;
    pike tank = soldier; pit = miner; plainclothes = detective; poultry = farmer; ranch = rancher; shanty = singer;
    steel = steelworker; store = storekeeper; whale = whaler; wire = electrician; vestry = parish officer; garage =
    mechanic; cave = cave dweller; midship = naval cadet; orange = marcher
"""
_OTHERS = """
    he they, she they, him them, his their, her their, hers theirs, himself themselves, herself themselves, mr mx,
    mrs mx, ms mx, miss mx, mans person's, womans person's, ma'am person, ma’am person, sir person, madam person,
    mister person, madame person, monsieur person, mademoiselle person, señor person, senor person, señora person,
    senora person, señorita person, senorita person
"""
GENDERED_ADJECTIVES = words("""
    male female masculine feminine manly womanly girly girlish boyish ladylike unladylike
""")
"""What says nothing but a gender before a noun, where it is left out."""

TITLES = words("""
    king queen emperor empress prince princess duke duchess baron baroness countess earl lord lady dame sir madam
    madame mister mademoiselle monsieur uncle aunt auntie aunty father mother brother sister señor senor señora senora
    señorita senorita tsar tsarina czar czarina sultan maharaja maharani viscount viscountess
""")
"""What is left out before a name: "Queen Elizabeth", "Uncle Sam"."""

PLAIN = words("""
    man men woman women boy boys girl girls lady ladies guy guys male males female females
""")
"""What only says "man" or "girl", and is left out beside another word for the same person."""
FORMS_OF_ADDRESS = words("""
    ma'am ma’am sir madam mister madame mademoiselle monsieur señor senor señora senora señorita senorita
""")
SPLIT = words("""
    police fire business sales camera school grand step god fisher mail milk post cow bell bus ball bar house show
    country gentle french english irish dutch welsh scots chair spokes congress council news repair delivery service
    garbage stunt crafts weather wo cabin altar call cover choir paper chamber dairy errand frat
""")
"""First halves of compounds that are also written as two words: "police man", "grand mother"."""

NAMES = words("""
    king prince duke earl baron lord kings queens queen dame sons brothers sisters cowboys
""")
"""What is part of a name after another capital: "Stephen King", "Warner Brothers"."""

AGES = {
    age: age
    for age in words("""
    baby toddler infant newborn teen teenager adolescent adult human kid child preteen
""")
}
AGES |= {"teenage": "teenager", "teenaged": "teenager", "preschool": "preschooler", "college": "student"}
"""What stands for somebody as well as "baby boy" or "teenage girl" do, by its word before "boy" or "girl"."""

PAIRS = {
    **{f"{word} girl": "model" for word in ("pinup", "calendar")},
    **{f"{word} girl": "person" for word in ("bikini", "career", "party", "ring")},
    **{"drag queen": "performer", "drag king": "performer", "beauty queen": "contestant", "flower girl": "bearer"},
    **{
        "hula girl": "dancer",
        "derby girl": "player",
        "bar girl": "server",
        "meter maid": "attendant",
        "old maid": "person",
    },
}
"""What to say instead of the second of two words: a flower girl is a flower bearer."""

PEOPLE_OR_VERBS = words("""
    coach cook doctor fan guard guide host judge model nurse partner pilot referee volunteer captain boss clown
""")
"""Nouns for people that are verbs, too: "a woman guards the door"."""

PEOPLE = PEOPLE_OR_VERBS | words("""
    baby toddler infant newborn teen teenager adolescent adult human kid child preteen youth youngster student pupil
    person athlete swimmer surfer skater skateboarder snowboarder skier runner jogger walker hiker climber biker
    cyclist bicyclist motorcyclist rider rollerblader wakeboarder kayaker rower sailor diver gymnast acrobat dancer
    cheerleader golfer bowler boxer wrestler fighter batter pitcher catcher goalie goalkeeper player teammate opponent
    competitor contestant singer vocalist musician guitarist drummer violinist pianist performer entertainer juggler
    artist painter photographer actor comedian magician chef baker barista bartender server waiter cashier clerk
    vendor seller shopper customer worker laborer labourer builder carpenter welder mechanic farmer gardener engineer
    scientist surgeon dentist paramedic teacher professor instructor trainer umpire lawyer officer cop soldier
    firefighter lifeguard astronaut driver passenger commuter pedestrian traveler traveller tourist backpacker camper
    hunter fisher companion friend relative cousin neighbor neighbour leader president politician minister priest
    reporter journalist speaker presenter lecturer guest member spectator protester protestor scout servant attendant
    assistant apprentice librarian hairdresser barber janitor cleaner technician operator conductor jockey equestrian
    gamer reader writer author poet citizen resident villager contortionist beggar warrior
""")
"""Nouns for people, of which a gendered word before them is left out: "a woman doctor", "boy scouts"."""

_THINGS = r"""
    (?:king|queen)[_-](?:size[ds]?|beds?|mattress\w*) king[_-](?:crab|cobra|penguin|salmon|prawn)s? king_kong
    grandfather_clocks? duk(?:es?|ing)_it king_charles_(?:spaniel|cavalier)s? queen[_-](?:bee|ant|conch)s?
    queen_anne kings?['’]?s?_cross burger_king dairy_queen black_widows? widow['’]s_peak dude_ranch\w* notre_dame
    isle_of_man (?:snow|gingerbread|straw|stick|michelin|tin|spider|iron|super|ant|pac|he)[_-]m[ae]n x-men
    (?:wonder|cat|super|spider)[_-]wom[ae]n man-(?:made|eating|eaters?|sized?|hours?|powered|portable) man[_-]holes?
    man_made_(?:lake|pond|structure|waterfall|river|pool|wall|hill|beach|fountain|rock|stream|ramp|cave|object)s?
    no[_-]man['’]?s[_-]land man_o['’]_war guy[_-](?:wire|rope|line)s? guy_fawkes game[_-]?boys?
    cow(?:boy|girl)s?[_-](?:hat|boot|outfit|costume|shirt|vest|jacket|scarf)s?
    cow(?:boy|girl)s?[_-](?:scarves|attire|clothes|clothing|gear|chaps|garb|style) monk[_-](?:seal|parakeet)s?
    mother[_-]?(?:nature|earth|board|ship|tongue|lode|of[_-]pearl)s? sister_(?:ship|cit)\w*
    father_(?:time|christmas) (?:mother|father)['’]?s['’]?_day lady[_-]?(?:bug|bird|finger|beetle)s?
    maiden_(?:voyage|flight|name)s? lady['’]s_slippers? wife[_-]beaters? bachelor['’]s_degrees? chap_?stick
    gran_(?:canaria|turismo|torino) oh,?_(?:boy|man)
"""
THINGS = "|".join(_THINGS.split()).replace("_", " ")
"""A regular expression of what holds a gendered word and is about nobody: things, species, characters, sayings."""


def plural(word: str) -> str:
    """The plural of a noun or of a phrase that ends in one."""
    for one, many in (("person", "people"), ("child", "children"), ("man", "men")):
        if word.endswith(one) and not word.endswith("human"):
            return word.removesuffix(one) + many
    if word.endswith(("s", "x", "ch", "sh", "hero")) and not word.endswith("arch"):
        return word + "es"
    return word[:-1] + "ies" if word.endswith("y") and word[-2] not in "aeiou" else word + "s"


def _tables() -> tuple[dict[str, str], dict[str, str]]:
    gendered = pairs(_OTHERS)
    plurals = {}

    def add(entry: str, neutral: str) -> None:
        word, slash, many = entry.partition("/")
        gendered[word] = neutral
        if many or not slash:
            many = many or plural(word)
            gendered[many], plurals[many] = plural(neutral), neutral

    for entry in _NOUNS.split(";"):
        nouns, neutral = entry.split("=")
        for noun in nouns.split():
            add(noun, " ".join(neutral.split()))
    for entry in _COMPOUNDS.split(";"):
        stems, neutral = entry.split("=")
        for stem in stems.split():
            for one, many in (("man", "men"), ("woman", "women")):
                add(f"{stem}{one}/{stem}{many}", " ".join(neutral.split()))
    gendered |= {word: "like a person" for word in GENDERED_ADJECTIVES if word not in gendered}
    for many in ("mens", "womens"):
        gendered[many], plurals[many] = "people's", "person's"
    return gendered, plurals


GENDERED, PLURALS = _tables()
"""Gendered words and what to say instead, in lower case but for names; and of those that are plurals, the singular."""

CHARACTERS = words("""
    superwoman superwomen catwoman wonderwoman spiderwoman batwoman
""")


def gendered_compound(word: str) -> bool:
    """Whether a word that is not in the list is a compound of woman, as any that ends in it; but for characters."""
    return word.endswith(("woman", "women")) and word not in GENDERED and word not in CHARACTERS
