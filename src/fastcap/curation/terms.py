"""Words and phrases that mention a protected attribute of a person: lists of our own, for captions of photographs.

Whether one of them is about a person where it stands is for `bias` to say. In a phrase, a space stands for a space or a
hyphen.
"""

from __future__ import annotations

from typing import NamedTuple

from fastcap.curation.demonyms import COUNTRY_NOUNS, NATIONALITIES, PEOPLES, PEOPLES_NOUNS
from fastcap.runtime.english import words
from fastcap.runtime.gendered import GENDERED

__all__ = ["NOMINAL", "PRONOUNS", "TERMS", "Term", "phrases"]


class Term(NamedTuple):
    """What a word mentions, and how it is used.

    `use`: "noun" for what names people wherever it stands; "adjective" for what does so before a noun for people, or
    as what is said of them; "either" for an adjective that is a noun as well, with its plural in -s; "condition" for
    what somebody has; "pronoun".
    """

    categories: tuple[str, ...]
    use: str


def phrases(text: str) -> frozenset[str]:
    """The set of phrases that a text lists, with a comma between two of them."""
    return frozenset(phrase for phrase in (" ".join(part.split()) for part in text.split(",")) if phrase)


PRONOUNS = words("he she him his her hers himself herself")
_NOT_HERE = words("""
    latino latinos chicano chicanos
    waiter waiters postmaster postmasters mermaid mermaids merman mermen mens womens mans womans male males female
    females masculine feminine manly womanly girly girlish boyish god hag hags sheikh sheikhs
""")
"""Words that neutral wording changes and the rules of mentions do not count, or count in another way."""

_GENDER_NOUNS = phrases("""
    pa, ma, pops,
    transvestite, transvestites, crossdresser, crossdressers, cross dresser, cross dressers, mother in law,
    father in law, sister in law, brother in law, son in law, daughter in law, mothers in law, fathers in law,
    sisters in law, brothers in law, sons in law, daughters in law, mister, missus, mx, trans man, trans men,
    trans woman, trans women, transgender woman, transgender women, transgender man, transgender men, transman,
    transmen, transwoman, transwomen, transsexual, transsexuals, enby, enbies, drag queen, drag queens, drag
    king, drag kings, lady in waiting, ladies in waiting, crown prince, crown princess, mums, great aunt, great
    aunts, great uncle, great uncles, great niece, great nephew, grand niece, grand nephew, ex husband, ex wife,
    ex husbands, ex wives, ex boyfriend, ex girlfriend, step father, step mother, step brother, step sister,
    step son, step daughter, step dad, step mum, step mom, half brother, half sister, half brothers, half
    sisters, god mother, god father, gentlewoman, daddies, mommies, mamas, signora, signorina, signor, frau,
    herr, sheikh, sheikhs, housemaid, hubbies, widows, seaman, seamen, headwoman, headman, headmen, lumberjill,
    fratboys, menfolk, womenfolk, cabin boy, cabin boys, bell boy, bell boys, paper boys, bus boy, bus boys,
    shield maiden, sugar daddy
""")
_GENDER_ADJECTIVES = phrases("""
    male, female, masculine, feminine, manly, womanly, girly, girlish, boyish, effeminate, trans, transgender,
    transgendered, non binary, nonbinary, genderqueer, genderfluid, gender fluid, gender nonconforming, gender non
    conforming, agender, bigender, intersex, cisgender, cis, transmasculine, transfeminine, two spirit, cissexual,
    androgynous, gender diverse
""")
_GENDER_AND_AGE = phrases("""
    nan, nans,
    boy, boys, girl, girls, schoolboy, schoolboys, schoolgirl, schoolgirls, lad, lads, lass, lasses, laddie,
    laddies, lassie, lassies, grandmother, grandmothers, grandfather, grandfathers, grandma, grandmas, grandpa,
    grandpas, grandpapa, grandmama, grandad, grandads, granddad, granddads, granddaddy, grandmom, grandmoms,
    grandmum, gran, grans, granny, grannies, grannie, gramps, grampa, grampas, gramma, nana, nanas, nonna, nonno,
    abuela, abuelas, abuelo, babushka, babushkas, great grandmother, great grandfather, great grandmothers, great
    grandfathers, great grandma, great grandpa, greatgrandfather, greatgrandmother, choirboy, choirboys, choirgirl,
    choirgirls, ballboy, ballboys, ballgirl, ballgirls, batboy, batboys, batgirl, newsboy, newsboys, paperboy,
    paperboys, papergirl, papergirls, altarboy, altarboys, farmboy, farmboys, grand mother, grand father, grand
    mothers, grand fathers, grand pa, grand ma, tomboy, tomboys
""")

