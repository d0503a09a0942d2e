"""Nouns for people, animals and things: what tells "a black lawyer" from "a black poodle" and "a black cab driver"."""

from __future__ import annotations

import re

from fastcap.runtime.english import VERBS, pairs, words
from fastcap.runtime.gendered import GENDERED, PEOPLE
from fastcap.runtime.grammar import base_form

__all__ = ["ACTIVITIES", "ANIMALS", "COMPOUND_THINGS", "GROUPS", "NAME_TITLES", "OF_ANIMALS", "PLACES", "YOUNG_ANIMALS"]
__all__ += ["is_animal", "is_only_animal", "is_person_noun", "is_thing_for", "singular"]

GROUPS = words("""
    people folk folks couple couples family families team teams crowd crowds group groups crew crews band choir
    choirs orchestra troupe troupes squad squads trio duo quartet quintet community communities population
    populations public audience audiences delegation delegations army troops troop battalion regiment infantry
    cavalry police staff youth tribe tribes clan clans gang gangs mob congregation congregations class twins
    triplets siblings ensemble generation generations faculty panel jury clergy nobility royalty elite diaspora
    minority minorities majority household households descent origin ancestry heritage ethnicity squadron platoon
    brigade trainees cast workforce electorate contingent entourage posse collective throuple foursome quintuplets
    quadruplets pupils
""")
"""Nouns for several people, and those in "of Asian descent"."""

