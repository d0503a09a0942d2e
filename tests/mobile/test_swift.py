"""The iOS app where there is a Swift compiler, and its syntax where there is none.

A compiler of Swift is on a Mac; elsewhere the sources are parsed by tree-sitter, which the `dev` extra has. Without
either, these tests skip and say so.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
IOS, KOTLIN = ROOT / "mobile" / "ios", ROOT / "mobile" / "android" / "src" / "main" / "kotlin" / "fastcap" / "mobile"
CORE = IOS / "Core" / "Sources" / "FastcapCore"


def faults(source: bytes) -> list[str]:
    """What is no Swift, by line."""
    parser = pytest.importorskip("tree_sitter", reason="needs pip install tree-sitter")
    swift = pytest.importorskip("tree_sitter_swift", reason="needs pip install tree-sitter-swift")

    def walk(node: Any) -> Iterator[str]:
        if node.type == "ERROR" or node.is_missing:
            yield f"line {node.start_point[0] + 1}: {source[node.start_byte : node.end_byte][:80].decode()}"
        for child in node.children:
            yield from walk(child)

    return list(walk(parser.Parser(parser.Language(swift.language())).parse(source).root_node))


@pytest.mark.parametrize("path", sorted(IOS.rglob("*.swift")), ids=lambda path: path.name)
def test_a_source_is_swift(path: Path) -> None:
    assert faults(path.read_bytes()) == []


def test_what_is_no_swift_is_noticed() -> None:
    source = (CORE / "Pixels.swift").read_bytes()
    assert faults(source.replace(b"-> [UInt8] {", b"-> [UInt8 {", 1))


@pytest.mark.slow
def test_the_app_s_own_tests_pass() -> None:
    if platform.system() != "Darwin" or shutil.which("swift") is None:
        pytest.skip("no Swift compiler with Apple's frameworks; on a Mac: swift test --package-path mobile/ios/Core")
    done = subprocess.run(["swift", "test", "--package-path", str(IOS / "Core")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["Tokenizer", "Captioner"])
def test_both_apps_state_the_same_names_and_patterns(name: str) -> None:
    """Nobody here can run the Swift sources, so what Kotlin runs and they only state must not drift apart."""
    swift, kotlin = (path.read_text("utf-8") for path in (CORE / f"{name}.swift", KOTLIN / f"{name}.kt"))

    def stated(source: str) -> set[str]:
        texts = re.findall(r'"((?:[^"\\\n]|\\.)+)"', re.sub(r"//.*|^import.*", "", source, flags=re.MULTILINE))
        return {text for text in texts if re.fullmatch(r"[a-z]+(_[a-z0-9]+)+|[a-z]+\.(onnx|json)|.*\\\\[psS].*", text)}

    # Swift decodes some keys of the manifest by names of properties.
    words = set(re.findall(r"\w+", swift))
    assert {text for text in stated(kotlin) if text not in words} - stated(swift) == set()
    assert stated(swift) - stated(kotlin) == set()
