"""Every shell and Python block of the documentation is run, or stands below with the reason why it is not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastcap
from fastcap.errors import FastcapError
from snippets import fill
from test_docs import PAGES, page_name

ROOT = Path(__file__).parents[1]
LANGUAGES = ("bash", "sh", "console", "python")
SECONDS = 240  # of a block

NOT_RUN = {
    r"python -m venv|litert/bin/": "makes an environment; tests/export/test_runtimes.py",
    r"(pip|git clone|source|pyinstaller)\b": "changes the environment; tests/test_wheel.py, tests/test_applications.py",
    r"(make|\.ci/run)\b": "sets up environments; that targets exist: tests/test_docs.py",
    r"fastcap (serve|demo|gradio)\b|curl |python scripts/server\.py": "runs until stopped; tests/serve, tests/web",
    r"fastcap train (?!--list)|torchrun|accelerate|python scripts/train\w*\.py": "trains; tests/training",
    r"fastcap download (?!--list)": "asks the package index; tests/test_parts.py",
    r"fastcap (export|adapters|build|explain)\b": "needs a trained checkpoint; tests/export, tests/training",
    r"fastcap compress|python scripts/optimize_model": "needs a trained checkpoint; tests/export/test_compress.py",
    r"fastcap (caption|evaluate) .*--model runs/": "needs a trained checkpoint; tests/training",
    r"fastcap (compare fastcap-base|caption photo\.jpg --model) models/distilvit": "needs frozen parts; tests/export",
    r"fastcap checkpoint": "needs the extra export; tests/export/test_weights.py",
    r"fastcap convert|python scripts/convert_to_mobile\.py": "needs converters; tests/export/test_converters.py",
    r"python scripts/fit_exits\.py": "needs a trained checkpoint; tests/model/test_multiscale.py",
    r"fastcap ask": "needs a trained model that answers; tests/export/test_asking.py",
    r"fastcap bench|python benchmarks/": "measures for minutes; tests/benchmarks",
    r"python scripts/kinds\.py": "makes pictures for minutes; tests/benchmarks/test_kinds.py",
    r"fastcap data bias": "needs pictures of twenty women and men; tests/curation/test_measures.py",
    r".*--engine ray": "needs a cluster; tests/runtime/test_cluster.py",
    r".*--endpoint http": "needs an endpoint; tests/curation/test_rewrite.py",
    r"fastcap data questions .*data/coco": "needs COCO; tests/curation/test_questions.py",
    r"fastcap evaluate --task vqa": "needs a trained model that answers; tests/evaluation/test_vqa.py",
    r"python scripts/committee\.py": "needs trained voices; tests/training/test_committee.py",
    r"fastcap data merge coco ": "asks the hub; tests/curation/test_merge.py",
    r"fastcap data report data/flickr8k --out report --split val.*--plot": "needs matplotlib; tests/curation",
}
"""Commands that are not run, by how they begin, and why; the tests that are named run what they say."""

PYTHON_NOT_RUN = {
    "docs/phones.md": "needs a converter; tests/export/test_runtimes.py",
    "docs/fastvlm.md": "needs a trained model that answers; tests/export/test_asking.py",
    "docs/quantization.md": "needs a trained checkpoint; tests/export/test_release.py",
    "docs/transformers_js.md": "needs a converted model; tests/web/test_transformers_js.py",
    "docs/compression.md": "needs a trained checkpoint; tests/export/test_compress.py, tests/model/test_pruning.py",
    "docs/server.md": "needs a server; tests/serve/test_compat.py",
}

PRELUDES = {
    "docs/applications.md": "import fastcap\npaths = ['photo.jpg']\nif __name__ == '__main__':\n",
    # The pictures that prompts were drawn to.
    "docs/fighting_bias.md": (
        "import json, pathlib\nfrom PIL import Image\npathlib.Path('drawn/images').mkdir(exist_ok=True)\n"
        "for row in map(json.loads, pathlib.Path('drawn/synthetic_prompts.jsonl').open()):\n"
        "    Image.new('RGB', (64, 64)).save(pathlib.Path('drawn') / row['image'])\n"
    ),
    "docs/autoregressive.md": "import fastcap\ncaptioner = fastcap.load_model()\n",
}
"""What the page's text says before the block. One that ends with a colon takes the block into it."""

STATUS = {r"fastcap (lint|alt (?!.*--fix)|alt .*--min-confidence)": {0, 1}, r"fastcap data report .*--fail-on": {0, 1}}
"""Commands whose exit status says what they found."""


def blocks() -> dict[str, list[tuple[str, str]]]:
    """(language, text) of the blocks of each page that has some."""
    pattern = rf"^```({'|'.join(LANGUAGES)})\n(.*?)^```"
    found = {page_name(page): re.findall(pattern, page.read_text("utf-8"), re.DOTALL | re.MULTILINE) for page in PAGES}
    return {page: of for page, of in found.items() if of}


