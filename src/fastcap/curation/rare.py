"""Prompts for pictures of what a data set shows too rarely, to be drawn by any image generator.

A row is at once a prompt and, once its picture is there, an example: its caption is the sentence that the prompt begins
with, so the file is read as a JSON-lines data set. No prompt mentions a protected attribute: a generator that is asked
for "a nurse" has prejudices enough.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fastcap.curation.bias import mentions
from fastcap.curation.nouns import is_animal, is_person_noun
from fastcap.errors import ConfigError
from fastcap.runtime.english import words
from fastcap.runtime.grammar import sounds_as_vowel

__all__ = ["Prompt", "Prompts", "make_prompts"]

_FOOD = words("""
    apple avocado bacon bagel banana bean berry biscuit bread broccoli burger burrito butter cabbage cake candy
    carrot cauliflower celery cereal cheese cherry chicken chocolate cinnamon cookie corn cracker croissant
    cucumber cupcake curry dessert donut doughnut dumpling egg fries fruit garlic grape grapefruit ham hamburger
    honey hotdog icing jam jelly kiwi lasagna lemon lettuce lime lobster lollipop mango meat melon muffin
    mushroom mustard noodle nut olive omelet onion orange pancake papaya pasta pastry peach peanut pear pepper
    pickle pie pineapple pizza plum popcorn potato pretzel pudding pumpkin radish raspberry rice roll salad
    salmon sandwich sauce sausage shrimp soup spaghetti spinach squash steak strawberry sushi taco toast tofu
    tomato tortilla vegetable waffle watermelon yogurt yoghurt zucchini
""")
_CLOTHES = words("""
    apron bandana belt bikini blazer blouse boot bracelet cap cape cardigan coat costume dress earring glove
    goggles gown hat headband headscarf helmet hood hoodie jacket jeans jersey jumper kilt kimono leggings mask
    mitten necklace necktie overalls pants parka poncho purse robe sandal scarf shawl shirt shoe shorts skirt
    slipper sneaker sock stocking suit sunglasses sweater sweatshirt swimsuit tie tights trousers turban tuxedo
    underwear uniform veil vest watch wetsuit wig
""")
_VEHICLES = words("""
    aircraft airplane ambulance barge bicycle bike boat bulldozer bus cab canoe car carriage cart caravan dinghy
    excavator ferry forklift gondola helicopter jeep jet kayak limousine lorry minivan moped motorbike
    motorcycle plane raft rickshaw rowboat sailboat scooter ship sleigh snowmobile stroller submarine suv tank
    taxi tractor train tram trailer tricycle trolley truck tugboat unicycle van wagon yacht
""")
_PLACES = words("""
    airport alley aquarium arena balcony barn basement bathroom bay beach bedroom bridge building cabin cafe
    canyon castle cathedral cave cemetery church city classroom cliff courtyard dam desert dock factory farm
    field forest fountain garage garden glacier gym hall harbor harbour highway hill hotel house island jungle
    kitchen lake library lighthouse market meadow mill monument mosque mountain museum ocean office orchard
    palace park path pier plaza pond pool porch quarry restaurant river road roof room school shed shop shore
    skyline square stadium staircase station street temple tent theater theatre tower town tunnel valley village
    vineyard volcano warehouse waterfall windmill zoo range ridge hillside mountainside mountaintop seashore
    shoreline coast creek stream landscape countryside terrain dune bank trail track sidewalk driveway walkway
    pathway boardwalk hallway corridor gallery stage platform court rink resort studio university neighborhood
    neighbourhood marketplace playground arcade backyard yard patio lawn crosswalk intersection marsh ditch
    glade canal swamp racetrack formation
""")
_MASS = words("""
    asphalt bacon bamboo bread broccoli butter cabbage cash celery cement cereal cheese chicken chocolate
    clothing coffee corn cotton dirt equipment fabric fire food foam fog fruit fur garlic glass gold grass
    gravel hair ham hay ice icing ivy jam jelly jewelry juice laundry leather lettuce luggage makeup meat milk
    moss mud mustard paint paper pasta popcorn rain rice rope rubble rust salad salt sand sauce seaweed
    silverware smoke snow soap soup spaghetti spinach steam sugar sushi tea toast tofu underwear water wine wood
    wool yarn yogurt yoghurt
""")
_PAIRS = words("""
    binoculars fries glasses goggles headphones jeans leggings overalls pants pliers scissors shorts sunglasses tights
    tongs trousers tweezers
