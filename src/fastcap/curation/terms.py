"""Words and phrases that mention a protected attribute of a person: lists of our own, for captions of photographs.

Whether one of them is about a person where it stands is for `bias` to say. In a phrase, a space stands for a space or a
hyphen.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from fastcap.curation.demonyms import COUNTRY_NOUNS, NATIONALITIES, PEOPLES, PEOPLES_NOUNS, phrases
from fastcap.runtime.english import words
from fastcap.runtime.gendered import GENDERED

__all__ = ["NOMINAL", "PRONOUNS", "TERMS", "Gender", "Term", "gender_of"]


class Term(NamedTuple):
    """What a word mentions, and how it is used.

    `use`: "noun" for what names people wherever it stands; "adjective" for what does so before a noun for people, or
    as what is said of them; "either" for an adjective that is a noun as well, with its plural in -s; "condition" for
    what somebody has; "pronoun".
    """

    categories: tuple[str, ...]
    use: str


def _with_plurals(text: str) -> frozenset[str]:
    """The set of phrases that a text lists, and their regular plurals."""
    singulars = phrases(text)
    return singulars | frozenset(map(_plural, singulars))


def _plural(word: str) -> str:
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    if word.endswith(("ss", "sh", "ch", "x")):
        return word + "es"
    return word + "s"


PRONOUNS = words("he she him his her hers himself herself")
_NOT_HERE = words("""
    latino latinos chicano chicanos
    waiter waiters postmaster postmasters mermaid mermaids merman mermen mens womens mans womans male males female
    females masculine feminine manly womanly girly girlish boyish god hag hags sheikh sheikhs
""")
"""Words that neutral wording changes and the rules of mentions do not count, or count in another way."""

_GENDER_NOUNS = _with_plurals("""
    transvestite, crossdresser, cross dresser, transsexual, enby, drag queen, drag king, crown prince, crown
    princess, great aunt, great uncle, great niece, great nephew, grand niece, grand nephew, ex husband, ex
    boyfriend, ex girlfriend, step father, step mother, step brother, step sister, step son, step daughter, step
    dad, step mum, step mom, half brother, half sister, god mother, god father, signora, signorina, sheikh,
    housemaid, lumberjill, cabin boy, bell boy, bus boy, shield maiden, sugar daddy
""") | phrases("""
    pa, ma, pops, mother in law, father in law, sister in law, brother in law, son in law, daughter in law, mothers
    in law, fathers in law, sisters in law, brothers in law, sons in law, daughters in law, mister, missus, mx,
    trans man, trans men, trans woman, trans women, transgender woman, transgender women, transgender man,
    transgender men, transman, transmen, transwoman, transwomen, lady in waiting, ladies in waiting, mums, ex wife,
    ex wives, gentlewoman, daddies, mommies, mamas, signor, frau, herr, hubbies, widows, seaman, seamen, headwoman,
    headman, headmen, fratboys, menfolk, womenfolk, paper boys
""")
_GENDER_ADJECTIVES = phrases("""
    male, female, masculine, feminine, manly, womanly, girly, girlish, boyish, effeminate, trans, transgender,
    transgendered, non binary, nonbinary, genderqueer, genderfluid, gender fluid, gender nonconforming, gender non
    conforming, agender, bigender, intersex, cisgender, cis, transmasculine, transfeminine, two spirit, cissexual,
    androgynous, gender diverse
""")
_GENDER_AND_AGE = _with_plurals("""
    nan, boy, girl, schoolboy, schoolgirl, lad, lass, laddie, lassie, grandmother, grandfather, grandma, grandpa,
    grandpapa, grandmama, grandad, granddad, granddaddy, grandmom, grandmum, gran, granny, grannie, grampa, gramma,
    nana, abuela, babushka, great grandmother, great grandfather, great grandma, great grandpa, greatgrandfather,
    greatgrandmother, choirboy, choirgirl, ballboy, ballgirl, batboy, batgirl, newsboy, paperboy, papergirl,
    altarboy, farmboy, grand mother, grand father, grand pa, grand ma, tomboy
