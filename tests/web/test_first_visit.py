"""The page as a newcomer meets it: on a phone, with mistakes, without JavaScript, and with second thoughts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from visiting import WEB, Demo, Visit

from fastcap.evaluation.speed import sample_photo

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

pytestmark = pytest.mark.slow

BROKEN = {"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": b"\xff\xd8\xff cut short"}
NOTES = {"name": "notes.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7"}


def picture(name: str, seed: int = 1) -> dict:
    return {"name": name, "mimeType": "image/jpeg", "buffer": sample_photo(320, 240, seed=seed)}


def names(visit: Visit) -> list[str]:
    return visit.page.locator("h3").all_inner_texts()


def undo(visit: Visit) -> Locator:
    return visit.page.get_by_role("button", name="Undo")


# Words of one's own


def test_an_edited_caption_no_longer_shows_the_confidence_of_the_model(visit: Visit) -> None:
    (caption,) = visit.add("a.jpg")
    facts, meter = visit.page.locator(".facts"), visit.page.locator("meter")
    text = visit.page.get_by_label("Alt text of a.jpg")
    shown = facts.inner_text()
    assert "sure" in shown and meter.is_visible()
    for words in ("Mine.", caption.rstrip("."), "", f"{caption} And more."):
        text.fill(words)
        assert facts.inner_text() == "Edited by you"
        assert not meter.is_visible()
        assert visit.page.locator(".picture").get_attribute("alt") == words
    text.fill(caption)  # the model's words again
    assert facts.inner_text() == shown and meter.is_visible()


def test_the_words_of_the_model_come_back_after_an_edit(visit: Visit) -> None:
    (caption,) = visit.add("a.jpg")
    visit.page.get_by_label("Alt text of a.jpg").fill("Mine.")
    visit.page.locator("summary").click()
    offered = visit.page.locator(".wordings button")
    texts = [text.rpartition(" (")[0] for text in offered.all_inner_texts()]
    assert texts[0] == caption and len(texts) == 3
    share = offered.nth(1).inner_text().rpartition(" (")[2].rstrip(")")
    offered.nth(1).click()
    assert visit.captions(1) == [texts[1]]
    assert visit.page.locator(".facts").inner_text().startswith(f"{share} sure")  # of these words, not of the first
    assert [text.rpartition(" (")[0] for text in offered.all_inner_texts()] == [texts[0], texts[2]]


# Second thoughts


def test_clear_can_be_undone_with_all_that_was_written(visit: Visit) -> None:
    first, _, third = visit.add("a.jpg", "b.jpg", "c.jpg")
    visit.page.get_by_label("Alt text of b.jpg").fill("Mine.")
    visit.page.get_by_role("button", name="Clear").click()
    assert names(visit) == [] and not visit.page.locator("#results").is_visible()
    assert undo(visit).inner_text() == "Undo removing 3 pictures"
    visit.page.keyboard.press("Enter")  # the focus is on it
    assert visit.captions(3) == [first, "Mine.", third]
    assert names(visit) == ["a.jpg", "b.jpg", "c.jpg"]
    assert visit.page.locator("#results").is_visible() and not undo(visit).is_visible()
    assert visit.page.locator(".picture").evaluate_all("images => images.every((image) => image.naturalWidth)")
    assert visit.page.get_by_role("status").inner_text() == "3 pictures brought back."
    assert visit.page.evaluate("document.activeElement.className") == "remove"


def test_one_picture_comes_back_to_its_place(visit: Visit) -> None:
    visit.add("a.jpg", "b.jpg", "c.jpg")
    visit.page.get_by_role("button", name="Remove").nth(1).click()
    assert names(visit) == ["a.jpg", "c.jpg"]
    assert undo(visit).inner_text() == "Undo removing 1 picture"
    undo(visit).click()
    assert names(visit) == ["a.jpg", "b.jpg", "c.jpg"]


def test_undo_brings_back_the_last_removal_beside_what_came_since(visit: Visit) -> None:
    visit.add("a.jpg", "b.jpg")
    visit.page.get_by_role("button", name="Remove").first.click()
    visit.page.get_by_role("button", name="Clear").click()
    visit.page.locator("#files").set_input_files(picture("new.jpg"))
    visit.captions(1)
    undo(visit).click()
    assert names(visit) == ["b.jpg", "new.jpg"]


def test_captions_that_were_under_way_and_options_that_changed_are_asked_for_again(visit: Visit) -> None:
    visit.add("a.jpg")
    visit.page.evaluate(
        """(bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(bytes)], 'late.jpg', { type: 'image/jpeg' }));
            document.querySelector('#drop').dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true }));
            document.querySelector('#clear').click(); // before the caption has come
        }""",
        list(sample_photo(320, 240, seed=1)),
    )
    visit.page.locator("select[name=length]").select_option("words")
    visit.page.get_by_label("Words", exact=True).fill("5")
    visit.page.get_by_label("Words", exact=True).blur()
    undo(visit).click()
    visit.page.locator("#status", has_text="2 of 2").wait_for()
    assert all(len(caption.split()) <= 7 for caption in visit.captions(2))


# Mistakes


def looks_like_an_error(part: Locator) -> bool:
    """By its mark and its edge as well as by its colour."""
    return part.evaluate(
        """(part) => {
            const style = getComputedStyle(part);
            const mark = getComputedStyle(part, '::before').content;
            const plain = getComputedStyle(document.body);
            return style.color !== plain.color && style.backgroundColor !== plain.backgroundColor
                && style.borderLeftWidth !== style.borderRightWidth && mark.startsWith('"!"');
        }"""
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_errors_look_like_errors(scheme: str, browser: Browser, demo: Demo) -> None:
    visit = Visit(browser, demo.url, color_scheme=scheme, service_workers="block")
    page = visit.page
    assert not page.get_by_role("alert").is_visible()
    page.locator("#files").set_input_files([BROKEN, picture("whole.jpg"), NOTES])
    visit.captions(1)
    assert page.get_by_role("alert").inner_text() == "notes.pdf is no picture."
    assert looks_like_an_error(page.get_by_role("alert"))
    failed = page.locator("li[data-state=failed]")
    assert looks_like_an_error(failed.locator(".waiting"))
    assert not failed.locator(".picture").is_visible()  # nor the browser's torn one
    page.locator("#status", has_text="1 of 2 pictures have a caption. 1 could not be read.").wait_for()
    assert not looks_like_an_error(page.get_by_role("status"))
    visit.context.close()


@pytest.mark.parametrize(
    ("path", "reason"),
    [("**/model/model.json", "The model could not be loaded"), ("**/worker.js", "This browser cannot run the page")],
)
def test_a_page_that_cannot_work_says_so_as_an_error(path: str, reason: str, browser: Browser, demo: Demo) -> None:
    page = browser.new_page(service_workers="block")
    page.route(path, lambda route: route.abort())
    page.goto(demo.url)
    page.get_by_role("alert").filter(has_text=reason).wait_for()
    assert looks_like_an_error(page.get_by_role("alert"))
    assert page.get_by_role("status").inner_text() == ""
    assert not page.locator("#loading").is_visible()
    page.close()


def test_a_refused_camera_and_a_refused_clipboard_are_errors(browser: Browser, demo: Demo) -> None:
    visit = Visit(browser, demo.url, service_workers="block")
    page = visit.page
    page.evaluate("() => { navigator.mediaDevices.getUserMedia = async () => { throw new Error('not allowed'); } }")
    page.get_by_role("button", name="Use the camera").click()
    assert page.get_by_role("alert").inner_text() == "No camera: not allowed"
    visit.add("a.jpg")
    assert not page.get_by_role("alert").is_visible()
    page.evaluate("() => { navigator.clipboard.writeText = async () => { throw new Error('not allowed'); } }")
    page.get_by_role("button", name="Copy text").click()
    assert page.get_by_role("alert").inner_text() == "Not copied: not allowed"
    visit.context.close()


# A phone


ALONE = """() => {
    const seen = (part) => part.getClientRects().length && getComputedStyle(part).visibility === 'visible';
    const faults = [];
    for (const group of document.querySelectorAll('.buttons, .bar, #options')) {
        const lines = [];
        for (const child of [...group.children].filter(seen)) {
            const { top, bottom, width } = child.getBoundingClientRect();
            const line = lines.find((each) => each.top < bottom && top < each.bottom);
            if (line) line.widths.push(width);
            else lines.push({ top, bottom, widths: [width], name: child.textContent.trim() });
        }
        const whole = group.getBoundingClientRect().width;
        const some = lines.some(({ widths }) => widths.length > 1);
        for (const { widths, name } of lines) {
            if (some && widths.length === 1 && widths[0] < 0.9 * whole) faults.push(`alone: ${name}`);
        }
    }
    for (const part of document.querySelectorAll('h1, h2, p, label, button, summary')) {
        if (!seen(part)) continue;
        const words = [];
        const walker = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
            if (walker.currentNode.parentElement.closest('select')) continue;
            for (const { index, 0: word } of walker.currentNode.data.matchAll(/\\S+/g)) {
                const range = document.createRange();
                range.setStart(walker.currentNode, index);
                range.setEnd(walker.currentNode, index + word.length);
                words.push({ word, top: range.getBoundingClientRect().top });
            }
        }
        const last = words.at(-1);
        const alone = words.length > 2 && words.at(-2).top < last.top - 8;
        if (alone) faults.push(`last word alone: ${part.textContent}`);
    }
    return faults;
}"""


@pytest.mark.parametrize("width", [320, 360, 390, 412])
def test_nothing_wraps_alone_on_a_phone(width: int, browser: Browser, demo: Demo) -> None:
    phone = {"viewport": {"width": width, "height": 640}, "is_mobile": True, "has_touch": True}
    visit = Visit(browser, demo.url, service_workers="block", **phone)
    page = visit.page
    assert page.evaluate(ALONE) == []
    page.locator("#files").set_input_files([picture("IMG_2024-05-01_holiday.jpg"), picture("b.jpg", 2), BROKEN, NOTES])
    visit.captions(2)
    page.locator("summary").first.click()
    assert page.evaluate(ALONE) == []
    page.locator("select[name=length]").select_option("words")
    page.get_by_label("Alt text of b.jpg").fill("Mine.")
    assert page.evaluate(ALONE) == []
    page.get_by_role("button", name="Clear").click()
    assert page.evaluate(ALONE) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    visit.context.close()


# Where it cannot start


def test_without_javascript_the_page_says_so(browser: Browser, demo: Demo) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(demo.url)
    said = page.locator("main").inner_text()
    assert said.startswith("JavaScript is switched off here") and "fastcap caption photo.jpg" in said
    for useless in ("#drop", "#options", "#results", "#unstarted"):
        assert not page.locator(useless).is_visible()
    context.close()


def test_opened_as_a_file_the_page_says_how_to_open_it(browser: Browser) -> None:
    """Browsers run no modules of files; nothing else would ever be said."""
    page = browser.new_page()
    page.goto((WEB / "index.html").as_uri())
    told = page.locator("#unstarted")
    assert not told.is_visible()
    told.wait_for(timeout=20_000)
    assert "fastcap demo" in told.inner_text()
    assert told.bounding_box()["y"] < page.locator("#drop").bounding_box()["y"]
    page.close()


def test_a_page_that_has_started_never_says_that_it_has_not(visit: Visit) -> None:
    assert visit.page.locator("#unstarted").count() == 0


def test_the_files_of_the_page_agree(visit: Visit) -> None:
    """What app.js looks for is in index.html."""
    script, html = (Path(WEB, name).read_text("utf-8") for name in ("app.js", "index.html"))
    for name in ("problem", "undo", "unstarted", "status", "results", "clear"):
        assert f"#{name}'" in script and f'id="{name}"' in html
