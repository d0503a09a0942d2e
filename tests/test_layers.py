"""Promises about structure: which part may import which, how long files and functions are, what weighs nothing, and
what never opens a socket."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import fastcap

PACKAGE = Path(fastcap.__file__).parent

# What each part may not know, itself and through its own imports at module level.
FORBIDDEN = {
    "runtime": {"torch", "transformers", "onnx", "fastcap.training", "fastcap.model", "fastcap.layers"},
    "runtime/contract": {"numpy", "onnxruntime", "tokenizers", "fastcap.generation", "fastcap.runtime.bundle"},
    "errors": {"torch", "numpy"},
    "layers": {"fastcap.model", "fastcap.config", "fastcap.training", "fastcap.runtime"},
    "scan": {"fastcap.model", "fastcap.config", "fastcap.training", "fastcap.runtime"},
    "config": {"fastcap.model", "fastcap.training", "fastcap.runtime"},
    "backbone": {"fastcap.decoder", "fastcap.config", "fastcap.model", "fastcap.training"},
    "decoder": {"fastcap.backbone", "fastcap.config", "fastcap.model", "fastcap.training"},
    "alignment": {"fastcap.backbone", "fastcap.decoder", "fastcap.config", "fastcap.model", "fastcap.training"},
    "losses": {"fastcap.backbone", "fastcap.decoder", "fastcap.config", "fastcap.model", "fastcap.training"},
    "model": {
        "fastcap.training",
        "fastcap.export",
        "fastcap.evaluation",
        "fastcap.data",
        "fastcap.release",
        "fastcap.cli",
    },
    "data": {"fastcap.training", "fastcap.export", "fastcap.evaluation", "fastcap.release", "fastcap.cli"},
    "curation": {"torch", "fastcap.training", "fastcap.model", "fastcap.export", "fastcap.release", "fastcap.cli"},
    "evaluation": {"fastcap.training", "fastcap.export", "fastcap.quantization", "fastcap.release", "fastcap.cli"},
    "training": {"fastcap.export", "fastcap.release", "fastcap.cli"},
    "export": {"fastcap.training", "fastcap.evaluation", "fastcap.quantization", "fastcap.release", "fastcap.cli"},
    "release": {"fastcap.training", "fastcap.compression", "fastcap.serve", "fastcap.cli"},
    "compression": {"fastcap.serve", "fastcap.cli"},
    "serve": {"torch", "transformers", "fastcap.training", "fastcap.model", "fastcap.evaluation", "fastcap.cli"},
    "documents": {"torch", "transformers", "fastcap.training", "fastcap.model", "fastcap.serve", "fastcap.cli"},
    "quantization": {"fastcap.training", "fastcap.export", "fastcap.evaluation", "fastcap.release", "fastcap.cli"},
}


def imported(path: Path) -> set[str]:
    """Names a file imports anywhere, but for those only a type checker reads."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


SOURCES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
"""Every module of the package, and its file."""

CORE = (
    "runtime/captioner.py",
    "layers.py",
    "model",
    "backbone/spatial_mamba.py",
    "scan.py",
    "decoder/attention.py",
    "decoder/caption_decoder.py",
    "decoder/moe_decoder.py",
    "generation/dlag.py",
    "generation/icmr.py",
    "export/packed.py",
    "losses",
)
"""The core in reading order, as README and docs/index.md print it."""

BESIDE = ("model/prefix.py", "model/frozen.py", "model/shrinking.py", "losses/clip.py", "losses/invariance.py")
"""Files of its folders that are another evening's: networks that others have trained, what is cut out of a
model, and versions of a picture."""