_PEOPLE = PEOPLE | words("""
    someone somebody anyone anybody everyone everybody individual individuals elder peer mate pal buddy bestie
    roommate housemate flatmate classmate schoolmate colleague coworker associate comrade ally stranger acquaintance
    lover spouse parent guardian ancestor descendant twin triplet sibling orphan heir newlywed fiance visitor
    foreigner immigrant migrant emigrant refugee exile expat native townsfolk civilian dweller inhabitant settler
    nomad pilgrim colonist islander peasant serf slave noble aristocrat royal monarch ruler premier chancellor
    senator governor mayor councillor diplomat ambassador secretary delegate candidate voter activist campaigner
    demonstrator marcher striker rebel revolutionary insurgent terrorist hostage prisoner inmate convict criminal
    thief burglar robber murderer killer suspect victim survivor witness bystander onlooker passerby passer-by
    passersby viewer watcher observer supporter enthusiast hobbyist collector amateur professional expert specialist
    novice beginner veteran recruit cadet sergeant lieutenant colonel admiral commander constable detective sheriff
    deputy marshal trooper ranger bodyguard bouncer warden sentry marine paratrooper commando sniper gunner knight
    gladiator samurai ninja pirate skipper aviator cosmonaut navigator steward porter bellhop concierge receptionist
    teller accountant banker broker trader dealer merchant shopkeeper grocer butcher confectioner florist jeweller
    jeweler tailor dressmaker cobbler milliner weaver knitter potter sculptor carver engraver blacksmith goldsmith
    silversmith glassblower joiner mason bricklayer plasterer roofer plumber electrician fitter machinist architect
    surveyor designer developer programmer coder hacker researcher physicist chemist biologist botanist zoologist
    geologist astronomer mathematician historian philosopher scholar academic tutor principal dean headteacher
    undergraduate graduate alumnus learner trainee intern physician medic midwife orthodontist optician pharmacist
    psychologist psychiatrist therapist counsellor counselor vet veterinarian patient carer caregiver caretaker
    nanny babysitter childminder au-pair housekeeper custodian sweeper dustman launderer butler maid waitress
    barkeep sommelier caterer dishwasher brewer winemaker farmhand rancher grower landscaper shepherd herder
    herdsman goatherd cowherd milker beekeeper logger lumberjack forester trapper angler whaler miner driller docker
    longshoreman chauffeur cabbie trucker courier postie messenger hitchhiker holidaymaker vacationer sightseer
    explorer adventurer mountaineer trekker rambler sprinter marathoner hurdler olympian paralympian trapezist
    tumbler weightlifter bodybuilder powerlifter kickboxer judoka karateka fencer archer marksman shooter snorkeler
    windsurfer kitesurfer canoeist canoer paddler yachtsman rafter motorist racer rollerskater sledder luger
    bobsledder curler caddie batsman fielder outfielder infielder shortstop defender midfielder winger quarterback
    linebacker receiver footballer cricketer baseballer basketballer volleyballer hockeyist rival champion winner
    loser medallist medalist finalist participant contender linesman attorney solicitor barrister prosecutor
    magistrate notary archivist curator novelist playwright editor columnist blogger vlogger influencer youtuber
    broadcaster newscaster commentator announcer narrator storyteller translator interpreter orator preacher
    composer songwriter soprano tenor baritone soloist rapper deejay dj bassist percussionist keyboardist organist
    fiddler cellist harpist flautist flutist clarinetist saxophonist trumpeter trombonist bugler piper bagpiper
    accordionist harmonica-player busker illustrator cartoonist videographer filmmaker director producer mime
    illusionist puppeteer breakdancer choreographer ballerina stripper cosplayer reenactor stuntman stylist
    beautician manicurist masseur tattooist tattooer undertaker gravedigger rescuer helper aide chief chieftain
    manager executive entrepreneur businessperson owner landlord tenant lodger client buyer consumer patron diner
    eater drinker smoker addict panhandler tramp hobo vagrant punk hippie hipster goth skinhead emo nerd geek
    dreamer hero villain genius celebrity idol representative spokesperson chairperson soul tot geisha mariachi
    matador bullfighter torero gaucho vaquero rickshaw-puller falconer fortune-teller clairvoyant healer herbalist
    hermit monk sherpa mahout coolie muralist ceramicist upholsterer locksmith watchmaker clockmaker boatbuilder
    shipbuilder stonemason thatcher picker harvester ploughman roper wrangler stablehand groomer dogwalker sunbather
    beachgoer partygoer concertgoer moviegoer theatregoer reveler reveller merrymaker trick-or-treater picnicker
    caravanner bather bungee-jumper skydiver parachutist paraglider aeronaut balloonist envoy spy agent operative
    inspector examiner auditor analyst consultant adviser advisor recruiter planner organizer organiser fundraiser
    donor sponsor investor trustee valedictorian debater debutante pensioner brass-player bellringer chorister
    cantor chanter drumline twirler mascot gambler bettor chessmaster grandmaster cardsharp solver puzzler crocheter
    quilter embroiderer spinner dyer tanner miller reaper thresher tinker peddler pedlar hawker monger fishmonger
    ironmonger greengrocer newsagent bookseller streamer sumo archaeologist anthropologist sociologist economist
    linguist meteorologist virologist oncologist cardiologist radiologist paediatrician pediatrician gynaecologist
    nutritionist dietician dietitian physiotherapist chiropractor acupuncturist hygienist orderly sculler oarsman
    coxswain helmsman southerner northerner westerner easterner highlander churchgoer superstar rockstar popstar
    griot master mountie employee attendee evacuee internee escapee divorcee devotee nominee honoree honouree
    appointee parolee absentee retiree amputee redhead blonde blond brunette rookie newbie foodie groupie roadie
    yuppie junkie bookie sage seer bard minstrel troubadour maestro virtuoso prodigy scribe despot brigadier
    grenadier musketeer gondolier chevalier crofter drover applicant defendant informant occupant claimant combatant
    dissident recipient respondent adherent regent critic comic fanatic mystic heretic sceptic skeptic alcoholic
    eccentric official intellectual captive fugitive mercenary dignitary visionary bully bobby democrat republican
    bureaucrat socialist communist nationalist separatist loyalist unionist conservative liberal suffragist feminist
    pacifist anarchist naturist nudist colony mourner wellwisher well-wisher congregant tribesperson weirdo commoner
    townspeople townsperson countryfolk womenfolk menfolk kinsfolk fisherfolk gentry smith wright gunsmith
    shipwright wheelwright millwright cellmate shipmate playmate workmate bedmate advocate valet groom squire
    footman jailer tyrant oligarch autocrat nun bachelor widow daredevil cutthroat sidekick newsreader greeter usher
    toastmaster ringmaster quizmaster concertmaster choirmaster bandmaster harbourmaster stationmaster paymaster
    schoolteacher nursemaid gypsy shaman witch wizard elf elves angel saint deity god goddess prophet martyr
""")
"""More nouns for people, in the singular."""

