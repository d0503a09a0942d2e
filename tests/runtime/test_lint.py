"""Alternative text that breaks a published rule is flagged, with the rule's name; good text is not."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path

import pytest

from fastcap.cli import main
from fastcap.runtime.lint import LONGEST, RULES, lint

DOCS = Path(__file__).parents[2] / "docs" / "lint"

BROKEN = {
    "empty": ["", "  ", "...", "–", "\ufeff", "\r\n", "\u200b", "- - -", "___", "?!", "😀"],
    "file name": [
        "IMG_1234.jpg",
        "IMG_20200101_120000",
        "DSC00042",
        "holiday beach.png",
        "1234",
        "screenshot 12",
        "DSC_0042",
        "_DSC1234",
        "P1010001",
        "PXL_20210101_123456789",
        "PXL_20210101_123456789.PORTRAIT",
        "GOPR0123",
        "DJI_0042",
        "Screenshot_20200101-120000",
        "Screen Shot 2022-06-26 at 7.41.30 PM",
        "Screen Shot 2022-06-26 at 7 41 30 PM",
        "Screenshot 2024-03-04 at 10.11.12",
        "Bildschirmfoto 2020-01-01 um 12.00.00",
        "Capture d’écran 2021-03-02 à 12.00.00",
        "WhatsApp Image 2020-01-01 at 12.00.00",
        "IMG-20200101-WA0001",
        "photo-1523234567-abc123",
        "IMG_1234 (1)",
        "IMG_1234~2",
        "image001",
        "FB_IMG_1512345678",
        "received_123456789",
        "100_1234",
        "hero_image-v2",
        "my_dog_photo",
        "hero-banner-final-v2",
        "dog.JPG",
        "photos/dog.webp?w=300",
        "a3f5d2c9b8e7f6a5d4c3",
        "123e4567-e89b-12d3-a456-426614174000",
        "IMGP1234",
        "_MG_1234",
        "CleanShot 2022-06-26 @2x",
        "img 0001",
        "dsc-0042",
        "Clean Shot 2022-06-26 at 7.41.30",
        "picture1",
        "thumb_IMG_1234_1024",
        "20200101_120000",
        "IMG_E1234",
        "logo-300x200",
        "Photo 1",
    ],
    "placeholder": [
        "image",
        "Photo.",
        "alt text",
        "untitled",
        "Image placeholder",
        "placeholder image",
        "alt text here",
        "image description",
        "picture of",
        "Insert alt text here",
        "logo image",
        "default image",
        "No image available",
        "image not found",
        "thumbnail",
        "hero image",
        "featured image",
        "TODO",
        "TBD",
        "n/a",
        "null",
        "Lorem ipsum dolor sit amet",
        "Image: a dog on grass",
        "photo - two cats on a sofa",
        "alt: a boat",
        "Alt text: a boat on a lake",
        "caption: dog",
        "Dog photo",
        "company logo image",
        "a boat on a lake - stock photo",
        "A boat on a lake (image)",
        "TODO: describe the boat",
        "[image] a boat",
        "image of",
        "an image",
        "Picture 2",
        "banner 3",
        "xxx",
        "figure",
        "spacer",
        "test",
        "your alt text",
        "Dog image",
        "A dog [placeholder]",
        "(image)",
        "[photo]",
        "<picture>",
        "*image*",
        "TODO add alt",
        "TODO: describe",
        "FIXME write a caption",
        "Untitled-1 copy",
        "click here",
        "read more",
        "icon",
        "image (3)",
        "Image 1 of 5",
        "Photo 2 of 10.",
        "slide 3/12",
        "Figure 2 of 3",
    ],
    "preamble": [
        "An image of a dog in a park",
        "photo of two cats",
        "This is a picture showing a boat on a lake",
        "This picture shows a dog",
        "There is a picture of a dog",
        "A black and white photo of a dog",
        "In this image we can see a dog",
        "In the picture, there is a dog",
        "The image shows a dog",
        "This photo depicts a dog",
        "A photograph that shows a dog",
        "Here we see a picture of a dog",
        "Pictured here is a dog",
        "Image shows a dog",
        "Image may contain: dog, grass",
        "May be an image of 2 people",
        "Picture with a dog on a beach",
        "Photo showing a dog",
        "Images of dogs",
        "A photo taken of a dog",
        "The following image shows a dog",
        "Photo from above of a beach",
        "IMAGE OF A DOG",
        "Stock image of a dog in grass",
        "Close-up photo of a bee",
        "Imagen de un perro",
        "Bild von einem Hund",
        "Image displaying a dog",
        "It's a photo of a dog",
        "Screenshot of a page",
        "A beautiful picture of a lake",
        "Illustration of a heart",
        "a 1920 photograph of a ship",
        "This image is a chart of sales",
        "Depicted: a dog",
        "Image d'un chat",
        "Photographie d'un pont",
        "Une image montrant un chat",
        "Изображение собаки",
        "一张狗的图片",
    ],
    "too long": ["a dog " * 26, "x" * 151, "Two words. " * 14],
    "too short": ["dog", "Dog.", "狗", "yo-yo", "10:10", "犬です", "Sunset!", "«chien»", "hunde", "หมา"],
    "capitals": [
        "A DOG RUNS ON GRASS",
        "ÉTÉ À LA PLAGE",
        "SALE ENDS TODAY",
        "A BOAT ON A LAKE.",
        "ДВЕ СОБАКИ БЕГУТ",
        "ΔΥΟ ΣΚΥΛΟΙ ΤΡΕΧΟΥΝ",
        "1 DOG, 2 CATS AND A BIRD",
        "OPEN FROM 9 TO 5",
        "A MAN WITH A T-SHIRT",
        "NO ENTRY FOR CARS",
    ],
    "repeat": [
        "A dog a dog on grass",
        "two two cats",
        "A cat, a cat on a mat",
        "a red hat a red hat",
        "the the dog",
        "A dog dog runs",
        "on the grass on the grass",
        "cats cats cats",
        "A man and a man and a boy",
        "कुत्ता कुत्ता दौड़ता है",
        "a dog, a dog runs",
        "A cat, a cat and a dog",
        "A cat, a cat on a mat and a rug",
        "A dog, a dog",
        "A dog a dog toy and a ball",
    ],
    "markup": [
        "A <b>red</b> ball",
        "cats &amp; dogs",
        "a [dog](http)",
        "a dog&nbsp;runs",
        "a &#8220;dog&#8221; runs",
        "a &#x27;dog&#x27; runs",
        "a **brown** dog",
        "a `dog` in code",
        "A dog<br>runs",
        "![a dog](x.png) runs",
        "A &quot;dog&quot; runs",
        "{{ alt }} of a dog",
        "A &lt;b&gt; dog",
    ],
    "address": [
        "A dog, see https://example.org/dog",
        "the www.example.org logo on a wall",
        "mail joe@example.com for it",
        "see example.com/dog for more",
        "ftp://a.b/c is here",
        "a dog at http://x.y",
        "data:image/png;base64,AAAA",
        "file:///c:/dog.png is here",
        "a dog on www.example.net.",
        "mailto:joe is on a sign",
    ],
    "emoji": [
        "A happy dog 😀",
        "I ❤️ dogs",
        "A sunny day ☀",
        "Two stars ⭐ over a hill",
        "A flag 🇫🇷 on a roof",
        "press 1️⃣ here",
        "A dog :smile: on grass",
        "A dog smiles :-)",
        "A thumbs up 👍🏽 sign",
        "Snow ❄ falls",
    ],
    "line break": [
        "A dog\nruns",
        "A dog\r\nruns",
        "a\u2028b c",
        "a dog\rruns",
        "a\n\nb",
        "a dog\x0bruns",
        "a dog\x0cruns",
        "a dog\x85runs",
        "a\u2029b",
        "one\ntwo\nthree",
    ],
}
GOOD = [
    "A brown dog catches a frisbee on the grass.",
    "Two children build a sandcastle beside the sea.",
    "Map of the harbour with three ferry lines",
    "Image sensors on a circuit board, seen from above",
    "7 swans on a lake",
    "New York at night",
    "Bora Bora beach at dusk",
    "Tourists take photos of a bear",
    "A child plays with a yo-yo",
    "A clock that shows 10:10",
    "The score is 2-2",
    "A calendar page of 12/12/2020",
    "A chart up to 1 000 000 users",
    "一只棕色的狗在草地上奔跑",
    "犬が草の上を走っている。",
    "สุนัขวิ่งบนสนามหญ้า",
    "A picture frame on a wall",
    "Photo album on a table",
    "A man holds a photo of his dog",
    "Two women pose for a picture",
    "A girl takes a photo",
    "A photographer and a bride",
    "Photographers stand around a car",
    "A picturesque village by a lake",
    "A graphic novel on a shelf",
    "Route 66 sign in the desert",
    "Boeing 747 on a runway",
    "A cha cha lesson in a hall",
    "Children ride a choo choo train",
    "A dog—brown—runs.",
    "A can-can dancer on stage",
    "Walla Walla airport sign",
    "The temperature is 20:20 on a clock",
    "Two dogs, two cats and a bird",
    "A player with number 10 and a player with number 11",
    "AT&T store front in a mall",
    "R&D team at a table",
    "The NASA logo on a rocket",
    "Logo of the Red Cross",
    "Banner that says welcome home",
    "A line of cars on a bridge",
    "Icons of saints in a church",
    "A product line in a factory",
    "Null Island on a map",
    "Test tubes in a rack",
    "A page of a book with notes",
    "Arrow pointing left to the exit",
    "कुत्ता घास पर दौड़ता है",
    "كلب يركض على العشب",
    "A 4x4 car on sand",
    "Time 3:45 p.m. on a station clock",
    "2 + 2 = 4 on a blackboard",
    "A t-shirt with stripes on a chair",
    "Selfie of two friends on a boat",
    "Portrait of a woman in a red hat",
    "Painting of a harbour at dawn",
    "Drawing of a horse by a child",
    "Diagram of a water pump with three valves",
    "Chart of rainfall that rises from January to May",
    "Button with a white arrow",
    "Family portrait in front of a house",
    "He had had enough of the rain",
    "Page 3 of a newspaper with a photo of a ship",
    "Blank billboard beside a road",
    "An avatar costume at a fair",
    "Clip art books on a shelf",
    "Three photos on a wall",
    "The picture window of a house",
    "A screen that shows a film",
    "A red sign: no entry",
    "Score 10 - 10 on a board",
    "Prices from $5 to $10",
    "A file cabinet beside a desk",
    "Slide in a playground",
    "Header of a football by a striker",
    "Golden retriever puppy in a basket",
    "A no. 7 train at a platform",
    "A black-and-white cat on a sofa",
    "Media scrum around a player",
    "Cover of a book about whales",
    "Background vocals on a stage",
    "Default settings on a screen",
    "An image is projected on a wall",
    "A photo is taken by a tourist",
    "A woman with a camera takes a picture",
    "Photo booth at a wedding",
    "A man in a photo studio",
    "Two tuk tuk cars on a street",
    "The ratio is 1:1 in the mix",
    "Coordinates 12 12 30 on a display",
    "Open 24/7 sign",
    "Happy couple on a beach",
    "Graph paper and a pencil",
    "A pencil drawing, shown in a frame",
    "Shown the door, a man leaves",
    "Seen from above, a river bends",
    "Here is the dog that won",
    "A picture of a horse hangs on the wall",
    "Two photos of a dog and a cat hang above a bed",
    "Une photographe sur un pont",
    "Bilder hängen an der Wand",
    "A dog, a dog toy and a ball",
    "A bus, a bus stop and a tree",
    "A car, a car park, and a shop",
    "Dogs, dog toys and a ball",
    "A red ball, a red ball gown and shoes",
]


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in BROKEN.items() for text in texts])
def test_a_broken_rule_is_named(rule, text):
    assert rule in [finding.rule for finding in lint(text)]


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in BROKEN.items() for text in texts])
def test_a_byte_order_mark_and_line_ends_around_a_text_change_nothing(rule, text):
    assert lint(f"\ufeff{text}\r\n") == lint(text)


def test_every_rule_has_examples():
    assert set(BROKEN) == set(RULES)
    assert all(len(texts) >= 10 or rule == "too long" for rule, texts in BROKEN.items())


def page(rule: str) -> str:
    return (DOCS / f"{rule.replace(' ', '-')}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_a_page_whose_examples_are_judged_as_it_says(rule):
    wrong, _, right = page(rule).partition("## Right")
    wrong_texts, right_texts = (re.findall(r"^- `(.*)`$", part, re.MULTILINE) for part in (wrong, right))
    assert len(wrong_texts) >= 2
    assert len(right_texts) >= 2
    for text in wrong_texts:
        assert rule in [finding.rule for finding in lint(text.replace("\\n", "\n"))], text
    for text in right_texts:
        assert lint(text) == [], text


def test_the_index_of_the_pages_names_every_rule():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[(.*?)\]\((.*?)\)", index, re.MULTILINE) == [
        (rule, f"{rule.replace(' ', '-')}.md") for rule in RULES
    ]


@pytest.mark.parametrize("piece", ["a ", "image ", "x-", "a.b", "1 ", "img_", "&a;", "of ", "the image ", "a, ", "(("])
def test_a_long_text_takes_no_time_that_grows_with_its_square(piece):
    def seconds(count: int) -> float:
        start = time.process_time()
        lint(piece * count)
        return time.process_time() - start

    assert seconds(40_000) < 20 * seconds(10_000) + 0.1  # four times as long; the square would be sixteen, and more


@pytest.mark.parametrize("text", GOOD)
def test_good_text_is_not_flagged(text):
    assert lint(text) == []


def test_the_longest_text_allowed_is_allowed():
    text = ("abcd " * 40)[: LONGEST - 1] + "x"
    assert "too long" not in [finding.rule for finding in lint(text)]
    assert "too long" in [finding.rule for finding in lint(text + "x")]


def test_gendered_words_are_flagged_when_asked_for():
    assert lint("A woman holds a cup") == []
    (finding,) = lint("A woman holds a cup", neutral=True)
    assert finding.rule == "gendered"
    assert "(woman)" in finding.advice


def test_the_command_prints_findings_and_fails_when_there_are_any(capsys, monkeypatch):
    assert main(["lint", GOOD[0]]) == 0
    assert capsys.readouterr().out == ""
    assert main(["lint", GOOD[0], "image"]) == 1
    assert capsys.readouterr().out.startswith("'image': placeholder: say what the picture shows")
    monkeypatch.setattr("sys.stdin", iter(["dog\n", f"{GOOD[1]}\n"]))
    assert main(["lint", "--json", "-"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [[finding["rule"] for finding in row["findings"]] for row in rows] == [["too short"], []]


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"],  # the last two with their marks
)
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_texts_on_stdin_are_read_in_the_encoding_that_they_state(encoding, end, capsys, monkeypatch):
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    data = f"{mark}Ein Hund läuft über die Straße.{end or chr(10)}IMG_1234.JPG{end}".encode(encoding)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data)), encoding="utf-8"))
    assert main(["lint", "--json", "-"]) == 1
    first, second = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert first == {"text": "Ein Hund läuft über die Straße.", "findings": []}
    assert second["text"] == "IMG_1234.JPG"


@pytest.mark.parametrize("text", ["-", "--", "...", "?"])
def test_a_text_of_punctuation_is_flagged_behind_two_dashes(text, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", iter(["dog\n"]))
    assert main(["lint", "--", text]) == 1
    assert capsys.readouterr().out.startswith(f"{text!r}: empty: ")


def test_closed_standard_input_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    assert main(["lint", "-"]) == 1
    assert capsys.readouterr().err == "fastcap: error: -: standard input is closed\n"
