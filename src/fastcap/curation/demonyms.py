"""Names of nationalities (all states of the world and the home nations) and of peoples, in lower case.

An adjective that is a noun as well, whose plural is formed with -s where English forms one, stands in the first list of
each kind; what is only a noun, in the singular, in the second.
"""

from __future__ import annotations

__all__ = ["COUNTRY_NOUNS", "LANGUAGES", "NATIONALITIES", "PEOPLES", "PEOPLES_NOUNS", "phrases"]


def phrases(text: str) -> frozenset[str]:
    """The set of phrases that a text lists, with a comma between two of them."""
    return frozenset(phrase for phrase in (" ".join(part.split()) for part in text.split(",")) if phrase)


NATIONALITIES = phrases("""
    myanmarese, trinbagonian, emirian, niuean, tokelauan, new caledonian, french polynesian, gibraltarian, cook
    islander, falkland islander, channel islander, afghan, albanian, algerian, american, andorran, angolan,
    antiguan, barbudan, argentinian, argentine, argentinean, armenian, australian, aussie, austrian,
    azerbaijani, bahamian, bahraini, bangladeshi, barbadian, bajan, belarusian, belarussian, belgian, belizean,
    beninese, bhutanese, bolivian, bosnian, herzegovinian, botswanan, batswana, motswana, brazilian, british,
    bruneian, bulgarian, burkinabe, burkinabé, burmese, burundian, cambodian, cameroonian, canadian, cape
    verdean, cabo verdean, central african, chadian, chilean, chinese, colombian, comorian, comoran, congolese,
    costa rican, ivorian, ivoirian, croatian, croat, cuban, cypriot, greek cypriot, turkish cypriot, czech,
    danish, djiboutian, dominican, timorese, east timorese, ecuadorian, ecuadorean, egyptian, emirati,
    salvadoran, salvadorian, salvadorean, equatorial guinean, equatoguinean, eritrean, estonian, swazi,
    ethiopian, fijian, finnish, french, gabonese, gambian, georgian, german, east german, west german, ghanaian,
    greek, grenadian, guatemalan, guinean, bissau guinean, guyanese, haitian, honduran, hungarian, icelandic,
    indian, indonesian, iranian, iraqi, irish, northern irish, israeli, italian, jamaican, japanese, jordanian,
    kazakh, kazakhstani, kenyan, i kiribati, korean, north korean, south korean, kosovar, kosovan, kuwaiti,
    kyrgyz, kyrgyzstani, lao, laotian, latvian, lebanese, basotho, mosotho, liberian, libyan, lithuanian,
    luxembourgish, luxembourgian, malagasy, madagascan, malawian, malaysian, maldivian, malian, maltese,
    marshallese, mauritanian, mauritian, mexican, micronesian, moldovan, moldavian, monegasque, monégasque,
    monacan, mongolian, montenegrin, moroccan, mozambican, namibian, nauruan, nepalese, nepali, dutch, kiwi,
    nicaraguan, nigerien, nigerian, macedonian, north macedonian, norwegian, omani, pakistani, palauan,
    palestinian, panamanian, papua new guinean, paraguayan, peruvian, filipino, philippine, polish, portuguese,
    qatari, romanian, russian, rwandan, kittitian, nevisian, saint lucian, st lucian, st. lucian, vincentian,
    samoan, sammarinese, san marinese, são toméan, sao tomean, saudi, saudi arabian, senegalese, serbian, serb,
    seychellois, sierra leonean, singaporean, slovak, slovakian, slovenian, slovene, somali, somalian, south
    african, south sudanese, spanish, sri lankan, sudanese, surinamese, surinamer, swedish, swiss, syrian,
    taiwanese, tajik, tajikistani, tanzanian, thai, togolese, tongan, trinidadian, tobagonian, trini, tunisian,
    turkish, turkmen, turkmenistani, tuvaluan, ugandan, ukrainian, english, scottish, welsh, uruguayan, uzbek,
    uzbekistani, vanuatuan, ni vanuatu, venezuelan, vietnamese, south vietnamese, north vietnamese, yemeni,
    yemenite, zambian, zimbabwean, puerto rican, bermudian, faroese, greenlandic, guamanian, aruban, curaçaoan,
    cayman islander, rhodesian, soviet, yugoslav, yugoslavian, czechoslovak, czechoslovakian, zairean, zairian,
    prussian, anglo irish, canuck
""")
"""Adjectives of states and home nations."""
COUNTRY_NOUNS = phrases("""
    afghani, bhutani, brit, britisher, briton, dane, finn, greenlander, hollander, icelander, liechtensteiner,
    luxembourger, marshall islander, netherlander, new zealander, pole, scot, solomon islander, spaniard, swede,
    turk, yank
""")
PEOPLES = phrases("""
    asian, south asian, east asian, southeast asian, south east asian, central asian, west asian, north asian,
    african, west african, east african, north african, southern african, sub saharan african, black african,
    european, western european, eastern european, central european, northern european, southern european, east
    european, white european, eurasian, middle eastern, latin american, south american, north american, central
    american, mediterranean, caribbean, afro caribbean, african caribbean, black caribbean, west indian, east
    indian, afro latino, afro latina, afro brazilian, afro cuban, afro colombian, afro asian, afro american,
    afro european, afro mexican, anglo indian, anglo saxon, anglo american, anglo, british asian, black british,
    arab, arabic, arabian, hispanic, latino, latinx, latine, latin, chicano, caucasian, slavic, slav, nordic,
    scandinavian, norse, balkan, baltic, celtic, germanic, mediterranean looking, asian looking, levantine,
    creole, cajun, polynesian, melanesian, pacific islander, pacific island, hawaiian, native hawaiian,
    tahitian, maori, māori, papuan, torres strait islander, aboriginal australian, indigenous australian, native
    american, american indian, amerindian, native alaskan, alaska native, alaskan native, first nations, first
    nation, inuit, inuk, eskimo, yupik, sami, sámi, lapp, roma, romani, romany, gypsy, kurdish, kurd, berber,
    amazigh, tuareg, bedouin, persian, pashtun, hazara, baloch, balochi, uyghur, uighur, tibetan, hmong, han
    chinese, manchu, zhuang, miao, ainu, okinawan, tamil, sinhalese, punjabi, bengali, gujarati, marathi,
    telugu, malayali, rajasthani, kashmiri, sindhi, rajput, dalit, adivasi, rohingya, sherpa, gurkha, newar,
    desi, malay, javanese, balinese, sundanese, batak, dayak, iban, moro, igorot, ifugao, khmer, cham, zulu,
    xhosa, ndebele, sotho, tswana, shona, yoruba, igbo, ibo, hausa, fulani, fula, ashanti, asante, akan,
    mandinka, wolof, dinka, nuer, kikuyu, maasai, masai, samburu, turkana, himba, herero, hutu, tutsi, oromo,
    amhara, tigrayan, bantu, khoisan, hadza, mursi, nubian, swahili, afar, tigrinya, bemba, makonde, dogon,
    cherokee, navajo, sioux, lakota, apache, comanche, cree, ojibwe, ojibwa, iroquois, mohawk, seminole,
    choctaw, chickasaw, shawnee, hopi, zuni, pueblo, blackfoot, cheyenne, arapaho, pawnee, shoshone, tlingit,
    haida, mohican, lenape, mi'kmaq, métis, metis, inca, incan, maya, mayan, aztec, quechua, quechuan, aymara,
    mapuche, guarani, guaraní, yanomami, kayapo, embera, garifuna, zapotec, mestizo, afrikaner, boer, ashkenazi,
    ashkenazi jewish, sephardic, sephardi, sephardic jewish, mizrahi, catalan, basque, breton, flemish, walloon,
    frisian, corsican, sardinian, galician, cornish, manx, chechen, tatar, circassian, cossack, ossetian,
    abkhaz, azeri, ingush, dagestani, bashkir, buryat, yakut, kalmyk, assyrian, chaldean, turkic, moorish, moor,
    ethnic chinese, ethnic german, ethnic russian, ethnic albanian, ethnic hungarian, asiatic, oriental, far
    eastern, near eastern, sub saharan, chinese indonesian, québécois, quebecois, acadian, dravidian, aryan,
    hispanic looking
""")
"""Adjectives of continents, regions and peoples."""
PEOPLES_NOUNS = phrases("""
    bedu, catalonian, celt, fleming, jat, laplander, quebecer
""")
LANGUAGES = phrases("""
    english, french, german, spanish, italian, portuguese, chinese, japanese, korean, arabic, russian, latin, greek,
    dutch, polish, turkish, swedish, danish, norwegian, finnish, welsh, irish, hungarian, czech, thai, vietnamese,
    hindi, bengali, punjabi, tamil, persian, hawaiian, catalan, basque, gaelic, ukrainian, romanian, bulgarian,
    croatian, serbian, icelandic, estonian, latvian, lithuanian, indonesian, malay, swahili, khmer, lao, burmese,
    nepali, tibetan, telugu, gujarati, marathi
""")
"""Those that name a language, and so a subject that is taught."""
