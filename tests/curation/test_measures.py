"""What captions say of whom, in figures; and that a model's extra leakage is found where it was put in."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastcap.cli import main
from fastcap.curation.bias import mentions
from fastcap.curation.genders import gender_of, of_caption, of_picture, without_gender
from fastcap.curation.leakage import leakage
from fastcap.curation.measures import associations, change, content_words, mentioned, pictures_by_gender, said_of
from fastcap.errors import DataError


@pytest.mark.parametrize(
    ("term", "gender"),
    [
        ("woman", "woman"),
        ("Grandmothers", "woman"),
        ("mother-in-law", "woman"),
        ("lobsterwomen", "woman"),
        ("actresses", "woman"),
        ("trans woman", "woman"),
        ("he", "man"),
        ("kings", "man"),
        ("ex-husband", "man"),
        ("firemen", "man"),
        ("non-binary", ""),
        ("transgender", ""),
        ("two-spirit", ""),
    ],
)
def test_each_term_states_a_gender_or_neither(term, gender):
    assert gender_of(term) == gender


def test_a_caption_of_both_has_no_gender_and_a_picture_needs_two_captions():
    assert of_caption(mentions("A woman walks her dog.")) == "woman"
    assert of_caption(mentions("A man and his wife.")) == ""
    assert of_picture(["man", "man", "", ""]) == "man"
    assert of_picture(["man", "", "", ""]) == ""
    assert of_picture(["man", "man", "woman"]) == ""
    assert of_picture(["woman"]) == "woman"


def test_masking_leaves_everything_else():
    assert without_gender("The girl’s bike and her dog.") == "The ’s bike and  dog."
    assert without_gender("A cowboy hat.") == "A cowboy hat."


def test_shares_count_captions_and_phrases():
    shares = mentioned([mentions(text) for text in ("A German boy.", "Two Germans and a boy.", "A dog.")])
    assert shares["nationality"].captions == 2
    assert shares["nationality"].share == pytest.approx(2 / 3)
    assert dict(shares["age"].phrases) == {"boy": 2}
    assert shares["religion"].phrases == ()


def test_a_change_is_counted_by_category():
    changes = change(["A woman and a man.", "A nun."], ["A person and a man.", "An old nun."])
    assert (changes["gender"].before, changes["gender"].removed, changes["gender"].added) == (2, 1, 0)
    assert changes["gender"].left == 2
    assert (changes["age"].before, changes["age"].after, changes["age"].added) == (0, 1, 1)
    assert (changes["religion"].removed, changes["religion"].left) == (0, 1)


def test_content_words_are_objects_and_activities():
    assert set(content_words("Two German women are skateboarding beside a red fire hydrant.").values()) == {
        "skateboarding",
        "fire",
        "hydrant",
    }


def pictures(women: int, men: int, cooks: int, skates: int) -> list[list[str]]:
    """Pictures of women of which the first `cooks` cook, and of men of whom the first `skates` skate."""
    of_women = [f"A woman {'cooks soup' if at < cooks else 'waits'}." for at in range(women)]
    of_men = [f"A man {'skates' if at < skates else 'waits'}." for at in range(men)]
    return [[text, text] for text in [*of_women, *of_men]]


def test_who_cooks_and_who_skates():
    captions = pictures(50, 100, 20, 40)
    genders = pictures_by_gender(captions)
    assert (genders.count("woman"), genders.count("man")) == (50, 100)
    found = {one.word: one for one in associations(captions, genders)}
    assert (found["cooks"].women, found["cooks"].men) == (20, 0)
    assert found["cooks"].low > 1 > found["skates"].high
    assert found["waits"].ratio == pytest.approx((30.5 / 50.5) / (60.5 / 100.5))  # by hand
    assert found["waits"].low < 1 < found["waits"].high


def test_who_is_given_another_gender_is_counted():
    said = said_of(["woman", "woman", "man", ""], ["A man runs.", "A woman runs.", "A dog.", "A man."])
    assert (said["woman"].pictures, said["woman"].same, said["woman"].other, said["woman"].none) == (2, 1, 1, 0)
    assert (said["man"].pictures, said["man"].same, said["man"].other, said["man"].none) == (1, 0, 0, 1)


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    # 300 times a word with the same share in both groups: 95 of a hundred intervals hold 1.
    drawn = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        said = [[f"A {who} {'skates' if drawn.random() < 0.3 else 'waits'}."] for who in ["woman"] * 60 + ["man"] * 90]
        one = {each.word: each for each in associations(said, ["woman"] * 60 + ["man"] * 90)}["skates"]
        held += one.low <= 1 <= one.high
    assert 0.92 <= held / 300 <= 0.99


def test_a_model_that_adds_stereotypes_leaks_more_than_people():
    drawn = np.random.default_rng(1)
    genders = ["woman" if at % 2 else "man" for at in range(200)]
    nouns = {"woman": "woman", "man": "man"}
    people = [[f"A {nouns[g]} {drawn.choice(['cooks', 'skates'])} today."] for g in genders]
    model = [f"A {nouns[g]} {'cooks' if g == 'woman' else 'skates'} today." for g in genders]
    found = leakage(people, model, genders, seeds=3)
    assert found.model_accuracy == 1
    assert found.people_accuracy == pytest.approx(0.5, abs=0.12)
    assert found.amplification > 0.3 and found.low > 0
    same = leakage(people, [texts[0] for texts in people], genders, seeds=3)
    assert same.amplification == 0 and same.low <= 0 <= same.high
    assert leakage(people, model, genders, seeds=3) == found  # seeded


def test_the_gendered_words_alone_leak_nothing():
    genders = ["woman" if at % 2 else "man" for at in range(100)]
    said = [f"A {'girl holds her' if g == 'woman' else 'boy holds his'} kite." for g in genders]
    assert leakage([[text] for text in said], said, genders).model_accuracy <= 0.55


def test_too_few_pictures_are_refused():
    with pytest.raises(DataError, match="3 pictures of women and 2 of men; needed: 20 of each"):
        leakage([["x"]] * 5, ["x"] * 5, ["woman"] * 3 + ["man"] * 2)
    with pytest.raises(DataError, match="needed: as many"):
        leakage([["x"]], ["x", "y"], ["woman"])


def test_the_command_says_what_changed_in_a_table(tmp_path, capsys):
    table = tmp_path / "rewritten.jsonl"
    rows = [{"original": "A woman runs.", "caption": "A person runs."}]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert main(["data", "bias", str(table), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["changes"]["gender"] == {
        "before": 1, "after": 0, "removed": 1, "added": 0, "left": 0,
    }  # fmt: skip
    assert main(["data", "bias", str(table)]) == 0
    assert "gender" in capsys.readouterr().out


def test_the_command_compares_a_folder_with_captions_of_any_model(tmp_path, capsys):
    from PIL import Image

    rows, said = [], []
    for at in range(60):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{at}.png")
        who, does = ("woman", "cooks") if at % 2 else ("man", "skates")
        rows += [{"image": f"{at}.png", "caption": f"A {who} {does}."}] * 2
        said.append({"image": f"{at}.png", "caption": f"A {who} {does} at home."})
    (tmp_path / "val.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    captions = tmp_path / "said.csv"
    captions.write_text("image,caption\n" + "".join(f"{row['image']},{row['caption']}\n" for row in said))
    line = ["data", "bias", str(tmp_path), "--captions", str(captions)]
    assert main([*line, "--json", "-"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["women"], figures["men"], figures["leakage"]["people_accuracy"]) == (30, 30, 1)
    assert {word["word"] for word in figures["associations"]} == {"cooks", "skates"}
    assert main(line) == 0
    assert "amplification" in capsys.readouterr().out
    few = tmp_path / "few"
    few.mkdir()
    rows = [{"image": f"../{at}.png", "caption": text["caption"]} for at, text in enumerate(rows[:40:2])]
    (few / "val.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert main(["data", "bias", str(few), "--captions", str(captions)]) == 0  # what can be told of few is told
    told = capsys.readouterr().out
    assert "captions by the model" in told and "LIC is not measured: " in told
    captions.write_text("image,caption\n0.png,A man.\n")
    assert main(line) == 1
    assert "no caption of 59 pictures" in capsys.readouterr().err