_THINGS_IN_ER = words("""
    soccer beer veer sneer poor trouser twister sparkler cylinder cancer juicer deliver answer garter dragster alter
    consider gender vader leftover preserver loafer hummer sifter whatever foyer lightsaber twitter udder rainwater
    conveyer caster seater propellor drainer reminder drier deter somber sleepover steamroller slicker breather
    swiffer laser roadster booster minicomputer cruller behavior compressor chamber prior arbor ledger millimeter
    kilometer heather miter saltwater floodwater riverwater backwater breakwater planer stupor soaker romper inhaler
    flyover crossover makeover hangover gossamer auger caliper ticker jigger knicker polymer freshener barometer
    odometer flamethrower sleeper sander ereader mulcher topper popper bustier sliver inter sever cher wiener weiner
    sunvisor noisemaker carabiner conditioner sanitizer indicator compactor incinerator resistor inflator ventilator
    alternator accelerator capacitor calculator percolator perambulator simulator vibrator elevator escalator
    refrigerator demeanor interior posterior exterior ulterior anterior thriller bomber stopper starter crusher
    brazier hydrometer timber umber lumber limber encounter counter barter charter dimmer strimmer scooper ladler
    corer grater masher whisker skewer canister bannister pincer tweezer plier wiper bloomer clogger patter spatter
    clobber slobber blubber rubber scrubber grabber jabber dabber lobber cobber glitter flicker shimmer hover wander
    linger whisper flutter chatter stagger scatter mutter stutter stammer shatter clatter glimmer slither quiver
    shiver waver loiter swagger saunter canter simmer smoulder smolder conquer differ suffer prefer refer transfer
    infer confer recover uncover fever clover thunder plunder squander meander founder flounder cluster muster
    fluster bluster prosper hamper pamper tamper temper whimper gather lather slather weather feather wither dither
    bother smother pucker hunker bicker water other another computer under floor flower outdoor mirror paper river
    tower corner sweater number after shoulder controller monitor shower silver newspaper winter color scooter meter
    scissor leather container ladder indoor dinner decker stroller finger cover motor jetliner roller poster tractor
    banner hammer either trailer blender sneaker summer underwater order barrier power pepper comforter harbor dryer
    sprinkler bleacher freezer dresser cheer sticker feeder theater marker hamburger burger helicopter holder
    dispenser coaster suspender projector wheeler platter cooler butter washer blazer enter mower wicker jumper
    bulldozer dumpster maneuver mixer boulder conveyor propeller carrier checker razor skyscraper visor chandelier
    layer diaper decor toaster maker pacifier shelter planter airliner liquor monster offer cracker prayer wrapper
    cauliflower border folder drawer blower clutter powder corridor sunflower printer register lavender halter
    saucer binder armor glider windbreaker beaker cucumber cutter locker wonder poker solder jackhammer labor
    quarter liner bumper recliner rocker protector flyer warmer cinder typewriter burner handler lighter glacier
    gutter wildflower ginger sewer hanger recorder sledgehammer copper fryer beater amplifier grinder wallpaper
    divider teeter girder reflector screwdriver plunger eyeliner charger stretcher flavor detector tether totter
    anchor pullover excavator parlor peeler slipper manner camcorder tanker cooker danger clipper strainer geyser
    whitewater sucker flipper appetizer saver slicer cheeseburger amber fender disaster transformer filter
    clocktower shaker shutter radiator murder cruiser viewfinder amphitheater chipper banister header respirator
    chopper extinguisher hairdryer heater antler lever blinder scraper processor plaster sprayer pointer riser
    creamer synthesizer hopper hardcover splatter thermometer shaver liter colander shredder conifer loudspeaker
    cleaver generator loader paver vapor freightliner cooper scanner laughter jeter cider saber perimeter
    blockbuster headquarter buffer slumber stepladder bunker zipper anger firecracker supper dagger tender letter
    sector reactor door error horror terror humor honor odor rumor tumor vigor favor speedometer center fiber
    grouper plover condor raptor bladder fritter matter ember december november october september easter character
    chapter cleanser never ever over rather whether however together altogether further farther former latter lower
    upper outer inner utter proper super clever eager bitter sober slender sheer queer older younger bigger smaller
    larger taller shorter longer wider higher deeper darker brighter faster slower better later sooner earlier
    greater happier busier heavier easier thinner thicker newer nearer closer hotter colder stronger weaker richer
    poorer louder quieter softer harder dirtier prettier uglier pewter frontier pier tier atelier skimmer trimmer
    pruner edger spreader tiller crawler dozer grader trawler steamer schooner freighter humidifier defibrillator
    incubator adapter adaptor router copier plotter transmitter sensor timer pager beeper buzzer blinker flasher
    stapler highlighter sharpener eraser duster snowblower leafblower lawnmower silencer trigger tracker
""")
"""Words in -er and -or that name no person, which nearly all others do."""
_THINGS_IN_IST = words(
    "waist fist wrist list mist twist whist exist consist assist heist gist resist persist insist moist"
)
_THINGS_IN_IAN = words("median dalmatian amphibian obsidian meridian crustacean")