MAX_FILE, MAX_FUNCTION, MAX_CORE = 450, 80, 2370  # lines


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The nodes of a circle in the graph, the first one again at the end; empty where there is none."""
    done: set[str] = set()
    path: list[str] = []

    def visit(node: str) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        path.append(node)
        for target in sorted(graph[node]):
            if members := visit(target):
                return members
        path.pop()
        done.add(node)
        return []

    return next((members for node in sorted(graph) if (members := visit(node))), [])


def test_a_circle_of_imports_would_be_noticed():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_modules_import_one_another_in_a_circle():
    # An import inside a function counts: it only hides a circle.
    assert circle({name: imported(path) & SOURCES.keys() - {name} for name, path in SOURCES.items()}) == []


def test_no_packages_import_one_another_in_a_circle():
    graph: dict[str, set[str]] = {}
    for name, path in SOURCES.items():
        part = ".".join(name.split(".")[:2])
        targets = {".".join(target.split(".")[:2]) for target in imported(path) & SOURCES.keys()}
        graph.setdefault(part, set()).update(targets - {part, "fastcap"})
    assert circle(graph) == []


def test_files_and_functions_fit_on_the_reader_s_screen():
    long = []
    for path in SOURCES.values():
        text = path.read_text(encoding="utf-8")
        length = len(text.splitlines())
        long += [f"{path.relative_to(PACKAGE)}: {length} lines"] if length > MAX_FILE else []
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                long += [f"{path.relative_to(PACKAGE)}: {node.name}: {length} lines"] if length > MAX_FUNCTION else []
    assert long == []


def test_the_core_can_be_read_in_an_evening():
    files = [
        file for name in CORE for file in ([PACKAGE / name] if name.endswith(".py") else (PACKAGE / name).glob("*.py"))
    ]
    beside = [PACKAGE / name for name in BESIDE]
    lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files if file not in beside)
    assert lines <= MAX_CORE, f"the core has {lines} lines, allowed: {MAX_CORE}"


@pytest.mark.parametrize("document", ["README.md", "docs/index.md"])
def test_the_reading_order_is_the_core(document):
    text = (PACKAGE.parents[1] / document).read_text(encoding="utf-8")
    places = [text.find(f"`{name}`" if name.endswith(".py") else f"`{name}/`") for name in CORE]
    assert -1 not in places, f"{document} leaves out {[name for name, at in zip(CORE, places, strict=True) if at < 0]}"
    assert places == sorted(places), f"{document} names the core in another order"


@pytest.mark.parametrize("part", sorted(FORBIDDEN))
def test_imports_only_go_down(part):
    folder = PACKAGE / part
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    files = [file for file in files if file.exists()]
    for file in files:
        for name in imported(file):
            for forbidden in FORBIDDEN[part]:
                assert name != forbidden and not name.startswith(forbidden + "."), (
                    f"{file.relative_to(PACKAGE)} imports {name}; {part} may not know {forbidden}"
                )


def test_nothing_in_the_package_pickles():
    for file in PACKAGE.rglob("*.py"):
        assert not imported(file) & {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}, file


def test_no_module_takes_the_private_names_of_another():
    for file in PACKAGE.rglob("*.py"):
        private = [name for name in imported(file) if re.search(r"^fastcap\..*\._(?!_)", name)]
        assert not private, f"{file.relative_to(PACKAGE)} imports {private}"


def test_all_equals_what_imports():
    namespace: dict[str, object] = {}
    exec("from fastcap import *", namespace)
    namespace.pop("__builtins__")
    assert sorted(namespace) == sorted(fastcap.__all__) == dir(fastcap)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fastcap.nothing  # noqa: B018


def in_a_new_process(code: str, *arguments: object) -> str:
    line = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_nothing_heavy():
    heavy = ["torch", "onnxruntime", "numpy", "PIL", "tokenizers", "rich"]
    code = "import sys, json, fastcap; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(in_a_new_process(code)))
    assert not loaded & set(heavy)


CAPTION_WATCHED = """
import sys
def refuse_sockets(event, arguments):
    if event.startswith("socket."):
        raise RuntimeError(f"opened a socket: {event} {arguments}")
sys.addaudithook(refuse_sockets)
sys.modules["torch"] = None  # an import of torch would fail
from fastcap.cli import main
status = main(["caption", sys.argv[1], "--model", sys.argv[2]])
print(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])  # peak RSS, kB
sys.exit(status)
"""


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Path, Path]:
    """A picture and a model directory."""
    sys.path.insert(0, str(Path(__file__).parent / "runtime"))
    from tiny_bundle import write_tiny_bundle

    Image.new("RGB", (640, 480), "red").save(tmp_path / "red.jpg")
    return tmp_path / "red.jpg", write_tiny_bundle(tmp_path / "model")


@pytest.mark.skipif(sys.platform != "linux", reason="reads peak memory from /proc")
def test_captioning_opens_no_socket_and_imports_no_torch(tiny):
    caption, peak = in_a_new_process(CAPTION_WATCHED, *tiny).splitlines()
    assert caption == "A red barn stands."
    assert int(peak) / 1000 <= 130  # MB; the tiny model adds almost nothing, so this bounds the runtime itself


def test_the_watch_would_notice_a_socket():
    code = CAPTION_WATCHED.split("from fastcap.cli")[0] + "import socket; socket.socket()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "opened a socket" in done.stderr