_AGE_NOUNS = phrases("""
    elder,
    adult, adults, kid, kids, kiddo, kiddos, kiddie, kiddies, child, children, baby, babies, infant, infants,
    toddler, toddlers, newborn, newborns, teen, teens, teenager, teenagers, tween, tweens, preteen, preteens, pre
    teen, pre teens, adolescent, adolescents, youth, youths, youngster, youngsters, pensioner, pensioners, retiree,
    retirees, oap, oaps, schoolchild, schoolchildren, schoolkid, schoolkids,
    preschooler, preschoolers, pre schooler, pre schoolers, kindergartner, kindergartners, kindergartener,
    kindergarteners, senior citizen, senior citizens, senior, seniors, elders, oldster, oldsters, old timer, old
    timers, grown up, grown ups, grownup, grownups, tot, tots, bairn, bairns, juvenile, juveniles, minors, minor,
    centenarian, centenarians, supercentenarian, nonagenarian, nonagenarians, octogenarian, octogenarians,
    septuagenarian, septuagenarians, sexagenarian, sexagenarians, quinquagenarian, quadragenarian, millennial,
    millennials, baby boomer, baby boomers, boomers, gen z, gen zer, gen zers, gen x, generation z, generation x,
    zoomers, golden ager, golden agers, grandparent, grandparents, great grandparent, great grandparents,
    grandchild, grandchildren, great grandchild, great grandchildren, grandkid, grandkids, grand children,
    stepchild, stepchildren, godchild, godchildren, step child, step children, preemie, preemies, rugrat, rugrats,
    twentysomething, twentysomethings, thirtysomething, thirtysomethings, twenty something, twenty somethings,
    thirty something, thirty somethings, forty something, forty somethings, youngling, geriatrics, neonate,
    neonates, tiny tots, wee one, wee ones, little one, little ones, young one, young ones, young uns
""")
_AGE_ADJECTIVES = phrases("""
    young, younger, youngest, old, older, oldest, elderly, eldest, middle aged, middleaged, teenage,
    teenaged, teen aged, underage, aged, ageing, aging, adolescent, juvenile, infant, newborn, new born, senior,
    geriatric, pensionable, youthful, preschool, prepubescent, pubescent, pre adolescent, grown, adult, school age,
    school aged, college aged, retirement age, toddler aged, preteen, preschool aged, octogenarian, centenarian,
    preschool age, millennial, young looking, old looking, elderly looking, middle age
""")

_RACE_ADJECTIVES = phrases("""
    black, white, brown, colored, coloured, dark skinned, light skinned, fair skinned, brown skinned, black skinned,
    white skinned, pale skinned, olive skinned, dusky skinned, darkskinned, lightskinned, darker skinned, lighter
    skinned, fair complexioned, dark complexioned, light complexioned, olive complexioned, brown complexioned, ebony
    skinned, caramel skinned, mixed race, multiracial, multi racial, biracial, bi racial, interracial, inter racial,
    multiethnic, multi ethnic, mixed ethnicity, mixed heritage, dual heritage, non white, nonwhite, non black,
    native, indigenous, aboriginal, bame, bipoc, poc, red skinned, tan skinned, deep skinned, medium skinned, bronze
    skinned, half black, half white, half asian, half caste, part black, racially mixed
""")
_RACE_NOUNS = phrases("""
    people of color, people of colour, person of color, person of colour, woman of color, women of color, woman of
    colour, women of colour, man of color, men of color, man of colour, men of colour, aborigine, aborigines,
    indigenes, mestizo, mestizos, mestiza, mestizas, mulatto, mulattos, half castes, dark skin, light skin, black
    skin, brown skin, pale skin, fair skin, olive skin, white skin, dark complexion, fair complexion, pale
    complexion, light complexion, olive complexion, brown complexion, darker skin, lighter skin, pygmy, pygmies,
    bushman, bushmen, ethnic minority, ethnic minorities
""")