ANIMALS = words("""
    animal pet beast creature critter dog puppy pup pooch hound mutt canine doggy doggie cat kitten kitty feline
    tomcat tabby horse pony foal colt filly mare stallion gelding bronco mustang steed donkey mule ass zebra cow
    calf bull ox oxen steer heifer cattle bison buffalo yak sheep lamb ewe ram goat pig piglet hog boar sow swine
    chicken hen rooster chick cockerel duck duckling drake goose geese gosling swan cygnet turkey pheasant quail
    partridge grouse ostrich emu bird fowl eagle hawk falcon owl vulture osprey crow raven magpie robin sparrow
    finch swallow pigeon dove parrot parakeet macaw budgie cockatoo canary pelican heron egret crane stork flamingo
    ibis seagull gull tern puffin penguin albatross peacock peahen peafowl hummingbird kingfisher woodpecker toucan
    warbler songbird nightingale thrush blackbird starling elephant lion lioness tiger tigress leopard leopardess
    cheetah jaguar panther puma cougar lynx bobcat cub bear panda koala wolf wolves fox vixen coyote jackal hyena
    dingo raccoon skunk badger otter beaver weasel ferret mink stoat mongoose meerkat squirrel chipmunk rat mouse
    mice hamster gerbil rabbit bunny hare hedgehog porcupine mole bat monkey ape gorilla chimpanzee chimp orangutan
    baboon gibbon lemur macaque deer stag doe fawn buck moose elk reindeer caribou antelope gazelle impala gnu
    wildebeest giraffe hippo hippopotamus rhino rhinoceros camel dromedary llama alpaca vicuna kangaroo wallaby joey
    wombat platypus opossum possum sloth armadillo anteater tapir seal walrus whale dolphin porpoise orca manatee
    shark fish salmon trout carp tuna cod goldfish koi eel seahorse octopus squid jellyfish crab lobster shrimp
    prawn snail slug clam oyster frog toad tadpole newt salamander lizard gecko iguana chameleon turtle tortoise
    terrapin snake python cobra viper adder rattlesnake crocodile alligator caiman dinosaur dragon unicorn spider
    tarantula scorpion insect bug bee bumblebee wasp hornet ant termite fly mosquito moth butterfly dragonfly
    caterpillar beetle ladybird ladybug grasshopper locust mantis cockroach worm centipede tick flea louse sheepdog
    collie labrador lab retriever poodle terrier spaniel bulldog dachshund beagle chihuahua pug rottweiler doberman
    pinscher husky malamute greyhound whippet mastiff pitbull dalmatian corgi setter schnauzer shihtzu pomeranian
    chow akita samoyed newfoundland ridgeback bloodhound basset wolfhound weimaraner shorthair longhair angora
    shetland clydesdale thoroughbred hatchling nestling fledgling livestock herd flock poultry puppies kitties
    litter cockatiel lovebird mynah hyrax okapi oryx ibex chamois warthog aardvark capybara guinea-pig chinchilla
    westie yorkie vizsla tzu inu apso frise corso airedale cavapoo cockapoo labradoodle sphynx lipizzaner appaloosa
    palomino gander peregrine
    marten polecat wolverine narwhal beluga lark wren bluetit cuckoo hoopoe curlew sandpiper ocelot serval caracal
""")
OF_ANIMALS = words("""
    foal foals calf calves piglet piglets chick chicks duckling ducklings gosling goslings cygnet cygnets cub
    cubs fawn fawns joey joeys hatchling hatchlings nestling nestlings fledgling fledglings tadpoles tail tails
    paw paws muzzle snout hooves hoof fur mane beak antlers whiskers udder tusks claws plumage burrow den fin
    fins flippers tentacles pouch hump horns feathers wing wings
""")
"""Young animals, and what only animals have."""
YOUNG_ANIMALS = OF_ANIMALS | words("""
    puppy puppies pup pups kitten kittens lamb lambs litter brood kennel leash collar bone trunk owner owners
    master masters bowl nest perch cage stable rider jockey trainer keeper handler food toy
""")
"""Those that people may have as well."""

