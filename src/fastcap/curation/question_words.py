"""Words for questions made of captions: which are one thing, which are seen though nobody says so, what is a place."""

from __future__ import annotations

from fastcap.runtime.english import pairs, words

__all__ = ["BACKGROUND", "FURNITURE", "GROUPS_OF_WORDS", "OBJECTS_OF", "PLACES", "PLAIN_ACTIVITIES", "SAME"]
__all__ += ["COLOURLESS", "MASS_NOUNS", "NOT_COUNTED", "PLURAL_ONLY", "SPORTS", "WORN"]

SAME = pairs("""
    bicycle bike, puppy dog, doggy dog, pup dog, canine dog, kitten cat, kitty cat, sofa couch, woods forest,
    automobile car, cellphone phone, smartphone phone, telephone phone, television tv, airplane plane, aeroplane plane,
    motorbike motorcycle, refrigerator fridge, donut doughnut, racquet racket, kid child, toddler child, lady woman,
    guy man, gentleman man, spectacles glasses, sailboat boat, ship boat, bunny rabbit, pony horse, hamburger burger,
    luggage suitcase, baggage suitcase, pavement sidewalk, sea ocean, backyard yard, frisbie frisbee, automobiles car
""")
"""What is called by another word in questions and answers."""

BACKGROUND = words("""
    sky cloud tree bush plant leaf grass ground dirt floor wall ceiling building house window door roof light lamp
    shadow sun sunlight street road sidewalk pavement path curb field yard lawn hill mountain rock stone sand water
    wave snow air background hair hand arm leg foot head face eye mouth nose ear finger back shoulder body tail fur
    mane feather wing shirt pants jeans shorts clothes clothing outfit dress skirt jacket coat sweater suit uniform
    tie hat cap helmet shoe boot sock glove glasses sunglasses goggles scarf belt button pocket jewelry necklace ring
    watch table counter desk shelf cabinet drawer room kitchen bathroom bedroom corner fence pole post sign line wire
    equipment item stuff object gear toy food meal dish plate bowl cup glass bottle container box bag basket paper
    picture photo poster painting design pattern letter number word name brand logo flag color colour shape wood metal
    brick tile curtain carpet rug pillow blanket sheet towel cloth chair seat handle wheel tire mirror branch log
    stick flower weather night morning evening afternoon summer winter spring city town area place scene view game
    sport team crowd audience group people person someone other front side top bottom edge middle distance
    camera hill slope trail track course event party trick jump ride walk run air action motion pose look smile
    couple family friend member adult player life nature daylight wilderness piece bunch row stack pile pair set
    part end leash collar knee lap lip beard ball rope wheel engine vehicle animal furniture meat vegetable fruit
    slice sauce cheese bread topping ingredient kind type variety stand rail railing step stair platform structure
    dust mud puddle splash foam shore shoreline coast land landscape dock mouthful bit ledge pot
    neck chest finger hoof paw horn stripe spot color tank net bar board court restaurant store shop market station
    park lot parking motor day fry rapid mound herd flock match reflection hole case tackle onstage racetrack pad
    stunt image valley rack fetch base appliance makeup enclosure barrier restroom booth bank competition figure closeup
    neighborhood frame device art cheek peak foreground airborne dusk wind surface war range square taken way flight
    downhill flop stuck made shade patch dinner disc beverage curve music direction mountainside see plain time center
    assortment machine block stall obstacle goal tube cone controller pipe gate intersection deck trunk jersey vest
    t-shirt sweatshirt hoodie swimsuit robe sandal sneaker bandanna bandana headband headscarf ribbon swimwear trunks
    retriever greyhound poodle terrier labrador lab spaniel collie shepherd pitbull bulldog beagle husky boxer hound
    lunch breakfast snack drink bite gesture tooth mountaintop pasture walkway courtyard rodeo traffic parade festival
    celebration show concert performance turn swing slide lead inning throw catch tag cut base runway
    formation block cream decker condiment dessert entree appetizer topping mixture variety stuff garnish serving
    item goods merchandise memorabilia decoration ornament artwork material leather concrete cement asphalt gravel
    cobblestone tarmac turf terrain ridge summit meadow countryside backdrop skyline sunshine sunrise midair stance
    position crouch grin smile frown expression gaze stroll walk hike race marathon dive flip wheelie leap
    headphone earphone handbag makeup tattoo bracelet earring necklace sunglass lens cord cable wire plug button knob
    switch hinge cattle circle heel ponytail silhouette boar roadway
    shown sort strip fun lit retrieve feature bound eaten close-up attire foliage space stadium doorway
    handrail hillside gym boulder banner harbor office decker desert zoo pier jet harness dune sunset rain tray screen
    creek stream greenery vegetation shrub hedge sidelines crossing
""")
"""What is often there though no caption says so, or is no thing one can be asked for: no "no" of it is certain."""

