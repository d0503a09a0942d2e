"""What `mkdocs build` does to make the site: pages of the repository's root join those of docs/, and the web page is
copied into it with its model, so that the demo runs there.

MkDocs calls the functions by their names (`hooks` in mkdocs.yml). Links to what the site does not have, such as source
files, become their text.
"""

from __future__ import annotations

import posixpath
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parent.parent
# MkDocs would take a README.md for the index.
ROOT_PAGES = {"README.md": "overview.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
RESULTS = "benchmarks/results"
DEMO = """# The demo

Nothing that you drop here leaves your device: the model runs in this page.

<iframe src="demo/index.html" title="fastcap's demo" allow="camera" style="width:100%;height:44rem;border:0"></iframe>

<a href="demo/index.html" target="_blank">The demo by itself</a>. In a clone: `fastcap demo --open`. More: [its
page](web.md).
"""

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the demo's page, those of the root, and the results that pages link to."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "demo.md", content=DEMO))
    for name, uri in ROOT_PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / name).read_text(encoding="utf-8")))
    for path in sorted((ROOT / RESULTS).glob("*.*")):
        files.append(File.generated(config, f"{RESULTS}/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead links to where things are in the site."""
    return relinked(markdown, page.file.src_uri, {file.src_uri for file in files})


def relinked(markdown: str, source: str, there: set[str]) -> str:
    """A page whose links fit the site. `source` and `there`: as MkDocs calls pages, with docs/ left out."""
    folder = "" if source in (*ROOT_PAGES.values(), "demo.md") else "docs"

    def link(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        path, hash_, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return match[0]
        in_repository = posixpath.normpath(posixpath.join(folder, posixpath.dirname(source), path))
        uri = ROOT_PAGES.get(in_repository, in_repository.removeprefix("docs/"))
        if uri not in there:
            return text
        path = posixpath.relpath(uri, posixpath.dirname(source) or ".")
        return f"{mark}[{text}]({path}{hash_}{anchor})"

    parts = re.split(r"(^```.*?^```|`[^`\n]*`)", markdown, flags=re.DOTALL | re.MULTILINE)  # code stays
    return "".join(part if place % 2 else _LINK.sub(link, part) for place, part in enumerate(parts))


def on_post_build(config: Any) -> None:
    """Copy the web page and the bundled model."""
    from fastcap.runtime.bundle import Bundle, find_model
    from fastcap.serve.page import WebPage

    for address, file in WebPage(Bundle.open(find_model("fastcap-base"))).files.items():
        target = Path(config["site_dir"]) / "demo" / address
        if address:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