""")

_NOT_SHOWN = words("""
    forehead cheek chin ear belly stomach tooth leg arm neck nose hand finger thumb shoulder knee wrist hair eye
    mouth tongue beard moustache mustache ponytail pigtail haircut face head foot toe elbow chest waist back
    skin fist dreadlock accent activity age agility air airborne alter amidst amount aqua art artificial
    atmosphere attempt attention backlit bend bit bound breed clear close-up closeup competition complete
    control conversation cover dark daylight day dead direction distance downhill driven end enjoyment
    environment event evening excitement expression fall fashion fetch flight floppy fold frolic front fun game
    grasp group half headfirst height help hip hold hour incline inline int interact joy kind laid land lap lay
    lead leap lease life lip lot manner mess miami mid-air mid-flight mid-jump middle midst mode moment morning
    mood motion movement name nap night noon number off-camera onstage open opening order part pause piece place
    plain play point pop pose position possession pounce practice process progress protect race ran rear reason
    retrieve ride ridden rock-face romp rough run score season see seen series set shade shape show shown side
    sight size ski skill slow smile sooner sort sound speed spot start stop struggle stuck style summer support
    taken tend thing time top touch trek trick trip trot try turn type unison uphill upside-down use victory
    view war way wear weather weekend whist width winter woodland work world written year