GROUPS_OF_WORDS = tuple(
    tuple(line.split())
    for line in """
    car truck van suv jeep taxi cab vehicle automobile traffic pickup sedan convertible minivan limo limousine wagon
    bus trolley tram streetcar coach vehicle train
    train locomotive engine subway railway railroad tram trolley caboose carriage
    bike bicycle cycle cyclist bmx tricycle unicycle biker motorcycle moped scooter cycling biking biker
    motorcycle motorbike bike scooter moped motocross biker dirtbike cycle motorcyclist
    boat ship sailboat kayak canoe raft ferry yacht vessel rowboat gondola motorboat barge sail sailing rowing paddle
    plane airplane jet aircraft airliner biplane aeroplane jetliner helicopter airport runway
    couch sofa loveseat futon furniture
    bench seat pew
    phone cellphone telephone mobile cell smartphone iphone
    tv television screen monitor
    computer laptop monitor keyboard notebook desktop macbook pc mouse
    ball soccer baseball football tennis basketball volleyball softball rugby game sport golf frisbee
    surfboard surf surfer surfing board wave bodyboard boogie wakeboard paddleboard
    snowboard snowboarder snowboarding board
    skateboard skateboarder skateboarding skater skating skate board halfpipe
    ski skier skiing skis slope
    backpack bag pack knapsack luggage rucksack hiker
    purse bag handbag
    suitcase luggage bag baggage
    umbrella parasol canopy
    pizza pie slice
    sandwich burger hamburger sub panini hotdog toast bun
    cake cupcake dessert pastry frosting pie birthday
    doughnut donut pastry dessert
    apple banana orange fruit pear grape strawberry
    broccoli carrot vegetable salad veggie greens lettuce
    sheep lamb goat herd flock ram animal
    cow cattle bull herd calf steer ox animal
    horse pony colt foal jockey rider equestrian rodeo cowboy animal carriage mare
    bird duck goose seagull gull pigeon parrot eagle hawk owl chicken flamingo swan crane heron flock animal
    dog puppy hound retriever terrier poodle greyhound collie canine animal dalmatian pup muzzled leash spaniel
    labrador lab shepherd bulldog dachshund beagle husky corgi chihuahua pug mutt pet dogs
    cat kitten kitty feline animal pet tabby siamese
    bear teddy cub panda polar grizzly animal
    elephant animal trunk herd tusk
    giraffe animal zoo herd
    zebra animal herd
    rabbit bunny animal
    monkey ape gorilla animal
    bull cow cattle rodeo matador
    wolf dog husky
    snow snowy ski snowboard winter ice snowball snowman
    beach ocean sea sand shore surf wave coast seaside
    ocean sea beach water wave surf
    pool swimming swim swimmer diving
    river lake stream creek pond water waterfall
    oven stove microwave range kitchen
    fridge refrigerator freezer kitchen
    mouse computer laptop keyboard desk office rat
    keyboard computer laptop desk piano office
    monitor computer laptop screen desk tv television office
    screen computer laptop tv television monitor phone
    knife plate food kitchen cutting
    tray plate food meal
    pan pot stove kitchen food skillet
    ramp halfpipe skate skateboard skateboarder skateboarding jump stairs
    stove oven kitchen range
    book reading read magazine library bookshelf shelf bookcase
    frisbee disc disk toy
    raft rafting rapids boat river tube inflatable
    costume dress dressed outfit mask uniform parade
    instrument guitar drum drums band musician violin piano saxophone accordion music trumpet
    bathtub bath tub bathroom shower
    tub bath bathtub bathroom shower
    doughnut donut pastry
    garden flower flowers yard park
    lake ocean sea river water pond beach
    pond lake water river
    playground swing slide park
    forest wood woods tree trees
    bridge
    tongue licking lick licks panting
    statue sculpture monument figure
    tower building skyscraper clock
    phone cellphone telephone mobile cell smartphone texting call
    toilet bathroom restroom urinal
    sink bathroom faucet kitchen toilet restroom
    bed bedroom mattress bunk crib couch sofa chair blanket pillow
    van car truck suv jeep taxi cab vehicle automobile traffic minivan bus
    jeep car truck suv van vehicle automobile
    pond pool
    staircase stairs steps stairway escalator
    sculpture statue figure monument
    purse bag handbag luggage backpack
    cliff rock rocks mountain ledge climbing climber climb
    stage performance band concert singer performer performing theater
    church cathedral chapel building steeple
    bubble bubbles soap
    crosswalk crossing street intersection
    vase flower bouquet
    kite flying parasail
    guitar instrument band music musician bass ukulele
    microphone mic singer singing sings
    racket tennis badminton
    bat baseball batter
    tent camp camping camper
    ladder climb
    knife blade cutlery silverware utensil
    fork cutlery silverware utensil
    spoon cutlery silverware utensil
    book reading magazine novel
    swing playground swinging
    slide playground sliding
    fountain water sprinkler
    statue sculpture monument
    clock tower
    hydrant fire
    child boy girl kid baby toddler children infant son daughter teenager teen boys girls youngster
    baby infant toddler child newborn
    wheelchair chair
    stroller carriage buggy pram
    hose sprinkler water
    candle cake birthday
    wine glass beer drink alcohol
    beer drink wine alcohol bottle
    coffee cup mug tea drink
    """.strip().splitlines()
)
"""Words of which one may be there where another is named: the first is what is asked for."""