ACTIVITIES = words("""
    football soccer basketball baseball volleyball handball tennis badminton hockey rugby cricket golf polo netball
    squash lacrosse softball boxing wrestling judo karate swimming diving running racing cycling skating skiing
    surfing climbing fitness yoga dance ballet opera rock pop folk jazz blues rap reggae gospel country hip hop
    street road track field police fire security army navy military air traffic business school college university
    high grade middle primary elementary graduate law medical health care construction factory farm office mail
    postal delivery flight cabin ice figure speed gymnastics chess community union guest game fashion news
    television tv radio film movie theater theatre music drum brass steel marching choir church soul rodeo martial
    arts sumo science history math maths art civil rights human peace climate election presidential vice deputy
    chief head assistant junior senior master special forces homeless working upper lower class beauty sales bank
    subway train museum tour trade social support kitchen line sous pastry rescue emergency mountain coast border
    prison long distance short relay marathon sprint water beach synchronized synchronised cross rickshaw war world
    olympic national international professional amateur local foreign exchange super
""")
"""What people do, as it stands before a noun for them: "a black football coach"."""
PLACES = words("""
    restaurant bakery cafe café bistro diner eatery takeaway takeout pub bar shop store supermarket market bazaar
    mall museum gallery embassy consulate church chapel cathedral temple mosque synagogue monastery abbey convent
    shrine pagoda cemetery graveyard school college university academy hospital clinic hotel hostel house home villa
    palace castle fort bridge park garden gardens quarter district neighborhood neighbourhood village city town
    square flag anthem language food cuisine dish cheese wine beer tea coffee chocolate elephant
    furniture cigar carpet rug border coast mountain desert countryside film movie newspaper magazine book
    novel opera-house antique antiques art porcelain pottery silk lace cotton leather shoe watch clock knife sausage
    bread pastry ice-cream noodle sushi pizza taco kebab pizzeria tavern brewery winery railway airline airport port
    harbor harbour fashion-house theme textile grocery deli shopfront storefront sign flags     """)
"""Things that are called by a nation or a faith, whose owners, makers and drivers need not be of it."""
COMPOUND_THINGS = words("""
    movie movies film films drama comedy novel novels fiction fashion magazine programme program website channel
    bus train plane ferry ship boat jet airplane aircraft van wings ears horns
    costume costumes outfit outfits clothes clothing garment garments garb hat hats cap caps boot boots shirt shirts
    shoe shoes sock socks dress dresses skirt skirts coat coats uniform uniforms sweater stroller strollers carriage
    carriages buggy buggies pram prams seat seats chair chairs highchair bottle bottles crib cribs cot cots bed beds
    blanket blankets food foods doll dolls toy toys figurine figurines puppet puppets action book books menu menus
    cave hostel hostels center centre centers centres hospital hospitals clinic ward school schools college club
    clubs museum room rooms toilet toilets restroom restrooms bathroom bathrooms lavatory changing department
    section store stores shop shops magazine magazines shower sling monitor carrier carriers gate powder oil wipes
    shampoo lotion formula bump blue pink steps teeth tooth grand carrots carrot corn spinach potatoes potato
    tomatoes leaf leaves bok back ribs octopus greens lettuce photo photos picture pictures walker bouncer swing
    bath bathtub rattle bib diaper diapers nappy nappies car pool-toy tickets ticket fare fares price prices
    education portion portions size sizes bicycle bike tricycle scooter desk drawing drawings party-hat bun purse
    scape holes collar collars robe robes habit habits hood hoods hole mask masks wig wigs makeup emoji icon icons
    symbol symbols sign signs logo logos sticker stickers statuette keychain balloon balloons cake cookie cookies
    ornament ornaments cutout cutouts toast pastry plug connector socket thread part parts plant flower parsons
    league cup tournament championship derby chess set piece pieces card cards bee bees bedding mattress labor
    labour abuse care benefit benefits protection services line wire rope ropes band-aid dorm hall cosmetics perfume
    fragrance deodorant razor razors underwear lingerie jeans jacket jackets watch watches gloves wallet shelter
    shelters refuge playground clipart safety lock locks proof pageant
""")
"""Nouns before which a noun for people says what a thing is for: "a baby carriage"."""

