"""Objects that captions name, how uneven they are, and the weights that follow."""

from __future__ import annotations

import math

import pytest

from fastcap.curation.nouns import singular
from fastcap.curation.objects import ObjectCounts, entropy, gini, objects_in, sampling_weights

CAPTIONS = {
    "A man on a four-wheeler jumps while in a field .": ["man", "four-wheeler", "field"],
    "Two dogs run through the tall grass": ["dog", "grass"],
    "A woman in a red jacket holds an orange ball": ["woman", "jacket", "ball"],
    "A young boy wearing an orange shirt stands next to a tree": ["boy", "shirt", "tree"],
    "The woman's hat blows away": ["woman", "hat"],
    "a fire hydrant in front of a brick building": ["fire hydrant", "brick building"],
    "People ride bikes past parked cars": ["person", "bike", "car"],
    "Children play in the water": ["child", "water"],
    "A dog's mouth is open": ["dog", "mouth"],
    "a picture of a lot of things": [],
    "A man drinks a drink": ["man", "drink"],
    "": [],
    "!!! 12 ...": [],
}


@pytest.mark.parametrize("caption", CAPTIONS)
def test_objects_are_nouns_in_the_singular_compounds_as_a_whole(caption):
    assert objects_in(caption) == CAPTIONS[caption]


SINGULARS = dict(
    women="woman", people="person", knives="knife", boxes="box", ladies="lady", buses="bus", bus="bus", shoes="shoe",
    dogs="dog", glasses="glasses", grass="grass", horsemen="horseman", ramen="ramen",
)  # fmt: skip


@pytest.mark.parametrize(("plural", "one"), SINGULARS.items())
def test_singulars(plural, one):
    assert singular(plural) == one


def test_a_compound_that_few_captions_share_is_its_last_noun():
    counts = ObjectCounts([["a tennis ball"]] * 5 + [["a circus ball"]])
    assert dict(counts.ranked()) == {"tennis ball": 5, "ball": 1}


def test_an_object_counts_once_a_picture_and_once_a_caption():
    counts = ObjectCounts([["a dog and a dog", "a dog"], ["a dog", "a cat"]])
    assert (counts.pictures["dog"], counts.captions["dog"], counts.pictures["cat"]) == (2, 3, 1)


def test_what_stands_once_is_no_rare_object_but_perhaps_a_slip():
    counts = ObjectCounts([["a dog"]] * 10 + [["a cat"]] * 3 + [["a catt"]])
    assert counts.rare(5) == [("cat", 3)]
    figures = counts.figures(1, 5)
    assert (figures["objects"], figures["rare"], figures["once"]) == (3, 1, 1)
    assert figures["top_share"] == pytest.approx(10 / 14)


def test_measures_of_imbalance_by_hand():
    assert gini([1, 1, 1, 1]) == 0 and gini([0, 0, 0, 8]) == 0.75 and gini([]) == 0
    assert entropy([1, 1, 1, 1]) == 2 and entropy([7]) == 0
    assert gini([1, 3]) == pytest.approx(0.25)


def test_weights_are_the_repeat_factors_of_the_rarest_object_that_is_no_slip():
    by_picture = [frozenset({"dog"}), frozenset({"dog", "zebra"}), frozenset({"dog", "slip"}), frozenset()]
    weights = sampling_weights(by_picture, {"dog": 100, "zebra": 8, "slip": 4}, threshold=50)
    assert weights == [1.0, math.sqrt(50 / 8), 1.0, 1.0]
