"""The page in a real Chromium, as people use it: with a mouse, with the keyboard alone, and without a network."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from visiting import Demo, Visit

from fastcap.evaluation.speed import sample_photo
from fastcap.runtime.neutral import gendered_words

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from fastcap import Captioner

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
PHONE = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "is_mobile": True, "has_touch": True}

pytestmark = pytest.mark.slow


def test_pictures_get_captions_that_can_be_copied_and_downloaded(visit: Visit) -> None:
    first, second = visit.add('a "b" & c.jpg', "d,e.jpg")
    assert first.endswith(".") and second.endswith(".")
    page = visit.page
    assert "sure" in page.locator(".facts").first.inner_text()

    assert visit.copied(page.get_by_role("button", name="Copy text").first.click) == first
    page.get_by_label("Alt text of d,e.jpg").fill('He said "hi", <b>loud</b>')
    page.get_by_label("Format").select_option("html")
    html = visit.copied(page.get_by_role("button", name="Copy all").click)
    found = page.evaluate(
        """(html) => [...new DOMParser().parseFromString(html, 'text/html').images]
            .map((image) => [decodeURIComponent(image.getAttribute('src')), image.alt])""",
        html,
    )
    assert found == [['a "b" & c.jpg', first], ["d,e.jpg", 'He said "hi", <b>loud</b>']]

    page.get_by_label("Format").select_option("csv")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "captions.csv"
    rows = list(csv.reader(io.StringIO(Path(download.value.path()).read_text("utf-8"))))
    assert rows == [["image", "caption"], ['a "b" & c.jpg', first], ["d,e.jpg", 'He said "hi", <b>loud</b>']]


def test_options_write_captions_anew_but_not_what_somebody_edited(visit: Visit) -> None:
    first, _ = visit.add("a.jpg", "b.jpg")
    page = visit.page
    page.get_by_label("Alt text of b.jpg").fill("Mine.")
    page.get_by_label("Neutral wording").check()
    page.locator("select[name=length]").select_option("words")
    page.get_by_label("Words", exact=True).fill("6")
    page.get_by_label("Words", exact=True).blur()
    page.locator("#status", has_text="2 of 2").wait_for()
    page.wait_for_timeout(500)
    neutral, mine = visit.captions(2)
    assert mine == "Mine."
    assert gendered_words(neutral) == [] and neutral != first
    page.locator("summary").first.click()
    other = page.locator(".wordings button").first
    text = other.inner_text().rpartition(" (")[0]
    other.click()
    assert visit.captions(2)[0] == text


def test_what_somebody_writes_while_a_caption_is_asked_for_anew_stays(visit: Visit) -> None:
    visit.add("a.jpg", "b.jpg")
    visit.page.evaluate(
        """() => {
            document.querySelector('[name=neutral]').click(); // the worker has heard of both when the words come
            const text = document.querySelectorAll('#list textarea')[1];
            text.value = 'Mine.';
            text.dispatchEvent(new Event('input'));
        }"""
    )
    visit.add("c.jpg")  # its caption comes after theirs
    assert visit.captions(3)[1] == "Mine."


def test_pictures_can_be_dropped_pasted_and_taken(visit: Visit) -> None:
    page = visit.page
    data = list(sample_photo(320, 240, seed=1))
    for event in ("drop", "paste"):
        page.evaluate(
            """([event, bytes]) => {
                const data = new DataTransfer();
                data.items.add(new File([Uint8Array.from(bytes)], `${event}.jpg`, { type: 'image/jpeg' }));
                const made = event === 'drop' ? new DragEvent(event, { dataTransfer: data, bubbles: true })
                    : new ClipboardEvent(event, { clipboardData: data, bubbles: true });
                document.querySelector('#drop').dispatchEvent(made);
            }""",
            [event, data],
        )
    page.get_by_role("button", name="Use the camera").click()
    page.wait_for_timeout(1000)
    page.get_by_role("button", name="Take the picture").click()
    visit.captions(3)
    assert page.locator("h3").all_inner_texts() == ["drop.jpg", "paste.jpg", "camera-3.png"]


def test_a_file_that_is_no_picture_says_so_and_the_rest_goes_on(visit: Visit) -> None:
    broken = {"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": b"\xff\xd8\xff cut short"}
    whole = {"name": "whole.jpg", "mimeType": "image/jpeg", "buffer": sample_photo(320, 240, seed=1)}
    visit.page.locator("#files").set_input_files([broken, whole])
    visit.captions(1)
    failed = visit.page.locator("li[data-state=failed]")
    assert "broken.jpg: not a picture that this browser can read" in failed.inner_text()
    assert failed.get_by_role("button").all_inner_texts() == ["Remove"]
    visit.faults.clear()  # the preview of the broken file


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["notes.pdf"], "notes.pdf is no picture."),
        (["notes.pdf", "b.pdf"], "notes.pdf and b.pdf are no pictures."),
        (["notes.pdf", "b.pdf", "c.pdf"], "notes.pdf, b.pdf and c.pdf are no pictures."),
        (["notes.pdf", "b.pdf", "c.pdf", "d.pdf"], "notes.pdf, b.pdf and 2 others are no pictures."),
    ],
)
def test_files_of_other_kinds_are_named_beside_pictures_and_alone(names: list[str], said: str, visit: Visit) -> None:
    others = [{"name": name, "mimeType": "application/pdf", "buffer": b"%PDF-1.7"} for name in names]
    picture = {"name": "ok.jpg", "mimeType": "image/jpeg", "buffer": sample_photo(320, 240, seed=1)}
    status, alert = visit.page.get_by_role("status"), visit.page.get_by_role("alert")
    visit.page.locator("#files").set_input_files([*others, picture])
    (caption,) = visit.captions(1)
    assert (alert.inner_text(), status.inner_text()) == (said, caption)
    assert visit.page.locator("h3").all_inner_texts() == ["ok.jpg"]
    visit.page.locator("#files").set_input_files(picture)
    visit.captions(2)
    assert not alert.is_visible()  # it was about the files before
    visit.page.locator("#files").set_input_files(others)
    assert alert.inner_text() == said


def test_pictures_that_nobody_waits_for_any_more_are_not_captioned(visit: Visit) -> None:
    worker = next(worker for worker in visit.page.workers if worker.url.endswith("/worker.js"))
    worker.evaluate(
        """() => {
            const post = self.postMessage.bind(self);
            self.answered = [];
            self.postMessage = (message) => {
                self.answered.push(message.id);
                post(message);
            };
        }"""
    )
    visit.page.evaluate(
        """(bytes) => {
            const data = new DataTransfer();
            for (let id = 1; id <= 20; id += 1) {
                data.items.add(new File([Uint8Array.from(bytes)], `${id}.jpg`, { type: 'image/jpeg' }));
            }
            document.querySelector('#drop').dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true }));
            [...document.querySelectorAll('#list .remove')].slice(1, -2).forEach((button) => button.click());
            document.querySelector('[name=neutral]').click(); // 1, 19 and 20 are asked for anew, as 21 to 23
        }""",
        list(sample_photo(320, 240, seed=1)),
    )
    visit.captions(3)
    assert visit.page.locator("h3").all_inner_texts() == ["1.jpg", "19.jpg", "20.jpg"]
    answered = worker.evaluate("self.answered")
    assert answered[-3:] == [21, 22, 23]
    assert len(answered) <= 3 + 1  # and the one that was under way
    visit.faults.clear()  # the previews that were removed before they had loaded


def test_the_keyboard_alone_suffices(visit: Visit) -> None:
    page = visit.page
    visit.add("a.jpg")
    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(25):
        page.keyboard.press("Tab")
        name = page.evaluate(
            """() => {
                const at = document.activeElement;
                const label = at.getAttribute('aria-label') ?? at.labels?.[0]?.textContent ?? at.textContent;
                return label.trim().split('\\n')[0];
            }"""
        )
        reached.append(name)
        if name == "Copy text":
            break
    expected = ["Choose pictures", "Use the camera", "Length", "Wordings", "Neutral wording", "Format", "Copy all"]
    assert [name for name in reached if name in expected] == expected
    assert "Alt text of a.jpg" in reached
    assert visit.copied(lambda: page.keyboard.press("Enter")).endswith(".")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # Remove: the focus is not lost with the button
    assert page.evaluate("document.activeElement.id") == "files"


def test_it_works_without_a_network_after_the_first_visit(visit: Visit) -> None:
    visit.page.locator("#status", has_text="Works offline from now on").wait_for()
    visit.context.set_offline(True)
    visit.page.reload()
    visit.page.locator("#status", has_text="Ready").wait_for()
    assert visit.add("a.jpg")[0].endswith(".")


def test_captions_are_written_word_after_word_offline_too(visit: Visit, captioner: Captioner) -> None:
    page = visit.page
    page.locator("#status", has_text="Works offline from now on").wait_for()
    visit.add("a.jpg")
    for _ in ("first", "offline"):
        page.get_by_label("Writes").select_option("word after word")
        page.locator("li[data-state=waiting]").wait_for(state="detached")
        expected = captioner.caption(sample_photo(640, 480, seed=0), decode="beam").text
        assert visit.captions(1) == [expected]
        visit.context.set_offline(True)
        page.reload()
        page.locator("#status", has_text="Ready").wait_for()
        visit.add("a.jpg")


def test_nothing_can_be_sent_elsewhere(visit: Visit) -> None:
    attempts = """() => Promise.all(['http://127.0.0.2:9/x', 'https://example.org/x'].flatMap((url) => [
        fetch(url, { mode: 'no-cors' }).then(() => 'sent', () => 'refused'),
        new Promise((done) => {
            const image = new Image();
            image.onload = () => done('sent');
            image.onerror = () => done('refused');
            image.src = url;
        }),
    ]))"""
    assert visit.page.evaluate(attempts) == ["refused"] * 4
    assert all("Content Security Policy" in fault for fault in visit.faults)
    visit.faults.clear()
    visit.requests = [url for url in visit.requests if url.startswith(visit.url)]  # asked for, and refused in the page


@pytest.mark.parametrize("look", [{}, PHONE], ids=["light desktop", "dark phone"])
def test_axe_finds_nothing(look: dict, browser: Browser, demo: Demo) -> None:
    if not AXE.is_file():
        pytest.skip(f"no {AXE}; run `make test-web`")
    visit = Visit(browser, demo.url, bypass_csp=True, service_workers="block", **look)
    page = visit.page
    page.add_script_tag(path=AXE)

    def violations() -> list[str]:
        found = page.evaluate("axe.run()")["violations"]
        return [f"{rule['id']}: {node['html']}" for rule in found for node in rule["nodes"]]

    assert violations() == []
    visit.add("a.jpg", "b.jpg")
    page.locator("summary").first.click()
    assert violations() == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Use the camera").click()
    page.locator("dialog[open]").wait_for()
    assert violations() == []
    visit.context.close()


def test_captions_of_fifty_photos_are_those_of_python(module, captioner, data_root: Path) -> None:
    """The same pixels to the last bit; the arithmetic of the int8 graph rounds otherwise in WebAssembly, and a wording
    in ten or so tips over. `python benchmarks/web.py` counts them."""
    from fastcap.data.readers import load_dataset

    photos = [example.image for example in load_dataset("flickr8k", data_root / "flickr8k", "val")[:400:8]]
    same = 0
    for photo in photos:
        (found,) = module.run("return captioner.caption(photo)", photo=Path(photo).read_bytes())
        same += found["text"] == captioner.caption(photo).text
    assert len(photos) == 50
    assert same >= 42


def test_a_picture_of_any_size_fits(visit: Visit) -> None:
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((6000, 5000)).save(file, "PNG", compress_level=1)
    picture = {"name": "large.png", "mimeType": "image/png", "buffer": file.getvalue()}
    visit.page.locator("#files").set_input_files(picture)
    assert visit.captions(1)[0].endswith(".")