NAME_TITLES = words("""
    nurse constable corporal private admiral commander reverend rev bishop pope pastor dean principal councillor
    mr mrs ms miss mx dr doctor president senator governor mayor coach captain judge justice professor prof sir lady
    lord general colonel major sergeant lieutenant officer detective secretary chancellor minister director chef
    saint st uncle aunt agent inspector
""")
"""What stands before a surname."""


_IRREGULAR = pairs("""
    children child, people person, persons person, feet foot, teeth tooth, geese goose, mice mouse, knives knife,
    lives life, leaves leaf, wolves wolf, shelves shelf, loaves loaf, halves half, calves calf, scarves scarf,
    wives wife, hooves hoof, thieves thief, movies movie, cookies cookie, zombies zombie, selfies selfie, ties tie,
    pies pie, hoodies hoodie, shoes shoe, canoes canoe, toes toe, axes axe, buses bus, dice die, oxen ox,
    cacti cactus, skis ski, taxis taxi
""")
_NO_PLURALS = words("""
    glasses jeans shorts pants trousers scissors sunglasses goggles pajamas pyjamas overalls tights bus grass dress
    glass cross class moss gas canvas tennis chess lens news series species always stairs clothes binoculars headphones
    christmas across cactus octopus walrus virus bass compass mattress harness fitness wilderness iris pancreas tongs
    leggings khakis lacrosse abdomen specimen regimen stamen ramen omen lumen cyclamen amen
""")


def singular(noun: str) -> str:
    """The singular of a noun in lower case; the noun itself if it has none, or is one."""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith("men") and noun not in _NO_PLURALS:
        return noun[:-2] + "an"
    if noun in _NO_PLURALS or len(noun) < 4 or not noun.endswith("s") or noun.endswith(("ss", "us", "is")):
        return noun
    if noun.endswith("ies") and len(noun) > 4:
        return noun[:-3] + "y"
    if noun.endswith(("sses", "shes", "ches", "xes", "zzes")) or noun in ("potatoes", "tomatoes", "heroes", "mangoes"):
        return noun[:-2]
    return noun[:-1]


def is_animal(word: str) -> bool:
    """Whether a word in lower case names an animal or animals."""
    return word in ANIMALS or singular(word) in ANIMALS


_ANIMALS_OR_VERBS = words("fly fish pet bat duck bear swallow ram crane crow badger hound bug steer seal perch")
_THINGS_OR_VERBS = words(
    "sign book chair seat plant picture photo part card lock ticket piece line room cake car pool shower"
)


def _base(word: str) -> str:
    return base_form(word) or word


def is_only_animal(word: str) -> bool:
    """Whether a word names an animal and is no verb, as "ducks" is."""
    return is_animal(word) and _base(word) not in _ANIMALS_OR_VERBS and word not in ("fishes", "flies")


def is_thing_for(word: str) -> bool:
    """Whether a noun after one for people is a thing for them, "a baby carriage", and no verb, "a girl signs"."""
    verb = base_form(word)
    if word in ("plant", "sign", "watch", "shop", "lock", "part", "line", "set", "care", "play"):
        return False
    return word in COMPOUND_THINGS and not (verb and (verb in VERBS or verb in _THINGS_OR_VERBS))


_AGENT = re.compile(r"\w{2,}(?:er|or|ist|ian|eer|woman|person)")


def is_person_noun(word: str, known: bool = False) -> bool:
    """Whether a noun in lower case names a person or people; those that say a gender are among them. `known`: by the
    lists alone, and not by its ending."""
    if word in GROUPS or word in _PEOPLE or word in GENDERED:
        return True
    one = singular(word)
    if one in _PEOPLE or one in GENDERED or word.removesuffix("s") in _PEOPLE:
        return True
    last = one.rpartition("-")[2]
    if one != last and (last in _PEOPLE or last in ("maker", "holder", "cutter", "picker", "roller", "layer")):
        return True
    first = singular(one.partition("-")[0])
    if one.endswith(("-up", "-by", "-on", "-in-chief", "-elect", "-at-law", "-of-arms")) and (
        first in _PEOPLE or _AGENT.fullmatch(first)
    ):
        return True
    return not known and (
        bool(_AGENT.fullmatch(last))
        and last not in _THINGS_IN_ER
        and last not in _THINGS_IN_IST
        and last not in _THINGS_IN_IAN
        and last not in ANIMALS
    )
