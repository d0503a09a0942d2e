"""From raw decoder text to a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcap.data.readers import load_dataset
from fastcap.runtime.encoding import decode
from fastcap.runtime.text import caption_words, ends_early, is_garbled, lacks_noun, names_twice, sentence, word_count

WORDS = st.sampled_from(["a", "dog", "photo", "of", "an", "image", "picture", "'s", ",", ".", "-", '"', "the"])
CAPTIONS = st.lists(WORDS | st.text("aIé²ſ_ -.'\u2019\u0301", max_size=4), max_size=12).map(" ".join)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a dog runs", "A dog runs."),
        ("  a   dog\truns . ", "A dog runs."),
        ("a man , a dog and a boy 's hat", "A man, a dog and a boy's hat."),
        ("they do n't look", "They don't look."),
        ("a t - shirt ( blue )", "A t-shirt (blue)."),
        ('a sign that says " stop "', 'A sign that says "stop".'),
        ("is that a dog ?", "Is that a dog?"),
        ("2 dogs", "2 dogs."),
        ("éclairs on a plate", "Éclairs on a plate."),
        ("a dog, ", "A dog."),
    ],
)
def test_spacing_capital_and_full_stop(raw, shown):
    assert sentence(raw) == shown


@given(CAPTIONS)
def test_captions_of_words_alone_go_a_shorter_way_to_the_same_text(caption):
    shown, found = sentence(caption), caption_words(caption)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastcap.runtime.text._has_words_alone", lambda _: False)
        assert shown == sentence(caption)
        assert found == caption_words(caption)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a dog dog dog runs", "A dog runs."),
        ("a dog in a hat a hat", "A dog in a hat."),
        ("on top of a on top of a hill", "On top of a on top of a hill."),  # four words: left alone
        ("in the snow in the snow in the snow", "In the snow."),
        ("a hat on top of a hat", "A hat on top of a hat."),
        ("A dog, a dog runs", "A dog runs."),
    ],
)
def test_immediate_repeats_of_up_to_three_words_collapse(raw, shown):
    assert sentence(raw) == shown


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("an image of a dog", "A dog."),
        ("a picture of two cats", "Two cats."),
        ("a photo of a photograph of a boat", "A boat."),
        ("this is a picture of a boat", "A boat."),
        ("the image shows a boat", "A boat."),
        ("this picture depicts a boat", "A boat."),
        ("photo of a boat", "A boat."),
        ("an image of", "An image of."),
        ("a picture of .", "A picture of."),
        ("a picture on a wall", "A picture on a wall."),
        ("a black and white photo of a dog", "A black and white photo of a dog."),  # says more than "photo"
        ("a man takes a photo of a dog", "A man takes a photo of a dog."),
    ],
)
def test_alt_text_does_not_say_that_it_is_a_picture(raw, shown):
    assert sentence(raw) == shown


@pytest.mark.parametrize("raw", ["", "  ", ".", "- , .", "\u200b\n"])
def test_nothing_to_say_is_an_empty_string(raw):
    assert sentence(raw) == ""


@given(st.text() | st.lists(WORDS, max_size=12).map(" ".join))
def test_a_sentence_is_one_clean_line_and_a_fixed_point(raw):
    shown = sentence(raw)
    assert sentence(shown) == shown
    if shown:
        assert shown[-1] in ".!?"
        assert shown == " ".join(shown.split())
        assert shown.isprintable()


@given(st.lists(st.sampled_from(["a", "red", "dog", "cat"]), min_size=1, max_size=30))
def test_no_immediate_repeat_is_left(words):
    left = sentence(" ".join(words)).rstrip(".").lower().split()
    for n in (1, 2, 3):
        for at in range(len(left) - 2 * n + 1):
            assert left[at : at + n] != left[at + n : at + 2 * n]


@given(st.lists(st.sampled_from(["one", "two", "three", "four", "five"]), unique=True, min_size=1))
def test_clean_words_are_kept_as_they_are(words):
    assert sentence(" ".join(words)).lower() == " ".join(words) + "."


STOPS = {
    "an article": """
        a man in a | a dog jumps over an | two people stand in the | A | the | A bird on the | a dog with an |
        is in the | a a | an
    """,
    "another determiner": """
        a boy holds his | a girl and her two | a dog with its | people and their | this | a man in some | near
        these | a group of many | two | a field with several
    """,
    "a preposition": """
        a man sitting in | a group of | a dog with | a bird on | people near | walking through | a cat under |
        looks at | a boat next to | a man dressed as | surrounded by | a man is standing on
    """,
    "a conjunction": """
        a dog and | a cat or | a man while | a boy who | a road that | sits as | a plate which | a house where |
        rides but | a man and a
    """,
    "an auxiliary": """
        a dog is | two men are | a man was | it has | they have | the cat does | a boy can not be | she is being
        | he would | a plane has been
    """,
    "a verb that takes an object": """
        a man wearing | a girl holding | a boy is doing | a woman wears | people using | a dog carrying | he
        makes | a man takes | she is getting | a person holds
    """,
    "an adjective without its noun": """
        a man in a red | a young | two black | a black and white | a girl in pink and a blue | a little | with
        large | wearing a very long | the old | a brown and very big | red | an orange and white | in an orange
        | a smiling
    """,
    "a particle that moves": """
        a man is walking down | a dog jumps over | a boy is riding a bike down | people are skiing down | a dog is
        running over | two men sitting in front | a man standing in front | a horse leaps over | a car drives by the
        street down | she walks over
    """,
    "a noun alone, or a part of nothing": """
        Man | Dog | A group | A pair | a bunch | girl | a couple | snowboarder | A row | grass
    """,
    "a man who stands nowhere": """
        A man standing | a woman sitting | two men sitting | a group of people standing | A dog sitting | three girls
        standing | a boy riding | the children standing | a man and woman sitting | people standing
    """,
}
WHOLE = """
    a dog | people | a man in a red shirt | a man dressed in red | wearing pink | the dog is black and white
    | a sign that is red | two dogs running | a cat lying down | he looks at her | a boy and his dog | a man
    standing tall | cars drive by | a crowd looks on | a woman with a hat on | three dogs, one brown and the
    other | eating an orange | a building | in front of a painting | a swing | jumping off | the sky above |
    playing together | dogs | two men sitting down | a man is standing | looking over | upside down | in the
    front | a brown dog jumps | a girl skating | playing tennis | in the dirt | two people are sitting | a boy
    holds it | they hold each other | an umbrella | 1 , 2 , 3 | a game of chess