COLOURLESS = words("""
    wine bear bean pepper onion potato tea rice bread board tape light house cab collar meat card snow sand grass sky
    water wave tree leaf hair skin eye people man woman boy girl child kid person baby lady guy dress-shirt team player
    top bottom photo photograph picture image background color colour tone stripe spot polka area outfit attire clothes
    clothing uniform material medal hill mountain field forest bush plant ground dirt mud rock stone road street
    pavement sidewalk vegetable broccoli lettuce banana carrot lemon lime night sea ocean sun cloud one pair fence-post
    glow flash surface goat-ee retriever terrier labrador lab setter racer rider
""")
"""What has a colour of its own, or none that one can ask for; people are asked for no colour."""

WORN = words("""
    shirt pants jeans shorts dress skirt jacket coat sweater suit tie hat cap helmet shoe boot sock glove glasses
    sunglasses goggles scarf belt vest jersey hoodie sweatshirt t-shirt wetsuit bathing-suit swimsuit bikini trunks robe
    costume apron backpack bag purse umbrella mask blouse top tank outfit gown turban headscarf bandanna
""")
"""What several people of a picture may wear, each in another colour."""

SPORTS = words("""
    soccer tennis baseball football basketball volleyball hockey golf rugby cricket wii lacrosse badminton skateboarding
    snowboarding surfing skiing motocross rodeo karate ballet gymnastics
""")
"""What is played; it is no object, though the word may be its ball's."""

MASS_NOUNS = words("""
    broccoli rice lettuce bacon corn pasta graffiti popcorn spinach asparagus fruit pasta scissors chopsticks
    steps stairs hay ice celery garlic ham beef pork fries seaweed
""")
"""What has no article."""

PLURAL_ONLY = words("shorts pants jeans stairs scissors headphones chopsticks glasses goggles trousers overalls skis")
"""What is one thing, and stands in the plural."""

NOT_COUNTED = BACKGROUND - words("""
    hat chair umbrella ball bottle bowl box bag plate cup flag pillow window wheel sign toy
""") | words("""
    piece slice type kind side story lane level hour year way time thing tier kinds types pieces stage state step
""")

PLAIN_ACTIVITIES = words("""
    running jumping walking sitting standing sleeping swimming surfing skateboarding skiing snowboarding climbing
    dancing eating drinking lying laying flying grazing cooking fishing reading singing kneeling crouching sliding
    sledding skating diving hiking digging kayaking cycling wrestling rafting rollerblading
    parasailing wakeboarding bowling boxing sailing painting
""")
"""What somebody does, as one word."""

OBJECTS_OF = {
    "riding": words("bike horse motorcycle wave skateboard surfboard bull elephant scooter bus train camel snowboard"),
    "playing": words("""
        soccer tennis baseball frisbee guitar football basketball volleyball hockey golf drums piano rugby cricket
        wii lacrosse badminton violin accordion saxophone chess cards
    """),
    "flying": words("kite kites"),
    "catching": words("frisbee ball"),
    "throwing": words("ball frisbee baseball football"),
    "kicking": words("ball soccer"),
    "hitting": words("ball"),
    "swinging": words("bat racket"),
    "brushing": words("teeth hair"),
    "cutting": words("cake pizza paper meat"),
    "blowing": words("bubbles candles"),
    "walking": words("dog dogs"),
}
"""What somebody does with what, as two words."""

PLACES = words("""
    beach snow street field grass water park kitchen bathroom bedroom ocean pool river lake forest mountain sidewalk
    road yard lawn sand desert stage restaurant office playground zoo airport runway
    room court dirt mud rocks hill cliff dock bridge stairs ramp trail creek stream pond
""")
"""Where a picture may have been taken, in one word."""

FURNITURE = words("couch bed chair table bench floor desk counter plate bowl sink toilet rug suitcase shelf stove")
"""On, in or at which something may be."""
