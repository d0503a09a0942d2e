"""`fastcap alt`: what it prints, writes and leaves, and its exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from mending import RED
from PIL import Image

import fastcap
from fastcap.cli import main


@pytest.fixture
def alt(tiny_bundle, capsys, folder, monkeypatch):
    """Run `fastcap alt ...` in the folder; gives status, stdout and stderr."""
    monkeypatch.chdir(folder)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["alt", *arguments, "--model", str(tiny_bundle)])
        return status, *capsys.readouterr()

    return run


def rows(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_check_names_file_line_and_rule_and_has_status_1(alt, folder):
    (folder / "a.md").write_text("# A\n\n![](a.jpg)\n![photo](b.png)\n")
    (folder / "b.md").write_text("![A red barn](a.jpg)\n")
    status, out, err = alt(".", "--check")
    assert status == 1
    assert out.splitlines() == [
        "a.md:3: empty: a.jpg: an empty alternative text",
        "a.md:4: poor (placeholder, too short): b.png: say what the picture shows; one word seldom says what matters; "
        "say what happens",
    ]
    assert err == "2 documents, 2 pictures reported\n"
    assert alt(".")[:2] == (1, out)  # without an option, it is a check
    assert alt("b.md") == (0, "", "1 document, 0 pictures reported\n")


def test_json_is_an_object_for_each_picture_that_is_reported(alt, folder):
    (folder / "a.md").write_text("![](a.jpg)\n![](none.jpg)\n")
    _, out, err = alt("a.md", "--json", "--check")
    assert err == ""
    assert rows(out) == [
        {"file": "a.md", "line": 1, "target": "a.jpg", "rule": "empty", "findings": [],
         "told": "an empty alternative text"},
        {"file": "a.md", "line": 2, "target": "none.jpg", "rule": "not_found", "findings": [],
         "told": "no picture there: no such file"},
    ]  # fmt: skip
    status, out, _ = alt("a.md", "--json", "--fix")
    assert status == 1  # one is left
    assert [row["written"] for row in rows(out)] == [True, False]
    assert rows(out)[0]["text"] == RED
    assert 0 < rows(out)[0]["confidence"] < 1
    assert alt("a.md", "--fix", "--json")[0] == 1
    (folder / "a.md").write_text("![](a.jpg)\n")
    assert alt("a.md", "--fix")[0] == 0


def test_a_dry_run_shows_a_diff_and_writes_nothing(alt, folder):
    before = b"a\r\n![](a.jpg)\r\nb"
    (folder / "a.md").write_bytes(before)
    status, out, _ = alt("a.md", "--dry-run")
    assert status == 1
    assert out.replace("\r", "") == (
        "--- a/a.md\n+++ b/a.md\n@@ -1,3 +1,3 @@\n a\n-![](a.jpg)\n"
        f"+![{RED}](a.jpg)\n b\n\\ No newline at end of file\n"
    )
    assert (folder / "a.md").read_bytes() == before
    assert rows(alt("a.md", "--fix", "--dry-run", "--json")[1])[0]["written"] is False
    assert (folder / "a.md").read_bytes() == before


def test_a_caption_of_low_confidence_is_not_written(alt, folder):
    (folder / "a.md").write_text("![](a.jpg)\n")
    status, out, _ = alt("a.md", "--fix", "--min-confidence", "0.99")
    assert status == 1
    assert "left: the caption 'A red barn stands.' has a confidence of 0.9" in out
    assert (folder / "a.md").read_text() == "![](a.jpg)\n"


def test_neutral_reports_gendered_words_and_leaves_them_to_people(alt, folder):
    (folder / "a.md").write_text("![A man rides a horse](a.jpg)\n")
    assert alt("a.md")[0] == 0
    status, out, _ = alt("a.md", "--neutral", "--fix")
    assert (status, out.partition(": ")[2][:15]) == (1, "poor (gendered)")
    assert (folder / "a.md").read_text() == "![A man rides a horse](a.jpg)\n"


def test_wrong_usage_and_paths_that_are_no_documents(alt, folder, wrong_usage):
    assert "did you mean '--fix'" in wrong_usage("alt", ".", "--fixx")
    assert "exclude each other" in wrong_usage("alt", ".", "--fix", "--check")
    assert "exclude each other" in wrong_usage("alt", ".", "--check", "--dry-run")
    assert "0 to 1" in wrong_usage("alt", ".", "--min-confidence", "2")
    status, _, err = alt("none.md", "notes.txt", "a.jpg")
    assert status == 1
    assert "none.md: no such file or folder" in err
    assert "notes.txt: no document that is read; allowed are .md" in err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX's")
def test_a_pipe_is_named_and_not_waited_for(alt, folder):
    os.mkfifo(folder / "pipe.md")
    status, _, err = alt("pipe.md")
    assert status == 1
    assert "pipe.md: no regular file" in err


def test_folders_of_other_people_and_hidden_ones_are_passed_over(alt, folder):
    for name in (".git", "node_modules", "deep/er", "deep"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "a.md").write_text("![](/a.jpg)\n")
    assert [row["file"] for row in rows(alt(".", "--json")[1])] == ["deep/a.md", "deep/er/a.md"]
    assert rows(alt(".", "--json", "--fix")[1])[0]["written"] is True


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_told(alt, folder):
    (folder / "locked").mkdir(mode=0)
    status, _, err = alt(".")
    (folder / "locked").chmod(0o700)
    assert (status, "locked: cannot be listed" in err) == (1, True)


def test_roots_are_where_addresses_with_a_slash_begin(alt, folder):
    (folder / "content").mkdir()
    (folder / "content" / "a.md").write_text("![](/c.jpg)\n")
    assert rows(alt("content", "--json")[1])[0]["rule"] == "not_found"
    assert rows(alt("content", "--json", "--root", "img")[1])[0]["rule"] == "empty"


def test_permissions_stay_and_links_are_followed(alt, folder):
    (folder / "a.md").write_text("![](a.jpg)\n")
    (folder / "a.md").chmod(0o640)
    (folder / "link.md").symlink_to("a.md")
    assert alt("link.md", "--fix")[0] == 0
    assert (folder / "link.md").is_symlink()
    assert (folder / "a.md").read_text() == f"![{RED}](a.jpg)\n"
    assert (folder / "a.md").stat().st_mode & 0o777 == 0o640


def test_a_read_only_document_is_left_and_named_and_the_others_are_done(alt, folder):
    for name in "ab":
        (folder / f"{name}.md").write_text("![](a.jpg)\n")
    (folder / "a.md").chmod(0o444)
    status, out, err = alt(".", "--fix")
    assert status == 1
    assert "a.md: read-only; left as it is" in err
    assert "written" not in out.partition("b.md")[0]
    assert (folder / "a.md").read_text() == "![](a.jpg)\n"
    assert (folder / "b.md").read_text() == f"![{RED}](a.jpg)\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "cp1252"])
def test_pages_keep_the_encoding_that_they_declare(alt, folder, encoding):
    page = f'<meta charset="{encoding}"><p>é</p>\n<img src="ä.jpg">'
    (folder / "a.html").write_bytes(page.encode(encoding))
    assert alt("a.html", "--fix")[0] == 0
    after = page.replace("<img", f'<img alt="{RED}"')
    assert (folder / "a.html").read_bytes() == after.encode(encoding)


def test_bytes_that_are_no_text_stay_and_a_false_declaration_is_told(alt, folder):
    (folder / "a.md").write_bytes(b"caf\xe9 ![](a.jpg)\xff\n")
    (folder / "b.html").write_bytes(b'<meta charset="utf-16-be"><img src=a.jpg>x')
    (folder / "c.html").write_bytes(b'<meta charset="klingon"><img src=a.jpg>')
    (folder / "d.md").write_bytes("![](a.jpg) and some more text".encode("utf-16-le"))
    status, _, err = alt(".", "--fix")
    assert status == 1
    assert (folder / "a.md").read_bytes() == b"caf\xe9 ![" + RED.encode() + b"](a.jpg)\xff\n"
    assert (folder / "b.html").read_bytes().endswith(b'stands." src=a.jpg>x')  # as browsers read it: in UTF-8
    assert "d.md: UTF-16 without a mark of its byte order" in err
    assert "c.html: not valid klingon, which it is stated to be" in err


def test_a_caption_that_does_not_fit_is_left_out_and_the_others_are_written(alt, folder):
    # The text above a poor macro wins over what stands in it, so a caption there would not be read.
    before = "image::a.jpg[]\n\n[alt=photo]\nimage::a.jpg[]\n\nimage::a.jpg[]\n"
    (folder / "a.adoc").write_text(before)
    status, out, _ = alt("a.adoc", "--fix", "--json")
    assert (status, [row["written"] for row in rows(out)]) == (1, [True, False, True])
    assert "captions would change more than alternative texts" in rows(out)[1]["told"]
    written = f"image::a.jpg[{RED}]"
    assert (folder / "a.adoc").read_text() == f"{written}\n\n[alt=photo]\nimage::a.jpg[]\n\n{written}\n"


HOSTILE = {
    "deep": "<div>" * 100_000 + "<img src=a.jpg>",
    "quotes": "<img src=a.jpg alt='" * 20_000,
    "brackets": "![" * 20_000,
    "nested": "[![](a.jpg)](" * 5_000,
    "templates": "<img {{ " * 20_000,
    "comments": "<!--" * 50_000,
    "questions": "<?" * 50_000,
    "spaces": "<img" + " " * 200_000,
    "colons": ":a: " * 20_000,
    "macros": "image:a[" * 20_000,
    "dollars": "$a" * 20_000,
    "ticks": "".join("`" * (n % 50) + " " for n in range(5_000)),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("ending", ["md", "html", "rst", "adoc"])
def test_broken_and_hostile_documents_end_soon(alt, folder, content, ending):
    (folder / f"a.{ending}").write_text(content)
    started = time.monotonic()
    alt(f"a.{ending}", "--json")
    assert time.monotonic() - started < 20


# Books


def book(path: Path, pages: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("mimetype"), "application/epub+zip")
        archive.writestr("META-INF/container.xml", "<container/>", zipfile.ZIP_DEFLATED)
        for name, content in pages.items():
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)
        archive.comment = b"a comment"


PAGE = (
    '<?xml version="1.0"?>\r\n<html xmlns="http://www.w3.org/1999/xhtml"><title/><script src="x"/>'
    "<body>{}</body></html>"
)


def test_a_book_is_mended_page_by_page_and_the_rest_of_its_archive_stays(alt, folder):
    picture = (folder / "a.jpg").read_bytes()
    missing = PAGE.format('<p>é</p>\r\n<img src="../img/a%20b.jpg"/><img alt="" src="../img/a%20b.jpg"/>').encode()
    other = PAGE.format("<p>text</p>").encode()
    pages = {"OEBPS/text/1.xhtml": missing, "OEBPS/img/a b.jpg": picture, "OEBPS/text/2.xhtml": other}
    book(folder / "a.epub", pages)
    before = (folder / "a.epub").read_bytes()
    [row] = rows(alt("a.epub", "--json")[1])
    place = (row["file"], row["member"], row["line"], row["target"], row["rule"])
    assert place == ("a.epub", "OEBPS/text/1.xhtml", 3, "../img/a%20b.jpg", "missing")
    assert alt("a.epub", "--fix")[0] == 0
    after = (folder / "a.epub").read_bytes()
    assert after[:100] == before[:100]  # the stored mimetype, and where it is
    with zipfile.ZipFile(folder / "a.epub") as archive:
        assert archive.testzip() is None
        assert archive.comment == b"a comment"
        assert archive.namelist() == ["mimetype", "META-INF/container.xml", *pages]
        content = {name: archive.read(name) for name in pages}
    assert content.pop("OEBPS/text/1.xhtml") == missing.replace(b'<img src="..', f'<img alt="{RED}" src="..'.encode())
    assert content == {name: pages[name] for name in content}
    assert alt("a.epub") == (0, "", "1 document, 0 pictures reported\n")


def test_a_page_that_cannot_be_read_stops_no_other_page_of_its_book(alt, folder):
    page = PAGE.format('<img src="a.jpg"/>').encode()
    false = page.replace(b'"1.0"', b'"1.0" encoding="klingon"')
    book(folder / "a.epub", {"1.xhtml": false, "2.xhtml": page, "a.jpg": (folder / "a.jpg").read_bytes()})
    status, out, _ = alt("a.epub", "--fix", "--json")
    failed, written = rows(out)
    assert status == 1
    assert (failed["member"], "not valid klingon" in failed["error"]) == ("1.xhtml", True)
    assert (written["member"], written["written"]) == ("2.xhtml", True)
    with zipfile.ZipFile(folder / "a.epub") as archive:
        assert archive.read("1.xhtml") == false


def test_books_that_cannot_be_rewritten_are_named_and_stay(alt, folder):
    page = {"1.xhtml": PAGE.format('<img src="a.jpg"/>').encode(), "a.jpg": (folder / "a.jpg").read_bytes()}
    book(folder / "signed.epub", page | {"META-INF/signatures.xml": b"<s/>"})
    (folder / "cut.epub").write_bytes((folder / "signed.epub").read_bytes()[:-100])
    damaged = bytearray((folder / "signed.epub").read_bytes())
    damaged[damaged.index(b"1.xhtml") + 10] ^= 255
    (folder / "damaged.epub").write_bytes(damaged)
    before = {path.name: path.read_bytes() for path in folder.glob("*.epub")}
    status, _, err = alt(".", "--fix")
    assert status == 1
    assert "signed.epub: left as it is: it is signed" in err
    assert "cut.epub: not an EPUB, or a damaged one" in err
    assert "damaged.epub: not an EPUB, or a damaged one" in err
    assert {path.name: path.read_bytes() for path in folder.glob("*.epub")} == before


# Long work


@pytest.mark.slow
def test_kills_lose_no_document_and_the_same_command_goes_on(tmp_path, tiny_bundle):
    pages = 60
    for number in range(pages):
        Image.new("RGB", (64 + number, 48), "red").save(tmp_path / f"{number}.jpg")
        (tmp_path / f"{number:02}.md").write_text(f"before\n\n![]({number}.jpg) after\n")
    line = [sys.executable, "-m", "fastcap", "alt", str(tmp_path), "--fix", "--model", str(tiny_bundle)]
    whole = {f"{number:02}.md": f"before\n\n![{RED}]({number}.jpg) after\n" for number in range(pages)}
    kills, written = 0, 0
    while written < pages:
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        goal = written + 9
        while process.poll() is None and written < goal:
            written = sum(RED in (tmp_path / name).read_text() for name in whole)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        for name, content in whole.items():
            assert (tmp_path / name).read_text() in (content, content.replace(RED, ""))
    assert {path.name: path.read_text() for path in tmp_path.glob("*.md")} == whole
    assert kills >= 3


def test_a_check_without_findings_is_cold_within_a_second_and_loads_no_model(folder):
    (folder / "a.md").write_text("![A red barn](a.jpg) `![](a.jpg)`\n")
    code = (
        "import sys; from fastcap.cli import main; status = main(['alt', sys.argv[1]])\n"
        "assert not {'numpy', 'onnxruntime', 'PIL', 'torch'} & set(sys.modules); sys.exit(status)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(fastcap.__file__).parents[1])}
    started = os.times()
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, env=environment, timeout=60)
    ended = os.times()  # of the processor: what else the machine does is no fault of ours
    assert ended.children_user + ended.children_system - started.children_user - started.children_system <= 1