def lines(text: str) -> Iterator[str]:
    """Command lines without their comments; a backslash joins two."""
    for line in text.replace("\\\n", "").splitlines():
        command = re.sub(r"\s+#\s.*$", "", line).strip()
        if command and not command.startswith("#"):
            yield command


def reason(command: str) -> str | None:
    return next((why for start, why in NOT_RUN.items() if re.match(start, command)), None)


BLOCKS = blocks()


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("snippets") / "ready"
    folder.mkdir()
    fill(folder)
    return folder


@pytest.fixture
def sandbox(ready: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    def copied(source: str, target: str) -> object:  # models are large, and nothing writes into them
        return (os.link if source.endswith(".onnx") else shutil.copy2)(source, target)

    shutil.copytree(ready, tmp_path / "here", copy_function=copied)
    if "bulk.md" in request.node.name:  # its jobs make these
        for name in ("captions.jsonl", "captions.csv"):
            (tmp_path / "here" / name).unlink()
    for name in ("src", "configs"):  # of the repository, where a page says to stand in it
        (tmp_path / "here" / name).symlink_to(ROOT / name)
    return tmp_path / "here"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The commands `fastcap` and `python` are those that run the tests."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, start in (("fastcap", "-m fastcap"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {start} "$@"\n')
        (programs / name).chmod(0o755)
    source = str(Path(fastcap.__file__).parents[1])
    return os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": source}


def run(command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.parametrize("page", BLOCKS)
def test_a_page_s_snippets_run_in_their_order(page: str, sandbox: Path, environment: dict[str, str]) -> None:
    for language, text in BLOCKS[page]:
        if language == "python":
            if page not in PYTHON_NOT_RUN:
                _python(page, text, sandbox, environment)
        elif language == "console":
            _session(text, sandbox, environment)
        else:
            for command in lines(text):
                if not reason(command):
                    done = run(["bash", "-o", "pipefail", "-c", command], sandbox, environment)
                    allowed = next((s for start, s in STATUS.items() if re.match(start, command)), {0})
                    assert done.returncode in allowed, f"{command}\n{done.stderr}"


def _python(page: str, text: str, sandbox: Path, environment: dict[str, str]) -> None:
    prelude = PRELUDES.get(page, "")
    if prelude.endswith(":\n"):
        text = "".join(f"    {line}\n" for line in text.splitlines())
    (sandbox / "snippet.py").write_text(prelude + text, encoding="utf-8")
    done = run([sys.executable, "snippet.py"], sandbox, environment)
    assert done.returncode == 0, f"{page}\n{text}\n{done.stderr}"


def _session(text: str, sandbox: Path, environment: dict[str, str]) -> None:
    """Commands after `$ `, and what they print; `...` stands for anything."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        done = run(["bash", "-c", command], sandbox, environment)
        pattern = ".*".join(map(re.escape, expected.rstrip().split("...")))
        said = (done.stdout + done.stderr).rstrip()
        assert re.fullmatch(pattern, said, re.DOTALL), f"$ {command}\n{said}\nexpected:\n{expected}"


def test_every_reason_not_to_run_is_that_of_a_command() -> None:
    commands = {line for of in BLOCKS.values() for kind, text in of if kind in ("bash", "sh") for line in lines(text)}
    assert [start for start in NOT_RUN if not any(re.match(start, command) for command in commands)] == []
    assert [page for page in PYTHON_NOT_RUN if "python" not in dict(BLOCKS[page])] == []


def test_tests_that_reasons_name_exist() -> None:
    for why in (*NOT_RUN.values(), *PYTHON_NOT_RUN.values()):
        for path in re.findall(r"tests/[\w/]+(?:\.py)?", why):
            assert (ROOT / path).exists(), path


def test_most_commands_are_run() -> None:
    """Reasons are exceptions: what a visitor types first is run."""
    first = [line for kind, text in BLOCKS["README.md"] if kind == "bash" for line in lines(text)]
    run_here = [line for line in first if not reason(line)]
    assert len(run_here) >= 15


# --- a page for each error -----------------------------------------------------------------------------------


def errors_of(base: type[FastcapError]) -> Iterator[type[FastcapError]]:
    yield base
    for each in base.__subclasses__():
        yield from errors_of(each)


def test_every_error_has_a_page_that_the_index_names() -> None:
    import fastcap.serve.address
    import fastcap.serve.fetch
    import fastcap.serve.page  # noqa: F401

    index = (ROOT / "docs/errors/index.md").read_text("utf-8")
    names = {each.__name__ for each in errors_of(FastcapError) if each.__module__.startswith("fastcap.")}
    pages = {}
    for name in names:
        file = re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower() + ".md"
        pages[file] = f"[{name}]({file})"
        assert (ROOT / "docs/errors" / file).read_text("utf-8").startswith(f"# {name}\n"), file
        assert pages[file] in index
    assert {path.name for path in (ROOT / "docs/errors").glob("*.md")} == {*pages, "index.md"}
