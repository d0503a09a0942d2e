"""Questions made of captions: what is asked, what is left alone, and that the question alone tells nothing."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastcap.cli import main
from fastcap.curation.attributes import surely_another
from fastcap.curation.existence import surely_has, surely_lacks
from fastcap.curation.phrases import noun_phrases, words_of
from fastcap.curation.pictures import Picture
from fastcap.curation.question_files import guessed, write_questions
from fastcap.curation.questions import (
    activities,
    colours,
    evened,
    numbers,
    places,
    questions_from_captions,
)
from fastcap.curation.recognition import recognised
from fastcap.data.conversations import load_conversations
from fastcap.errors import ConfigError, DataError


def picture(*captions: str) -> Picture:
    return Picture(Path("a.jpg"), captions, ())


@pytest.mark.parametrize(
    ("caption", "phrases"),
    [
        ("Two small brown dogs run", [("two", ("small", "brown"), "dog", True)]),
        ("a black dog barks", [("a", ("black",), "dog", False)]),
        ("at a red fire hydrant", [("a", ("red",), "fire hydrant", False)]),
        ("a black and white cat", [("a", ("black", "and", "white"), "cat", False)]),
        ("a street sign", [("a", (), "street sign", False)]),
        ("a hot dog", [("a", ("hot",), "hot dog", False)]),
    ],
)  # fmt: skip
def test_noun_phrases_have_number_adjectives_and_nouns(caption, phrases):
    found = [(p.lead, p.adjectives, p.name, p.is_plural) for p in noun_phrases(words_of(caption))]
    assert found == phrases


@pytest.mark.parametrize(
    ("name", "captions", "lacks"),
    [
        ("dog", ("a cat sleeps", "a cat on a couch"), True),
        ("dog", ("a cat sleeps", "a puppy on a couch"), False),  # another word
        ("dog", ("an animal sleeps", "something on a couch"), False),  # what it is a kind of
        ("surfboard", ("a surfer", "a man in the sea"), False),  # sounds alike
        ("motorcycle", ("a biker", "a man rides his bike"), False),
        ("clock tower", ("a tower", "a tall building"), False),  # a part of the name
        ("man", ("two women talk", "a lady with a girl"), True),
        ("man", ("two women talk", "people talk"), False),  # may be men
        ("woman", ("a bird", "a rock"), True),
        ("dog", ("a cat sleeps",), False),  # a single caption is not sure
    ],
)
def test_a_picture_surely_lacks_what_nobody_names_in_any_way(name, captions, lacks):
    assert surely_lacks(picture(*captions), name) is lacks


@pytest.mark.parametrize(
    ("name", "captions", "has"),
    [
        ("bed", ("a bed", "a cat on a bed"), True),
        ("bed", ("a bed", "a sleeping cat"), True),
        ("bed", ("a bed", "a cat on a couch"), False),  # taken for another thing
        ("bed", ("a stream bed", "a river"), False),
        ("boy", ("a boy runs", "a boy plays", "a man runs"), False),
        ("boy", ("a boy runs", "a boy plays", "the boy is fast", "a man runs"), True),
    ],
)
def test_a_picture_surely_has_what_captions_agree_on(name, captions, has):
    assert (picture(*captions).counts[name] > 0 and surely_has(picture(*captions), name)) is has


@pytest.mark.parametrize(
    ("read", "captions", "told"),
    [
        (numbers, ("two dogs run", "Two brown dogs"), {("dog", "2")}),
        (numbers, ("two dogs run", "three dogs run"), set()),
        (numbers, ("two dogs run", "dogs run"), {("dog", "2")}),  # which is no other number
        (numbers, ("two dogs run", "several dogs run"), set()),
        (numbers, ("two dogs run", "his dog runs"), set()),
        (numbers, ("two dogs run", "it is fun"), set()),
        (numbers, ("two dogs run", "a dog runs"), set()),
        (numbers, ("several dogs", "several dogs"), set()),
        (numbers, ("a cat", "a cat", "the cat"), {("cat", "1")}),
        (numbers, ("a man", "a man", "a man"), set()),  # there may be others
        (numbers, ("two men", "two men", "two men and a woman"), set()),
        (colours, ("a red ball", "the red ball"), {("ball", "red")}),
        (colours, ("a red ball", "a blue ball"), set()),
        (colours, ("a red ball", "red balls"), set()),
        (colours, ("a red ball", "a ball"), {("ball", "red")}),
        (colours, ("a red ball", "a boy"), set()),
        (colours, ("a red shirt", "a shirt"), set()),  # of two people, maybe
        (colours, ("a black and white dog", "a white and black dog"), {("dog", "black and white")}),
        (colours, ("a grey car", "a gray car"), {("car", "gray")}),
        (colours, ("a black man", "a black man"), set()),  # people have no colour
        (colours, ("red wine", "red wine"), set()),
        (activities, ("a boy is riding a bike", "A boy riding his bicycle"), {("boy", "riding bike")}),
        (activities, ("a boy in a red shirt is jumping", "a boy jumping"), {("boy", "jumping")}),
        (activities, ("a boy jumping", "a boy sitting"), set()),
        (activities, ("a boy jumping", "boys jumping"), set()),  # which one?
        (places, ("a dog in the snow", "a dog runs through snow"), {("dog", "snow")}),
        (places, ("a cat on a couch", "a cat is lying on the sofa"), {("cat", "couch")}),
        (places, ("a man with a cup on a table", "a man with a cup on a table"), set()),
        (places, ("a dog in the snow", "a dog"), set()),
        (recognised, ("a poodle", "two dogs run"), {("animal", "dog")}),
        (recognised, ("a dog and a cat", "two dogs run"), set()),
        (recognised, ("a surfer in a wave", "a man surfing"), {("sport", "surfing")}),
        (recognised, ("boys play soccer", "they play football"), set()),  # which of the two?
        (recognised, ("a stove in the kitchen", "a kitchen"), {("room", "kitchen")}),
        (recognised, ("a stove in the kitchen", "a stove"), set()),
    ],
)
def test_captions_that_agree_tell_and_others_do_not(read, captions, told):
    assert set(read(picture(*captions))) == told


CAPTIONS = [
    (Path(f"{thing}{n}.jpg"), [f"a {thing} on the grass", f"a {colour} {thing}", f"a {colour} {thing} is running"])
    for thing in ("dog", "cat", "horse", "cow")
    for n, colour in enumerate(("black", "brown", "white") * 5)
]


def test_each_object_has_as_many_yes_as_no_and_the_no_of_pictures_that_lack_it():
    questions = questions_from_captions(CAPTIONS, seed=3, kinds=["existence"])
    counts = defaultdict(Counter)
    for question in questions:
        counts[question.about][question.answer] += 1
        assert (question.answer == "yes") == question.image.name.startswith(question.about)
    assert counts.keys() == {"dog", "cat", "horse", "cow"}
    assert all(c["yes"] == c["no"] == 15 for c in counts.values())
    assert len({(question.image, question.about) for question in questions}) == len(questions)


def test_an_attribute_is_asked_for_as_often_where_it_is_as_where_it_is_not():
    captions = [(image, [*texts, texts[1]]) for image, texts in CAPTIONS[:15]]
    balls = [(Path(f"{n}.jpg"), [f"{number} balls", f"{number} balls in the grass"])
             for n, number in enumerate(("two", "three", "two", "four", "two"))]  # fmt: skip
    questions = questions_from_captions([*captions, *balls], seed=1, kinds=["attribute"])
    sides = defaultdict(Counter)
    for question in questions:
        asked = next(word for word in ("black", "brown", "white", "two", "three", "four") if word in question.text)
        sides[asked][question.answer] += 1
        said = " ".join(dict([*captions, *balls])[question.image])
        assert (asked in said) == (question.answer == "yes")
    assert sides.keys() >= {"black", "brown", "two"} and all(each["yes"] == each["no"] > 0 for each in sides.values())
    assert any(question.text.startswith(("are there", "do you see", "does the")) for question in questions)


@pytest.mark.parametrize(
    ("one", "other", "differs"),
    [("red", "blue", True), ("red", "pink", False), ("black and white", "white", False), ("two", "three", True)],
)
def test_what_may_be_called_the_same_is_not_asked_for(one, other, differs):
    assert surely_another(one, other) is surely_another(other, one) is differs


def test_the_most_frequent_answer_of_a_thing_is_as_frequent_as_the_second():
    questions = [q for q in questions_from_captions(CAPTIONS) if q.kind == "colour"]
    assert {Counter(q.answer for q in questions if q.about == "dog")[c] for c in ("black", "brown", "white")} == {5}
    few = [q for q in questions if q.about == "dog" and q.answer == "black"] + [
        q for q in questions if q.about == "dog" and q.answer == "white"][:2]  # fmt: skip
    left = Counter(q.answer for q in evened(few, lambda q: q.about, np.random.default_rng(0)))
    assert left == {"black": 2, "white": 2}


def test_the_same_seed_gives_the_same_questions_and_a_limit_keeps_pairs():
    first, again, other = (questions_from_captions(CAPTIONS, seed=seed) for seed in (1, 1, 2))
    assert first == again and first != other
    limited = questions_from_captions(CAPTIONS, kinds=["existence"], limit=31)
    assert len(limited) == 30 and Counter(q.answer for q in limited) == {"yes": 15, "no": 15}


def test_what_a_question_alone_tells_is_measured():
    questions = questions_from_captions(CAPTIONS, kinds=["existence", "colour"])
    figures = guessed(questions)
    assert figures["existence"]["majority"] == pytest.approx(0.5, abs=0.1)
    assert figures["existence"]["question"] <= 0.65
    told = [q for q in questions if q.kind == "existence" and (q.answer == "yes") == (q.about == "dog")]
    assert guessed(told)["existence"]["question"] > 0.9  # where the object tells the answer


def test_unknown_kinds_and_captions_without_questions_are_refused():
    with pytest.raises(ConfigError, match="kind is 'who'; allowed: existence, number"):
        questions_from_captions(CAPTIONS, kinds=["who"])
    with pytest.raises(DataError, match="no question can be made"):
        questions_from_captions([(Path("a.jpg"), ["a dog"])])


def test_the_command_writes_conversations_that_can_be_read(tmp_path, capsys):
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    rows = ["image,caption"]
    for path, captions in CAPTIONS:
        Image.new("RGB", (8, 8)).save(folder / "images" / path.name)
        rows += [f"{path.name},{caption}" for caption in captions]
    (folder / "train.csv").write_text("\n".join(rows))
    out = tmp_path / "questions.json"
    assert main(["data", "questions", str(folder), "--out", str(out), "--seed", "1", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    read = load_conversations(out)
    assert Counter(one.kind for one in read) == record["questions"]
    assert main(["data", "questions", str(folder), "--out", str(out), "--seed", "1"]) == 0
    assert "existence" in capsys.readouterr().out and load_conversations(out) == read
    with pytest.raises(SystemExit):
        main(["data", "questions", str(folder), "--out", str(out), "--split", "test"])
    assert "has the splits train" in capsys.readouterr().err


def test_a_file_names_pictures_from_its_own_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b.jpg").write_bytes(b"x")
    questions = [q for q in questions_from_captions(CAPTIONS)][:1]
    write_questions(tmp_path / "a" / "q.json", [dataclasses.replace(questions[0], image=tmp_path / "b.jpg")])
    assert load_conversations(tmp_path / "a" / "q.json")[0].image.resolve() == (tmp_path / "b.jpg").resolve()
