// Written by scripts/web_constants.py out of src/fastcap/runtime/english.py.

export const ADJECTIVES = new Set(
  `acoustic adolescent adorable african aged american amusement ancient angry antique asian athletic attractive bad
   bald balding barefoot barefooted bearded beautiful beige best big bigger black blond blonde blue bright british
   broken brown brunette busy calm casual caucasian cell certain checked checkered chinese chubby clear cloudy
   cluttered cobbled colored colorful colourful commercial costumed crowded curious curved cute decorated
   decorative deep deserted different dining dirty double dry dusty elaborate elderly electric electronic elegant
   empty english enormous european excited fake fallen fancy fenced fine flat floral flowered fluffy foggy formal
   french fresh frozen full funny furry german giant golden good gorgeous grassy gray great green grey grocery
   handsome happy hard heavy helmeted hilly hispanic homeless hooded horizontal huge icy indian indoor industrial
   inflatable irish italian japanese jewish khaki korean large larger lavender leafy little living lone long lovely
   lush main major maroon martial masked massive medical messy metallic mexican military miniature minor modern
   mountainous muddy multicolored multicoloured multiple muscular musical muslim naked narrow nearby new newborn
   nice nintendo numerous odd old older oldest oncoming opposing oriental ornate outdoor oversized overweight
   parking patterned paved pink plaid plastic playful portable pregnant pretty professional purple quiet rainy real
   red redheaded residential ripe rocky rough round rural rusty sad sandy scenic scottish senior shaggy shallow
   shiny shirtless short shorter silly single skinny slender slim small smaller smooth snow-covered snowy soft
   spotted stainless steep stony stormy strange striped strong stuffed suburban sunny tall taller tattooed teal
   teenage teenaged thick thin tiled tiny toothless topless traditional tropical turquoise uniformed unique urban
   various vertical vintage weird wet white wide windy wooded wooden wrapped yellow young younger youngest`.split(/\s+/),
);
export const ADVERBS = new Set(
  `afterwards again ahead almost alone already also always anyway apart aside away back backward backwards
   downstairs downward downwards either else even ever far fast forward forwards hard here high home however
   indoors instead just left long low maybe meanwhile nearby neither never not now often once only outdoors perhaps
   quite rather right sideways sometimes somewhere soon still straight then there today together tonight too twice
   upside upstairs upward upwards usually very well`.split(/\s+/),
);
export const AFTER_OBJECT = new Set(
  `a aboard about above across after afterwards again against ahead all almost alone along alongside already also
   although always am amid among amongst an and another any anyone anything anyway apart are aren arent around as
   aside at atop away backward backwards be because been before behind being below beneath beside besides between
   beyond but by can cannot could couldn despite did didn didnt do does doesn doesnt don dont down downstairs
   downward downwards during each either else even ever every everybody everyone everything except for forward
   forwards from had hadn hadnt has hasn hasnt have haven havent having he her here hers herself him himself his
   how however i if in including indoors inside instead into is isn isnt it its itself just like may maybe me
   meanwhile might mine must mustn my myself near nearby neither never no nobody nor not nothing now of off often
   on once onto opposite or our ours ourselves out outdoors outside over past per perhaps quite rather shall she
   should shouldn sideways since so some somebody someone something sometimes somewhere soon still than that the
   their theirs them themselves then there these they this those though through throughout till to today together
   tonight too toward towards twice under underneath unless until up upon upside upstairs upward upwards us usually
   via was wasn wasnt we were weren werent what when whenever where wherever whether which while whilst who whom
   whose why will with within without won would wouldn yet you your yours yourself`.split(/\s+/),
);
export const ANIMALS = new Set(
  `alligator animal ape beagle bear bird bull bulldog bunny calf camel canine cat cheetah chicken collie cow crane
   crocodile cub dachshund deer dog dolphin donkey duck eagle elephant elk fish flamingo fox frog giraffe goat
   goose gorilla greyhound gull hawk hen heron hippo horse hound husky kangaroo kitten koala labrador lamb leopard
   lion lizard llama monkey moose mule mutt ostrich owl panda parrot peacock penguin pig pigeon pitbull pony poodle
   pup puppy rabbit ram retriever rhino rooster seagull seal shark sheep shepherd snake spaniel squirrel stork swan
   terrier tiger tortoise turkey turtle whale wolf zebra`.split(/\s+/),
);
export const AUXILIARIES = new Set(
  `am are aren arent be been being can cannot could couldn did didn didnt do does doesn doesnt don dont had hadn
   hadnt has hasn hasnt have haven havent having is isn isnt may might must mustn shall should shouldn was wasn
   wasnt were weren werent will won would wouldn`.split(/\s+/),
);
export const BARE_OBJECTS = new Set(
  `carrying doing drinking eating getting giving having holding kicking making playing pulling pushing reading
   riding selling singing smoking taking throwing using watching wearing`.split(/\s+/),
);
export const BEFORE_ADJECTIVE = new Set(
  `appears are be been being is look looking looks more seems so very was were`.split(/\s+/),
);
export const BEFORE_INVERSION = new Set(
  `and as but hardly how neither never nor not only or rarely seldom so than then what when where which who whom
   whose why`.split(/\s+/),
);
export const BEFORE_NOUNS = new Set(
  `a an another dozens eight eighteen eleven few fifteen fifty five forty four fourteen her his hundred hundreds
   its many my nine nineteen our seven seventeen several six sixteen ten that the their thirteen thirty this three
   twelve twenty two whose your`.split(/\s+/),
);
export const CAUSATIVES = new Set(
  `feel feeling feels felt had has have having hear heard hearing hears help helped helping helps let lets letting
   made make makes making notice noticed notices noticing saw see seeing seen sees watch watched watches watching`.split(/\s+/),
);
export const CLOTHES = new Set(
  `coat comforter jacket parka pillow pocket pockets shirt vest`.split(/\s+/),
);
export const COLOURS = new Set(
  `beige black blue brown gold golden gray green grey khaki lavender maroon navy orange pink purple red silver tan
   teal turquoise white yellow`.split(/\s+/),
);
export const COMPOUNDS = new Set(
  `art bmx bowling christmas cobblestone construction denim dirt fishing golf graffiti gravel hockey karate leather
   motocross police rugby shopping skate skating ski soccer sports surf swimming teddy tennis traffic`.split(/\s+/),
);
export const CONJUNCTIONS = new Set(
  `although and as because but how if nor or since so than that though unless until what when whenever where
   wherever whether which while whilst who whom whose why yet`.split(/\s+/),
);
export const COUNTS = new Map(
  `a=1, an=1, eight=8, eleven=11, five=5, four=4, nine=9, one=1, seven=7, six=6, ten=10, three=3, twelve=12, two=2`.split(/,\s+/).map((pair) => pair.split('=')),
);
export const DETERMINERS = new Set(
  `a all an another any both dozens each eight eighteen eleven every few fifteen fifty five forty four fourteen her
   his hundred hundreds its many my nine nineteen no one our seven seventeen several six sixteen some ten that the
   their these thirteen thirty this those three twelve twenty two whose your`.split(/\s+/),
);
export const DIRECTIONS = new Set(
  `across along around at away back down into off onto out over past through to toward towards up`.split(/\s+/),
);
export const FUNCTION_WORDS = new Set(
  `a aboard about above across after afterwards again against ahead all almost alone along alongside already also
   although always am amid among amongst an and another any anyone anything anyway apart are aren arent around as
   aside at atop away back backward backwards be because been before behind being below beneath beside besides
   between beyond both but by can cannot could couldn despite did didn didnt do does doesn doesnt don dont down
   downstairs downward downwards dozens during each eight eighteen either eleven else even ever every everybody
   everyone everything except far fast few fifteen fifty five for forty forward forwards four fourteen from had
   hadn hadnt hard has hasn hasnt have haven havent having he her here hers herself high him himself his home how
   however hundred hundreds i if in including indoors inside instead into is isn isnt it its itself just left like
   long low many may maybe me meanwhile might mine must mustn my myself near nearby neither never nine nineteen no
   nobody nor not nothing now of off often on once one only onto opposite or our ours ourselves out outdoors
   outside over past per perhaps quite rather right seven seventeen several shall she should shouldn sideways since
   six sixteen so some somebody someone something sometimes somewhere soon still straight ten than that the their
   theirs them themselves then there these they thirteen thirty this those though three through throughout till to
   today together tonight too toward towards twelve twenty twice two under underneath unless until up upon upside
   upstairs upward upwards us usually very via was wasn wasnt we well were weren werent what when whenever where
   wherever whether which while whilst who whom whose why will with within without won would wouldn yet you your
   yours yourself`.split(/\s+/),
);
export const GROUPS = new Set(
  `band class competition contest crew duo game group league match race team trio troupe`.split(/\s+/),
);
export const IRREGULAR_VERBS = new Map(
  `aches=ache, axes=axe, buses=bus, canoes=canoe, dies=die, focuses=focus, hoes=hoe, lies=lie, quizzes=quiz,
   shoes=shoe, ties=tie, tiptoes=tiptoe, toes=toe, unties=untie, vies=vie`.split(/,\s+/).map((pair) => pair.split('=')),
);
export const MASSES = new Set(
  `cattle children deer firemen fish fishermen folk food fruit geese grass infantry kin livestock men mice military
   people police policemen poultry sheep snow sportsmen staff water wildlife women wood youth`.split(/\s+/),
);
export const NEVER_LAST = new Set(
  `a across against almost although am amid among amongst an and any appears are aren arent as at atop attempting
   attempts be because been being beneath beside between but cannot carries carrying containing could couldn
   covered despite didn didnt does doesn doesnt doing don dont dozens dressed during each eight eighteen eleven
   enjoying enjoys every except facing featuring few fifteen fifty filled five for forty four fourteen from gets
   getting gives giving had hadn hadnt has hasn hasnt have haven havent having he his holding holds hundred
   hundreds i if in into is isn isnt its just like lined makes making many may might must mustn my near next nine
   nineteen no nor of onto or our overlooking per prepares preparing puts putting riding seems seven seventeen
   several shall she should shouldn since six sixteen some surrounded takes taking ten than that the their these
   they thirteen thirty this those though three through till to topped toward towards tries trying twelve twenty
   two under unless until upon uses using very via was wasn wasnt we wearing wears were weren werent what when
   whenever where wherever whether which while whilst who whom whose will with within without won would wouldn yet
   your`.split(/\s+/),
);
export const NEVER_NOUNS = new Set(
  `adorable athletic bald balding barefoot barefooted bearded beautiful big bigger bright busy checkered cloudy
   colorful colourful crowded curious curved cute decorated deserted dirty dry dusty elegant excited fallen fancy
   fluffy foggy frozen furry gorgeous grassy handsome happy helmeted hilly hooded huge inflatable large larger
   leafy little lovely lush messy middle-aged muddy multicolored multicoloured muscular narrow old older oversized
   paved plaid pregnant rainy redheaded rocky rusty sandy shaggy shallow shiny shirtless short skinny slim small
   smaller smiling snowy spotted steep stony striped stuffed sunny tall tattooed teenage tiled tiny topless
   uniformed wet wide wooded wooden young younger`.split(/\s+/),
);
export const NOT_VERBS = new Set(
  `across afterwards always backwards besides downstairs downwards forwards his indoors its news nowadays outdoors
   perhaps plus sideways sometimes this towards upstairs upwards whereas yes`.split(/\s+/),
);
export const NOUNS_IN_ED = new Set(
  `bed bobsled breed creed hundred moped red reed seed shed sled speed steed tweed weed`.split(/\s+/),
);
export const NO_OBJECT = new Set(
  `lying parked posing seated sits sitting smiles smiling standing stands`.split(/\s+/),
);
export const NUMBERS = new Set(
  `dozens eight eighteen eleven few fifteen fifty five forty four fourteen hundred hundreds many nine nineteen
   seven seventeen several six sixteen ten thirteen thirty three twelve twenty two`.split(/\s+/),
);
export const PARTICIPLES = new Set(
  `bent blown bought brought built caught clad cut done drawn dressed dug found held hit hung hurt kept left lost
   made put read sat seated seen shot sold spun struck sung swept thrown torn won worn`.split(/\s+/),
);
export const PERFECT = new Set(
  `become been begun done fallen gone got grown had won`.split(/\s+/),
);
export const PERSONAL = new Set(
  `bald balding barefoot barefooted bearded blond blonde old older pregnant redheaded shirtless teenage topless
   young younger`.split(/\s+/),
);
export const PLAIN_PREPOSITIONS = new Set(
  `at by for from in into like of on onto than to with`.split(/\s+/),
);
export const PLURAL_AUXILIARIES = new Map(
  `does=do, doesn=don, doesnt=dont, has=have, hasn=haven, hasnt=havent, is=are, isn=aren, isnt=arent, was=were,
   wasn=weren, wasnt=werent`.split(/,\s+/).map((pair) => pair.split('=')),
);
export const POSSESSIVES = new Set(
  `her his its my our their whose your`.split(/\s+/),
);
export const PREPOSITIONS = new Set(
  `aboard about above across after against along alongside amid among amongst around as at atop before behind below
   beneath beside besides between beyond by despite down during except for from in including inside into like near
   of off on onto opposite out outside over past per than through throughout till to toward towards under
   underneath until up upon via with within without`.split(/\s+/),
);
export const PRONOUNS = new Set(
  `anyone anything everybody everyone everything he hers herself him himself i it itself me mine myself nobody
   nothing ours ourselves she somebody someone something theirs them themselves they us we you yours yourself`.split(/\s+/),
);
export const QUESTIONS = new Set(
  `how what when where which who whom whose why`.split(/\s+/),
);
export const SUBORDINATORS = new Set(
  `although as because if that though until what when where which while whilst who whom whose`.split(/\s+/),
);
export const THINGS = new Set(
  `awning being building carving ceiling clearing clothing covering crossing drawing dressing duckling dumpling
   dwelling earring evening gathering gosling king landing marking meeting morning offering opening outing painting
   pudding railing ring scaffolding setting sibling sling spring stocking string swing thing wedding wing`.split(/\s+/),
);
export const TRANSITIVES = new Set(
  `appears attempting attempts carries carrying containing covered doing dressed enjoying enjoys facing featuring
   filled gets getting gives giving holding holds lined makes making overlooking prepares preparing puts putting
   riding seems surrounded takes taking topped tries trying uses using wearing wears`.split(/\s+/),
);
export const VERBS = new Set(
  `accept ache act add adjust admire advertise aim answer appear approach argue arrange arrive ask assist attach
   attack attempt balance bang bark bat bathe battle beat become beg begin belong bend bike bite blast blow board
   boil bounce bow box brace break breathe bring browse brush build bungee burn burst bury buy call camp carry cart
   carve catch celebrate change chase chat check cheer chew chop clap clean climb cling close clutch coach collapse
   collect comb come compete concentrate consider consult contemplate continue control converse cook cough count
   cover crash crawl create cross crouch cruise cry cuddle curl cut cycle dance dangle dash decide decorate deliver
   demonstrate descend dig dip direct discuss display dive do drag draw dress dribble drink drive drop dry dump
   dunk eat embrace emerge enjoy enter entertain examine exercise exit explain explore extend eye face fall fasten
   feed feel fight fill find finish fish fit fix flash flee flex flip float fly fold follow frown gather gaze
   gesture get giggle give glance glide go grab greet grill grin grind grip groom grow guide hammer hand handle
   hang happen have head hear help hide hike hit hold hop hug hurdle hurl hurry ignore inspect instruct iron jog
   join juggle jump keep kick kiss kneel knit knock know lack laugh launch lay lead lean leap learn leave let lick
   lie lift light like line listen live load look lose lounge love lower lunge make march measure meet mix mop
   mount move mow munch nap navigate need notice observe offer open operate order overlook pack paddle paint parade
   park participate pass pat paw pay pedal peek peel peer perform pet photograph pick pitch place plant play plow
   point poke polish ponder pose practice practise prepare present press pretend protest provide pull punch push
   put race raise reach read receive recline record reel relax remain remove repair rest return ride rinse rise
   roll row rub run rush sail say scale scan scoop score scrape scream scrub search seem select sell send serve set
   sew shake share shave shine shoot shop shout shovel show shower sing sip sit skate skateboard ski skim skip slam
   sled sleep slice slide slip smell smile smoke snap sniff snowboard soar speak speed spin splash spray spread
   sprint squat squeeze squint stack stand stare start stay steer step stick stir stitch stop straddle strap
   stretch stride stroll strum study suck suit surf surround sweep swim swing swipe take talk taste teach tear tell
   test think throw tie toast toss touch tour tow train trap travel tread trim trip try tug tumble turn twirl twist
   type unload use vacuum visit wade wait wake walk wander want warm wash watch water wave wear weave weigh welcome
   whisper whistle wipe wonder work wrap wrestle write yawn yell`.split(/\s+/),
);
export const VERBS_OR_NOUNS = new Set(
  `bats bikes boards boxes carts coaches cooks covers dresses drinks eyes faces grills guides hands heads hikes
   irons kisses lights lines packs paints parks paws pets pitches plants points races reels rides rows sails scales
   shines shoots shops shots showers skates skis sleds slides slips snaps steps sticks straps suits swings tests
   ties toasts tours trains traps vacuums watches waters waves wraps`.split(/\s+/),
);