_BELIEVERS = phrases("""
    alevi, christadelphian, moravian, wesleyan, nazarene, raelian, lingayat, karaite, melkite, nestorian,
    uniate, old believer, greek catholic, byzantine catholic, waldensian, doukhobor, deobandi, barelvi, bohra,
    thelemite, secularist, santeria practitioner, falun gong practitioner, vedantist, theosophist, zen
    practitioner, christian, catholic, roman catholic, protestant, orthodox christian, greek orthodox, russian
    orthodox, eastern orthodox, coptic, copt, coptic christian, maronite, evangelical, evangelical christian,
    born again christian, pentecostal, baptist, southern baptist, methodist, lutheran, presbyterian, calvinist,
    puritan, anglican, episcopalian, congregationalist, adventist, seventh day adventist, mormon, latter day
    saint, quaker, amish, mennonite, hutterite, anabaptist, unitarian, huguenot, christian scientist, jesuit,
    franciscan, benedictine, cistercian, carmelite, capuchin, trappist, salvationist, muslim, moslem, muslimah,
    sunni, sunni muslim, shia, shi'a, shiite, shi'ite, shia muslim, sufi, ahmadi, ismaili, wahhabi, salafi,
    druze, alawite, ibadi, black muslim, jew, orthodox jew, ultra orthodox jew, hasidic jew, chasidic jew,
    hassidic jew, haredi jew, reform jew, messianic jew, hasid, hindu, buddhist, zen buddhist, tibetan buddhist,
    theravada buddhist, sikh, jain, zoroastrian, parsi, parsee, baha'i, bahá'í, bahai, taoist, daoist,
    confucian, confucianist, shintoist, animist, shamanist, pagan, neopagan, neo pagan, wiccan, druid, heathen,
    yazidi, mandaean, rastafarian, rasta, hare krishna, jehovah's witness, scientologist, satanist, voodooist,
    santero, falun gong practitioner, moonie, spiritualist, theist, deist, monotheist, polytheist, atheist,
    agnostic, freethinker, non believer, nonbeliever, unbeliever, non christian, non muslim, non jew, non hindu,
    non catholic, non buddhist, infidel, gentile, fundamentalist
""")
_FAITH_ADJECTIVES = phrases("""
    jewish, orthodox jewish, ultra orthodox jewish, hasidic jewish, hasidic, chasidic, hassidic, haredi, orthodox,
    ultra orthodox, islamic, islamist, judaic, shinto, zen, vaishnava, shaivite, lutheran, episcopal, theravada,
    mahayana, lamaist, rastafari, religious, non religious, nonreligious, non jewish, multi faith, multifaith, non
    practicing, godless, irreligious, church going, churchgoing, born again, ultra religious, confucian, hijabi,
    niqabi
""")
_CLERGY = phrases("""
    monsignor, nuncio, rebbe, hazzan, hazzans, caliph, caliphs, postulant, postulants, beadle, beadles, geshe,
    priest, priests, high priest, high priests, pastor, pastors, preacher, preachers, reverend, reverends, vicar,
    vicars, parson, parsons, curate, curates, rector, rectors, bishop, bishops, archbishop, archbishops, cardinal,
    cardinals, pope, popes, deacon, deacons, archdeacon, chaplain, chaplains, padre, padres, rabbi, rabbis, cantor,
    cantors, imam, imams, mullah, mullahs, ayatollah, ayatollahs, mufti, muftis, muezzin, muezzins, cleric, clerics,
    clergy, clergyperson, clergypersons, clergymember, minister, ministers, missionary, missionaries, televangelist,
    televangelists, evangelist, evangelists, lama, lamas, dalai lama, swami, swamis, sadhu, sadhus, fakir, fakirs,
    brahmin, brahmins, pandit, pandits, dervish, dervishes, whirling dervish, whirling dervishes, shaman, shamans,
    seminarian, seminarians, seminarist, acolyte, acolytes, altar server, altar servers, churchwarden,
    churchwardens, verger, vergers, sexton, sextons, worshipper, worshippers, worshiper, worshipers, churchgoer,
    churchgoers, parishioner, parishioners, congregant, congregants, believer, believers, devotee, devotees,
    pilgrim, pilgrims, hajji, hajjis, prelate, prelates, pontiff, pontiffs, hijabi, hijabis, niqabi, niqabis, lay
    preacher, lay preachers, catechist, catechists, celebrant, ministrant, ministrants, granthi, bhikkhu, bhikkhus,
    mahant
""")
_FAITH_AND_GENDER = phrases("""
    nun, nuns, monk, monks, friar, friars, abbot, abbots, abbess, abbesses, priestess, priestesses, high priestess,
    clergyman, clergymen, clergywoman, clergywomen, churchman, churchmen, churchwoman, churchwomen, prioress,
    deaconess, deaconesses, jewess, jewesses, mother superior, mothers superior, muslimah, bhikkhuni, hajja
""")

