"""What the documentation says can be done: every command parses, every link and every named test exists."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

import fastcap
from fastcap import errors
from fastcap.cli import GROUPS, VERBS, _parser
from fastcap.config import recipes
from fastcap.errors import needs

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def fenced(language: str) -> Iterator[tuple[str, str]]:
    """(page, block) for every fenced block of a language."""
    for page in PAGES:
        for block in re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
            yield page_name(page), block


def commands() -> list[tuple[str, str]]:
    """(page, command) for every command of a shell block; a pipe joins two."""
    lines = [(page, line) for page, block in fenced("(?:bash|sh)") for line in block.replace("\\\n", "").splitlines()]
    return sorted({(page, command) for page, line in lines for command in split_line(line)})


def mentions() -> list[tuple[str, str]]:
    """(page, command) for every command in running text, where it may be cut short."""
    pattern = re.compile(r"`((?:fastcap|make|python|\.ci/run)(?: [^`\n]+)?)`")
    return sorted({(page_name(page), found) for page in PAGES for found in pattern.findall(page.read_text("utf-8"))})


def split_line(line: str) -> list[str]:
    """The commands of one line, without comments and redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;>")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|&;>"):
            found.append([word] if ">" in word else [])
        else:
            found[-1].append(word)
    return [shlex.join(words) for words in found if words and ">" not in words[0]]


def verb_of(command: list[str]) -> str:
    """The verb of a command line, of two words or one."""
    return next((name for name in (" ".join(command[1:3]), command[1]) if name in (*VERBS, *GROUPS)), "")


def of_program(found: list[tuple[str, str]], *programs: str) -> list[ParameterSet]:
    return [
        pytest.param(shlex.split(command), id=f"{page}: {command}")
        for page, command in found
        if command.split()[0] in programs
    ]


COMMANDS = commands()
MENTIONS = mentions()


def test_pipes_comments_and_redirections_are_no_arguments() -> None:
    line = "cat photo.jpg | fastcap caption - --json > 'a b.jsonl' && make test  # why"
    assert split_line(line) == ["cat photo.jpg", "fastcap caption - --json", "make test"]


def test_the_readme_shows_every_verb() -> None:
    shown = {verb_of(shlex.split(command)) for page, command in COMMANDS if command.startswith("fastcap ")}
    assert shown == set(VERBS)


@pytest.mark.parametrize("command", of_program(COMMANDS, "fastcap"))
def test_every_fastcap_command_parses(command: list[str]) -> None:
    verb = verb_of(command)
    assert verb in VERBS
    try:
        _parser(verb).parse_args(command[1 + len(verb.split()) :])
    except errors.ConfigError as error:
        pytest.fail(f"not accepted: {shlex.join(command)}: {error}")


@pytest.mark.parametrize("command", of_program(MENTIONS, "fastcap"))
def test_every_mentioned_option_exists(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    if command == ["fastcap"]:
        return
    verb = verb_of(command)
    assert verb
    with pytest.raises(SystemExit):
        _parser(verb).parse_args(["--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert {word for word in command if word.startswith("--")} <= options


@pytest.mark.parametrize("command", of_program(COMMANDS + MENTIONS, "make"))
def test_every_make_target_exists(command: list[str]) -> None:
    target = next(word for word in command[1:] if "=" not in word and not word.startswith("-"))
    assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("command", of_program(COMMANDS + MENTIONS, "python", ".ci/run"))
def test_every_script_exists(command: list[str]) -> None:
    script = command[0] if command[0] == ".ci/run" else command[1]
    if script == "-m":
        assert importlib.util.find_spec(command[2]), command[2]
    else:
        assert (ROOT / script).is_file()


@pytest.mark.parametrize("command", of_program(COMMANDS + MENTIONS, "fastcap", "python", "torchrun", "accelerate"))
def test_every_configuration_named_in_a_command_exists(command: list[str]) -> None:
    for word in command:
        if word.startswith("configs/"):
            assert (ROOT / word).is_file()
    if "--config" in command and "/" not in (recipe := command[command.index("--config") + 1]):
        assert recipe in recipes()


def test_nothing_installs_the_package_by_a_name_that_is_not_ours() -> None:
    """On the public index `fastcap` is another project; ours comes from a clone or a wheel."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    for name in done.stdout.decode().split("\0"):
        try:
            text = (ROOT / name).read_text("utf-8") if (ROOT / name).is_file() else ""
        except UnicodeDecodeError:
            continue
        assert not re.search(r"(?<!enhanced-)\bfastcap\[\w", text), f"{name}: extras of another project's package"
        for command in re.findall(r"\b(?:pipx?3?|uv) (?:pip )?(?:install|add)((?: [^\s`;&|#]+)+)", text):
            for word in command.split():
                assert not re.fullmatch(r"(enhanced[-_])?fastcap([\[=<>~!].*)?", word.strip("\"'")), (
                    f"{name}: {command}"
                )


def test_what_is_missing_is_installed_from_the_clone_or_from_the_wheel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    assert needs("torch", "train") == 'needs torch: pip install -e ".[train]"'
    monkeypatch.chdir(tmp_path)
    assert needs("torch", "train") == f'needs torch: pip install -e "{ROOT}[train]"'
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "site-packages" / "fastcap" / "errors.py"))
    wheel = f"enhanced_fastcap-{fastcap.__version__}-py3-none-any.whl"
    assert needs("torch", "train") == f'needs torch: pip install "{wheel}[train]"'


def test_every_extra_that_is_named_exists() -> None:
    listed = (ROOT / "pyproject.toml").read_text("utf-8").partition("[project.optional-dependencies]")[2]
    extras = set(re.findall(r"^(\w+) = \[", listed.partition("\n[")[0], re.MULTILINE))
    named = {
        extra.strip()
        for page in PAGES
        for group in re.findall(r"(?:\.\[|\.whl\[|the extra `)([\w, ]+)", page.read_text("utf-8"))
        for extra in group.split(",")
    }
    assert named
    assert named <= extras


@pytest.mark.parametrize(("page", "block"), list(fenced("python")))
def test_python_blocks_use_the_public_names(page: str, block: str) -> None:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "fastcap":
            assert node.attr in fastcap.__all__


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if not target.startswith(("http://", "https://", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_named_test_exists(page: Path) -> None:
    for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page.read_text("utf-8")):
        assert f"def {name}(" in (ROOT / path).read_text("utf-8") if name else (ROOT / path).is_file(), path


def test_the_reading_order_names_files_that_exist() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    section = readme.partition("## Reading the code")[2].partition("\n## ")[0]
    names = re.findall(r"`([\w/]+(?:\.py|/))`", section)
    assert len(names) >= 10
    for name in names:
        assert (ROOT / "src" / "fastcap" / name).exists(), name
