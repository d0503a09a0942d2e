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
export const AUXILIARIES = new Set(
  `am are aren arent be been being can cannot could couldn did didn didnt do does doesn doesnt don dont had hadn
   hadnt has hasn hasnt have haven havent having is isn isnt may might must mustn shall should shouldn was wasn
   wasnt were weren werent will won would wouldn`.split(/\s+/),
);
export const COLOURS = new Set(
  `beige black blue brown gold golden gray green grey khaki lavender maroon navy orange pink purple red silver tan
   teal turquoise white yellow`.split(/\s+/),
);
export const CONJUNCTIONS = new Set(
  `although and as because but how if nor or since so than that though unless until what when whenever where
   wherever whether which while whilst who whom whose why yet`.split(/\s+/),
);
export const DETERMINERS = new Set(
  `a all an another any both dozens each eight eighteen eleven every few fifteen fifty five forty four fourteen her
   his hundred hundreds its many my nine nineteen no one our seven seventeen several six sixteen some ten that the
   their these thirteen thirty this those three twelve twenty two whose your`.split(/\s+/),
);
export const NEVER_LAST = new Set(
  `a across against almost although am amid among amongst an and any appears are aren arent as at atop attempting
   attempts be because been being beneath beside between but cannot carries carrying containing could couldn
   covered despite didn didnt does doesn doesnt doing don dont dozens dressed during each eight eighteen eleven
   enjoying enjoys every except facing featuring few fifteen fifty filled five for forty four fourteen from gets
   getting gives giving had hadn hadnt has hasn hasnt have haven havent having he his holding holds hundred
   hundreds i if in into is isn isnt its just like lined makes making many may might must mustn my near next nine
   nineteen no nor of onto or our overlooking per prepares preparing puts putting seems seven seventeen several
   shall she should shouldn since six sixteen some surrounded takes taking ten than that the their these they
   thirteen thirty this those though three through till to topped toward towards tries trying twelve twenty two
   under unless until upon uses using very via was wasn wasnt we wearing wears were weren werent what when whenever
   where wherever whether which while whilst who whom whose will with within without won would wouldn yet your`.split(/\s+/),
);
export const NUMBERS = new Set(
  `dozens eight eighteen eleven few fifteen fifty five forty four fourteen hundred hundreds many nine nineteen
   seven seventeen several six sixteen ten thirteen thirty three twelve twenty two`.split(/\s+/),
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
export const THINGS = new Set(
  `awning being building carving ceiling clearing clothing covering crossing drawing dressing duckling dumpling
   dwelling earring evening gathering gosling king landing marking meeting morning offering opening outing painting
   pudding railing ring scaffolding setting sibling sling spring stocking string swing thing wedding wing`.split(/\s+/),
);
export const TRANSITIVES = new Set(
  `appears attempting attempts carries carrying containing covered doing dressed enjoying enjoys facing featuring
   filled gets getting gives giving holding holds lined makes making overlooking prepares preparing puts putting
   seems surrounded takes taking topped tries trying uses using wearing wears`.split(/\s+/),
);