_DISABILITY_ADJECTIVES = phrases("""
    blind, deaf, deafblind, deaf blind, deafened, mute, deaf mute, disabled, differently abled, physically
    disabled, mentally disabled, intellectually disabled, developmentally disabled, learning disabled, multiply
    disabled, severely disabled, handicapped, physically handicapped, mentally handicapped, visually
    handicapped, physically challenged, mentally challenged, visually challenged, vertically challenged,
    visually impaired, vision impaired, sight impaired, hearing impaired, mobility impaired, speech impaired,
    cognitively impaired, physically impaired, intellectually impaired, partially sighted, partially blind,
    legally blind, colour blind, color blind, colourblind, colorblind, hard of hearing, hearing disabled,
    partially deaf, profoundly deaf, near blind, paralysed, paralyzed, partially paralysed, partially paralyzed,
    wheelchair bound, wheelchair using, wheelchair dependent, chair bound, bedridden, crippled, lame, limbless,
    legless, armless, one legged, one armed, one handed, one eyed, single legged, autistic, neurodivergent,
    neurodiverse, neurotypical, bipolar, mentally ill, special needs, able bodied, non disabled, nondisabled,
    sighted, hiv positive, nonverbal, non verbal, non speaking, nonspeaking, developmentally delayed, brain
    damaged, brain injured, hunchbacked, dementia stricken, cognitively disabled, arthritic, leprous, unsighted,
    sightless, non autistic, palsied, disfigured, visually disabled, short statured, hearing and speech
    impaired, limb different, physically limited, neuro divergent
""")
_DISABILITY_NOUNS = phrases("""
    wheelchair user, wheelchair users, wheelchair racer, wheelchair racers, amputee, amputees, double amputee,
    double amputees, triple amputee, leg amputee, arm amputee, below knee amputee, above knee amputee, paraplegics,
    quadriplegics, tetraplegics, epileptics, dyslexics, schizophrenics, diabetics, asthmatics, cripple, cripples,
    invalid, invalids, paralympian, paralympians, deaf mutes, albinos, hunchback, hunchbacks, leper, lepers, person
    of short stature, people of short stature, little people, autistics, polio survivor, polio survivors, stroke
    survivor, stroke survivors, cochlear implant user, cochlear implant users
""")
_CONDITIONS = phrases("""
    autism, autism spectrum disorder, asperger's, asperger syndrome, asperger's syndrome, down syndrome, down's
    syndrome, downs syndrome, cerebral palsy, epilepsy, dyslexia, dyspraxia, adhd, attention deficit disorder,
    tourette syndrome, tourette's, tourette's syndrome, multiple sclerosis, muscular dystrophy, spina bifida, cystic
    fibrosis, parkinson's, parkinson's disease, parkinson disease, alzheimer's, alzheimer's disease, alzheimer
    disease, dementia, huntington's disease, als, motor neurone disease, motor neuron disease, dwarfism, gigantism,
    achondroplasia, albinism, vitiligo, paraplegia, quadriplegia, tetraplegia, hemiplegia, paralysis, blindness,
    deafness, disability, disabilities, physical disability, physical disabilities, learning disability, learning
    disabilities, learning difficulties, intellectual disability, intellectual disabilities, developmental
    disability, developmental disabilities, mental disability, mental disabilities, visual impairment, visual
    impairments, vision impairment, hearing impairment, hearing impairments, speech impairment, hearing loss, sight
    loss, vision loss, low vision, limb difference, limb differences, limb loss, missing leg, missing arm, missing
    limb, missing limbs, amputated leg, amputated arm, amputated limb, prosthetic leg, prosthetic legs, prosthetic
    arm, prosthetic arms, prosthetic hand, prosthetic limb, prosthetic limbs, artificial leg, artificial limb,
    artificial arm, schizophrenia, bipolar disorder, diabetes, asthma, arthritis, rheumatoid arthritis, polio,
    osteoporosis, scoliosis, leprosy, special needs, chronic illness, chronic pain, mental illness, brain injury,
    spinal cord injury, glaucoma, cataracts, macular degeneration, fibromyalgia, narcolepsy, williams syndrome, rett
    syndrome, fragile x syndrome, brittle bones, brittle bone disease, sickle cell disease, ptsd, cleft lip,
    stutter, stammer, phocomelia, reduced mobility, limited mobility, impaired vision, impaired hearing
""")