""") | phrases("""
    gramps, nonna, nonno, abuelo
""")

_AGE_NOUNS = _with_plurals("""
    elder, adult, kid, kiddo, kiddie, baby, infant, toddler, newborn, teen, teenager, tween, preteen, pre teen,
    adolescent, youth, youngster, pensioner, retiree, oap, schoolkid, preschooler, pre schooler, kindergartner,
    kindergartener, senior citizen, senior, oldster, old timer, grown up, grownup, tot, bairn, juvenile, minor,
    centenarian, supercentenarian, nonagenarian, octogenarian, septuagenarian, sexagenarian, quinquagenarian,
    quadragenarian, millennial, baby boomer, gen zer, golden ager, grandparent, great grandparent, grandkid,
    preemie, rugrat, twentysomething, thirtysomething, twenty something, thirty something, forty something,
    youngling, neonate, wee one, little one, young one
""") | phrases("""
    child, children, schoolchild, schoolchildren, boomers, gen z, gen x, generation z, generation x, zoomers,
    grandchild, grandchildren, great grandchild, great grandchildren, grand children, stepchild, stepchildren,
    godchild, godchildren, step child, step children, geriatrics, tiny tots, young uns
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
_RACE_NOUNS = _with_plurals("""
    aborigine, mestizo, mestiza, mulatto, pygmy, ethnic minority
""") | phrases("""
    people of color, people of colour, person of color, person of colour, woman of color, women of color, woman of
    colour, women of colour, man of color, men of color, man of colour, men of colour, indigenes, half castes, dark
    skin, light skin, black skin, brown skin, pale skin, fair skin, olive skin, white skin, dark complexion, fair
    complexion, pale complexion, light complexion, olive complexion, brown complexion, darker skin, lighter skin,
    bushman, bushmen
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
_CLERGY = _with_plurals("""
    monsignor, nuncio, rebbe, hazzan, caliph, postulant, beadle, priest, high priest, pastor, preacher, reverend,
    vicar, parson, curate, rector, bishop, archbishop, cardinal, pope, deacon, archdeacon, chaplain, padre, rabbi,
    cantor, imam, mullah, ayatollah, mufti, muezzin, cleric, clergyperson, minister, missionary, televangelist,
    evangelist, lama, swami, sadhu, fakir, brahmin, pandit, dervish, whirling dervish, shaman, seminarian,
    seminarist, acolyte, altar server, churchwarden, verger, sexton, worshipper, worshiper, churchgoer, parishioner,
    congregant, believer, devotee, pilgrim, hajji, prelate, pontiff, hijabi, niqabi, lay preacher, catechist,
    celebrant, ministrant, granthi, bhikkhu, mahant
""") | phrases("""
    geshe, clergy, clergymember, dalai lama
""")
_FAITH_AND_GENDER = _with_plurals("""
    nun, monk, friar, abbot, abbess, priestess, prioress, deaconess, jewess, bhikkhuni
""") | phrases("""
    high priestess, clergyman, clergymen, clergywoman, clergywomen, churchman, churchmen, churchwoman, churchwomen,
    mother superior, mothers superior, muslimah, hajja
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
_DISABILITY_NOUNS = _with_plurals("""
    wheelchair user, wheelchair racer, amputee, double amputee, triple amputee, leg amputee, arm amputee, cripple,
    invalid, paralympian, hunchback, leper, polio survivor, stroke survivor, cochlear implant user
""") | phrases("""
    below knee amputee, above knee amputee, paraplegics, quadriplegics, tetraplegics, epileptics, dyslexics,
    schizophrenics, diabetics, asthmatics, deaf mutes, albinos, person of short stature, people of short stature,
    little people, autistics
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
        ("nationality", NATIONALITIES, COUNTRY_NOUNS | {"czechs"}),
        ("religion", believers, frozenset(_OTHER_BELIEVERS)),
    ):
        plurals = {_plural(word) for word in both | nouns if not word.endswith(("ese", "ish", "ch", "s"))}
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