""")
"""Words that no picture shows, and slips that are read as nouns."""

# "{}" is the object with its article
_SCENES = {
    "animal": """
        {} stands in tall grass at the edge of a forest. {} rests in the shade of a tree. {} looks into the
        camera from a stony hillside. {} drinks from a shallow stream. {} walks along a muddy path after rain.
        {} sits beside a wooden fence. {} crosses a snowy field. {} is seen from behind in front of a lake. {}
        sleeps on a bed of dry leaves. {} peers out from between two rocks. {} searches for food on a sandy
        shore. {} stands alone on a hill at sunset.
    """,
    "food": """
        {} lies on a white plate beside a fork. {} is on a wooden cutting board next to a knife. {} stands on
        a kitchen counter beside a bowl. {} lies in a basket lined with a cloth. {} is wrapped in paper on a
        park bench. {} is on a tray in a canteen. {} lies on a picnic blanket on the grass. {} is piled up at
        a market stall. {} is in a glass dish in an open refrigerator. {} lies on a napkin beside a cup of
        tea. {} is seen from above on a round table. {} is held in two hands over a sink.
    """,
    "clothes": """
        {} hangs on a hook behind a door. {} lies folded on a bed. {} is on a hanger in front of a brick wall.
        {} lies on a wooden chair. {} dries on a line in a garden. {} is on display in a shop window. {} lies
        on top of an open suitcase. {} is laid out flat on a white sheet. {} hangs over the back of a sofa. {}
        lies in the sand beside a towel. {} is on a shelf between other clothes. {} lies on a bench in a
        changing room.
    """,
    "vehicle": """
        {} is parked in front of a brick building. {} stands alone in a wide gravel yard. {} is seen from the
        side under a cloudy sky. {} waits at the edge of a quiet road. {} stands under a large tree. {} is
        covered with snow. {} is seen from above between white lines. {} is being washed with a hose. {}
        stands in the last light of the evening. {} is reflected in a puddle. {} stands inside a large bright
        hall. {} is seen through a window on a rainy day.
    """,
    "place": """
        {} lies empty in the early morning. {} is seen from a distance under a blue sky. {} is lit by lamps at
        night. {} is covered with fresh snow. {} is seen from above on a sunny day. {} is crowded on a summer
        afternoon. {} is half hidden in fog. {} is reflected in still water. {} is seen through an open
        window. {} lies in the shade of tall trees. {} is decorated with paper lanterns. {} is seen after
        heavy rain.
    """,
    "person": """
        {} at work is seen from behind. {} stands at the far end of a long corridor. {} walks across an empty
        square. The hands of {} hold a tool. {} leans against a railing, facing the sea. {} waits at a bus
        stop in the rain. {} is seen from above at a long table. {} climbs a flight of stairs with a bag. {}
        stands in a doorway against the light. {} carries a box through a garden. {} in a raincoat looks at a
        map. {} sits on a wall with their back to the camera.
    """,
    "thing": """
        {} is seen in the foreground, with trees behind. {} is in the middle of a quiet courtyard. Beside a
        brick wall there is {}. {} is seen through an open window. In front of a wooden house there is {}. {}
        is seen from above on a sunny day. {} is seen at the end of a narrow street. Under a cloudy sky there
        is {}. {} is reflected in a puddle. Between two parked bicycles there is {}. {} is lit by the evening
        sun. In the corner of a large room there is {}.
    """,
}
_LIGHT = ("soft daylight", "bright midday sun", "low evening sun", "overcast sky", "warm indoor light", "flash")
_VIEW = ("eye level", "seen slightly from above", "seen from below", "close up", "from some distance", "at an angle")
_CAMERA = ("photographed with a phone", "35 mm photograph", "snapshot", "sharp documentary photograph")
_SAME = 0.8  # of the words of two prompts: above, they are the same picture


class Prompt(NamedTuple):
    """A row of the file: a prompt for a generator, and the example that its picture makes.

    `image`: where the picture is to be put, relative to the file.
    """

    id: str
    object: str
    image: str
    caption: str
    prompt: str
    seed: int


class Prompts(NamedTuple):
    """The prompts, and the objects for which there are none since their name mentions a protected attribute."""

    prompts: list[Prompt]
    skipped: list[str]


def make_prompts(
    counts: Mapping[str, int],
    *,
    threshold: int = 50,
    per_object: int = 10,
    max_objects: int | None = None,
    seed: int = 0,
    folder: str = "images",
) -> Prompts:
    """Prompts for the objects that fewer than `threshold` pictures show, rarest first.

    Args:
        counts: in how many pictures each object is.
        threshold: how many there should be (50).
        per_object: prompts for one object at most; fewer where less is missing (10).
        max_objects: objects at most (all).
        seed: of the draw, and of the seeds that rows carry for a generator; the same arguments give the same rows.
        folder: of the pictures, beside the file.

    Words that name nothing a picture can show are left out. No two prompts for an object share more than 80 % of their
    words, and no two rows are equal.
    Raises ConfigError for numbers below 1.
    """
    for name, value in (("threshold", threshold), ("per_object", per_object), ("max_objects", max_objects)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; allowed: 1 or more")
    rare = sorted((count, name) for name, count in counts.items() if count < threshold)
    rare = [(count, name) for count, name in rare if _is_shown(name)]
    skipped = [name for _, name in rare if mentions(_named(name) + " is here.") or mentions(name)]
    wanted = [(count, name) for count, name in rare if name not in set(skipped)][:max_objects]
    rows: list[Prompt] = []
    for count, name in wanted:
        for caption, prompt in _of_object(name, min(per_object, threshold - count), random.Random(f"{seed} {name}")):
            number = f"{len(rows):05}"
            drawn = random.Random(f"{seed} {prompt}").randrange(2**31)
            rows.append(Prompt(number, name, f"{folder}/{number}.png", caption, prompt, drawn))
    return Prompts(rows, skipped)


def _is_shown(name: str) -> bool:
    """Whether a picture can show an object: "victory" and the slip "dog ran" have none."""
    return not (_NOT_SHOWN & set(name.split()[-1:]))


def _of_object(name: str, n: int, drawn: random.Random) -> list[tuple[str, str]]:
    """Captions and prompts for one object; fewer than `n` only where that many would be too alike."""
    scenes = [f"{scene.strip()}." for scene in " ".join(_SCENES[_kind(name)].split()).split(".") if scene.strip()]
    drawn.shuffle(scenes)
    styles = list(itertools.product(_LIGHT, _VIEW, _CAMERA))
    drawn.shuffle(styles)
    found: list[tuple[str, str]] = []
    bags: list[set[str]] = []
    for scene, style in zip(itertools.cycle(scenes), styles, strict=False):
        if len(found) == n:
            break
        text = scene.format(_named(name))
        caption = text[0].upper() + text[1:]
        prompt = f"{caption[:-1]}, {', '.join(style)}."
        bag = set(prompt.lower().replace(",", "").rstrip(".").split())
        if mentions(prompt) or any(len(bag & other) / len(bag | other) > _SAME for other in bags):
            continue
        found.append((caption, prompt))
        bags.append(bag)
    return found


def _kind(name: str) -> str:
    last = name.rpartition(" ")[2]
    tables: Sequence[tuple[str, frozenset[str]]] = (
        ("food", _FOOD), ("clothes", _CLOTHES), ("vehicle", _VEHICLES), ("place", _PLACES),
    )  # fmt: skip
    for kind, table in tables:
        if last in table or name in table:
            return kind
    if is_animal(last):
        return "animal"
    return "person" if is_person_noun(last) else "thing"


def _named(name: str) -> str:
    """An object with what stands before it in a sentence: "a kite", "some snow", "a pair of jeans"."""
    last = name.rpartition(" ")[2]
    if last in _PAIRS:
        return f"a pair of {name}"
    if last in _MASS:
        return f"some {name}"
    return f"{'an' if sounds_as_vowel(name) else 'a'} {name}"