_ORIENTATION_ADJECTIVES = phrases("""
    gay, lesbian, bisexual, bi, homosexual, heterosexual, straight, queer, pansexual, asexual, aromantic,
    demisexual, omnisexual, bicurious, bi curious, same sex, lgbt, lgbtq, lgbtq+, lgbt+, lgbtqi, lgbtqi+, lgbtqia,
    lgbtqia+, lgbtq2s+, lgbti, glbt, lgb, 2slgbtq+, hetero, closeted, polysexual, sapphic, homoromantic, non
    heterosexual
""")
_ORIENTATION_NOUNS = phrases("""
    lesbians, gays, bisexuals, homosexuals, heterosexuals, pansexuals, asexuals, queers, demisexuals, aromantics
""")

NOMINAL = words("""
    hmong zulu maasai masai navajo cherokee sami cree han uyghur tuareg bedouin tamil igbo yoruba hausa himba
    ainu apache lakota quechua maya kurdish elderly young old aged blind deaf disabled handicapped paralysed
    paralyzed french dutch british english irish welsh scottish spanish chinese japanese swiss portuguese
    vietnamese lebanese amish maori sioux inuit roma indigenous polish danish swedish finnish turkish mute lame
    faithful religious
""") | {"visually impaired", "hearing impaired", "able bodied", "physically disabled", "middle aged"}
"""Adjectives that stand for people after "the": "the blind"."""


def _plural(word: str) -> str:
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    if word.endswith(("ss", "sh", "ch", "x")):
        return word + "es"
    return word + "s"


_ANCESTRY_NOUNS = {"black americans", "white americans", "black britons"}
_ANCESTRY_ADJECTIVES = phrases("all black, all white, black american, white american, black british")
_OTHER_BELIEVERS = {"jehovah's witnesses", "latter day saints", "hare krishnas", "hasidim", "hassidim", "haredim"}
_PATIENTS = words(
    "epileptic schizophrenic paraplegic quadriplegic tetraplegic hemiplegic diabetic asthmatic dyslexic albino"
)
_ALL_GENDER = phrases("all female, all male, all girls, all women, all men")
_ALL_GENDER_AND_AGE = phrases("all girl, all boy, all boys")


