"""Pictures and sentences that everybody has: what a model says of them is compared from machine to machine, and a
language model is quantised by them, where its data set is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fastcap.runtime.conversation import PLACE

__all__ = ["ANSWERED", "PICTURES", "SENTENCES", "drawn", "reading"]

PICTURES = 8  # that a language model reads sentences of while it is quantised

SENTENCES = """
a man in a red shirt rides a bicycle down a busy city street
two brown dogs run through the tall grass in a field
a young girl with a pink hat sits on a wooden bench and smiles
a group of people stand in front of a large brick building at night
a woman in a blue dress holds an umbrella while walking in the rain
a white bird flies low over the water near some rocks
a boy jumps off a diving board into a swimming pool
a plate of food with rice, vegetables and a slice of lemon on a table
a football player in a white jersey kicks the ball during a game
an old man with glasses reads a newspaper on the subway
a black cat sleeps on top of a stack of books by the window
a snowboarder is in the air above a snowy hill with mountains behind him
a train is coming down the tracks next to an empty platform
three children play with colorful toys on the floor of a living room
a brown horse pulls a cart along a dirt road past a farm
a surfer in a black wetsuit rides a large wave in the ocean
a kitchen with white cabinets, a stove and a refrigerator
a bus and several cars are stopped at a traffic light downtown
a couple in wedding clothes kiss on the beach at sunset
a street vendor sells fruit from a cart while people walk by
a small airplane is parked on the grass beside a runway
a baby in a yellow sweater crawls towards a stuffed bear
a tennis player swings her racket at the ball on a green court
a herd of sheep grazes on a hillside under a cloudy sky
a man with a backpack climbs a steep rock face using a rope
a clock tower rises above the trees in the middle of the town
a little boy in striped pajamas brushes his teeth in front of a mirror
the crowd watches a band play music on a stage with bright lights
a boat with two people in it floats on a calm lake in the morning
a woman is cutting a large chocolate cake with a knife
a dog wearing a collar catches a frisbee in its mouth at the park
several bicycles are chained to a metal fence beside the sidewalk
an elephant sprays water on its back with its trunk
a construction worker in an orange vest and a hard hat drills into the road
a glass vase with white flowers stands on a table next to a lamp
a group of friends are sitting around a campfire in the woods
a skateboarder does a trick on a rail while his friend films him
a pizza with cheese, tomatoes and green peppers is on a wooden board
a person in a yellow kayak paddles through white water rapids
two women in traditional costumes dance in a parade
a man sits at a desk and types on a laptop computer
a bathroom with a white toilet, a sink and a blue shower curtain
a giraffe bends its neck to eat leaves from a tree in the zoo
a motorcycle with a sidecar is parked outside of a small shop
a child splashes in a fountain on a hot summer day
a basketball player tries to block a shot from the opposing team
a yellow fire hydrant stands on the corner of a quiet street
an asian woman sells fish and vegetables at an outdoor market
""".strip().splitlines()
"""Captions of everyday photos, written for this list: they are of no data set."""


ANSWERED = """
is there a dog in the picture? yes
is there a traffic light? no
can you see a bicycle here? no
does the picture show a boat? yes
is the man wearing a hat? yes
are there two horses? no
is it raining? no
are the people inside? yes
is the ball red? yes
is this a kitchen? no
what color is the car? blue
what color is the woman's dress? white
what is the boy doing? jumping
what is the man holding? a phone
what animal is this? cat
what is on the table? pizza
what room is this? bedroom
what sport are they playing? soccer
where is the bird? on a branch
where are the people? at the beach
how many dogs are there? two
how many people are in the photo? 3
who is riding the horse? a girl
why is the woman smiling? she is happy
""".strip().splitlines()
"""Questions with an answer each, written for this list as well."""


def drawn(seed: int, size: int) -> np.ndarray:
    """A picture that is the same on every machine, (size, size, 3) uint8: patches of colour before stripes.

    Integers alone make it; floats, JPEG decoders and resizing differ from machine to machine.
    """
    stream = np.random.RandomState(seed)  # which never changes

    def number(low: int, high: int) -> int:
        return int(stream.randint(low, high, dtype=np.int64))

    colours = stream.randint(0, 256, (8, 3), dtype=np.int64)
    rows, columns = np.mgrid[:size, :size]
    picture = colours[(rows * number(1, 5) + columns * number(0, 5)) * 8 // size % 2]
    for colour in colours[2:]:
        down, right = abs(rows - number(0, size)), abs(columns - number(0, size))
        side = number(size // 16, size // 3)
        shape = down**2 + right**2 < side**2 if number(0, 2) else np.maximum(down, right) < side
        picture = np.where(shape[..., None], colour, picture)
    return picture.astype(np.uint8)


def reading(
    encode: Callable[[str], Sequence[int]], size: int, longest: int, template: str = ""
) -> tuple[np.ndarray, list[list[int]]]:
    """Drawn pictures (B, size, size, 3) and texts as token ids: what a prefix model reads while it is quantised.
    Sentences, cut to the longest caption; of a model that answers questions, too, in its `template`."""
    texts = [[*encode(sentence)][:longest] for sentence in SENTENCES]
    for line in ANSWERED if template else ():
        question, _, answer = line.partition("? ")
        texts.append([*encode(template.replace(PLACE, f"{question}?")), *encode(answer)])
    return np.stack([drawn(seed, size) for seed in range(PICTURES)]), texts