"""
COMPOUNDS = """
        a man holding a tennis | playing a soccer | down a dirt | a golf | a teddy | a construction | in a skate | an
        art | into a swimming | a traffic | a police
    | a group of football | a group of race | A bus driving | A man climbing | a man jumping off
    | two soccer | three basketball | A man is rock | two people are surf | Two hockey
    """


GARBLED = """
    A red is parked | A black is swimming in the water | A man in a white is walking | in a the street | A woman
    in a black a sidewalk | is standing in a in the snow | A little is sitting | A young is holding a baby | two
    people are a standing on a field | with a running in the grass | A snowboarder is doing a on a snowboard | A
    man are standing in a room | two man are standing | two group are playing | is jumping in are playing with a
    toy | are is standing | is playing is running in the grass | is standing a rock | are parked the side | is
    playing with in the grass | sitting on of a | in a white dog | A little girl in a dog. | A man in a white
    shirt is rock wall
"""
SOUND = """
    A man and a woman are sitting on a train | a man in black is walking | a woman in a white and blue shirt | a
    blonde in a dress | jumps a little in the air | A dog is wet and is running | A man who is walking is smiling
    | in front of a building | on top of a hill | two people are standing | two police are talking | in a dog park
    | holding a brown dog | a man is rock climbing | people are police officers | a man walking a dog | a man
    sitting down | a wedding in a church | a black and white dog is running | There are two dogs, one is black | a
    dog with a ball in its mouth | a person
"""


def _cases(table):
    return [" ".join(text.split()) for text in table.split("|")]


def test_words_that_cannot_stand_beside_each_other_are_noticed():
    assert [text for text in _cases(GARBLED) if not is_garbled(text)] == []
    assert [text for text in _cases(SOUND) if is_garbled(text)] == []


def test_of_what_people_wrote_hardly_any_is_taken_for_garbled(data_root):
    texts = [sentence(text) for e in load_dataset("flickr8k", data_root / "flickr8k", "val") for text in e.captions]
    assert sum(map(is_garbled, texts)) < 0.005 * len(texts)


@pytest.mark.parametrize("kind", STOPS)
def test_a_sentence_that_stops_where_a_word_is_due_ends_early(kind):
    texts = [" ".join(text.split()) for text in STOPS[kind].split("|")]
    assert len(texts) >= 10
    assert [text for text in texts if not ends_early(text)] == []
    assert all(ends_early(sentence(text)) for text in texts)


def test_a_whole_sentence_does_not():
    assert [text for text in WHOLE.split("|") if ends_early(text)] == []


def test_a_sentence_may_not_end_within_a_compound():
    texts = [" ".join(text.split()) for text in COMPOUNDS.split("|")]
    assert all(map(lacks_noun, texts + [sentence(text) for text in texts]))
    whole = "playing tennis | a tennis racquet | in the dirt | a dirt road | A dog | on a surfboard | a red | art | two"
    whole += " | two men | three dogs | a man is fishing | a rock | two people | a man is standing"
    whole += " | a group of people | a group of sheep | a person riding a bike | a plane taking off | a building"
    assert not any(map(lacks_noun, whole.split(" | ")))


TWICE = """
    A man riding a horse on a horse | A baby is holding a baby on a table | Two dogs are playing with a dog
    A girl in a red shirt is wearing a red shirt | A man in a yellow hat is standing on a hat
    A woman and a woman are sitting on a bench | a group of people sitting at a table with a table
"""
ONCE = """
    A black dog and a white dog run | a brown dog is playing with another dog | A boy sits beside a boy in red
    A man holding a tennis racquet on a tennis court | A girl points at a fish and a boy holds the fish
    a train is parked at a train station | a black and white dog with a black and tan dog | Two men and a dog | dog | a
"""


def test_a_thing_that_comes_in_again_as_if_it_were_new_is_named_twice():
    for texts, twice in ((TWICE, True), (ONCE, False)):
        for text in (" ".join(each.split()) for line in texts.strip().splitlines() for each in line.split("|")):
            assert names_twice(text) == names_twice(sentence(text)) == twice, text


def test_of_what_people_wrote_hardly_any_ends_early_or_names_a_thing_twice(data_root):
    examples = load_dataset("flickr8k", data_root / "flickr8k", "val")
    texts = [sentence(text) for example in examples for text in example.captions]
    for judge in (ends_early, names_twice):
        assert sum(map(judge, texts)) < 0.005 * len(texts)


def test_words_are_counted_as_a_reader_counts_them():
    assert word_count("A man's T-shirt, 2 dogs - and a sign.") == 8
    assert word_count("") == 0


def test_special_tokens_are_never_shown(captioner):
    tokenizer = captioner.bundle.tokenizer()
    ids = tokenizer.encode("a red barn").ids
    assert sentence(decode(tokenizer, [1, *ids, 3, 2, 0, 0])) == "A red barn."