def _peoples() -> dict[str, Term]:
    """Nations, peoples and believers with their plurals; "African-American" and "non-Muslim"."""
    terms: dict[str, Term] = {}
    believers = _BELIEVERS | {f"{before} {faith}" for faith in _BELIEVERS for before in ("ex", "non")}
    for category, both, nouns in (
        ("race_ethnicity", PEOPLES, PEOPLES_NOUNS),
        ("nationality", NATIONALITIES, COUNTRY_NOUNS),
        ("religion", believers, frozenset(_OTHER_BELIEVERS)),
    ):
        plurals = {_plural(word) for word in both if not word.endswith(("ese", "ish", "ch", "s"))}
        terms |= dict.fromkeys(both, Term((category,), "either"))
        terms |= dict.fromkeys(plurals | nouns, Term((category,), "noun"))
    heritage = {f"{nation} american" for nation in NATIONALITIES | PEOPLES if not nation.endswith("american")}
    terms |= dict.fromkeys(heritage | {"black briton"}, Term(("race_ethnicity",), "either"))
    plurals = {f"{one}s" for one in heritage} | _ANCESTRY_NOUNS
    terms |= dict.fromkeys(plurals, Term(("race_ethnicity",), "noun"))
    del terms["celtics"]  # teams
    return terms


def _of_peoples_and_genders() -> dict[str, Term]:
    """Latinas, Filipinas and Frenchmen."""
    terms = dict.fromkeys(words("latina latinas chicana chicanas"), Term(("gender", "race_ethnicity"), "noun"))
    terms |= dict.fromkeys(words("filipina filipinas"), Term(("gender", "nationality"), "noun"))
    for stem in words("french english irish scots scotch welsh dutch cornish manx norse china"):
        category = "race_ethnicity" if stem in ("cornish", "manx", "norse") else "nationality"
        for end in ("man", "men", "woman", "women"):
            terms[stem + end] = Term(("gender", category), "noun")
    return terms


def _terms() -> dict[str, Term]:
    gendered = {word for word in GENDERED if word not in _NOT_HERE and word not in PRONOUNS} | {"males", "females"}
    groups: tuple[tuple[frozenset[str] | set[str], str, tuple[str, ...]], ...] = (
        (gendered | _GENDER_NOUNS, "noun", ("gender",)),
        (_GENDER_ADJECTIVES | _ALL_GENDER, "adjective", ("gender",)),
        (_AGE_ADJECTIVES, "adjective", ("age",)),
        (_AGE_NOUNS, "noun", ("age",)),
        (_RACE_ADJECTIVES | _ANCESTRY_ADJECTIVES, "adjective", ("race_ethnicity",)),
        (_RACE_NOUNS, "noun", ("race_ethnicity",)),
        (_FAITH_ADJECTIVES, "adjective", ("religion",)),
        (_CLERGY, "noun", ("religion",)),
        (_DISABILITY_ADJECTIVES, "adjective", ("disability",)),
        (_PATIENTS, "either", ("disability",)),
        (_DISABILITY_NOUNS, "noun", ("disability",)),
        (_CONDITIONS, "condition", ("disability",)),
        (_ORIENTATION_ADJECTIVES, "adjective", ("sexual_orientation",)),
        (_ORIENTATION_NOUNS, "noun", ("sexual_orientation",)),
        # Later entries win: words with two attributes come last.
        (_ALL_GENDER_AND_AGE, "adjective", ("gender", "age")),
        (_GENDER_AND_AGE, "noun", ("gender", "age")),
        (_FAITH_AND_GENDER, "noun", ("gender", "religion")),
        (PRONOUNS, "pronoun", ("gender",)),
    )
    terms = _peoples()
    for listed, use, categories in groups:
        terms |= {word.replace("-", " "): Term(categories, use) for word in listed}
    return terms | _of_peoples_and_genders()


TERMS = _terms()
"""What is mentioned by each word or phrase, in lower case, spaces for hyphens."""
