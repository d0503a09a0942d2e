"""What somebody who has just installed the package types: no words, wrong words, and a request for help."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from fastcap.cli import VERBS, _parser, main
from fastcap.cli.parser import Number
from fastcap.errors import ConfigError, needs

ROOT = Path(__file__).parents[2]


def command(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    line = [sys.executable, "-m", "fastcap", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, **options)


def helped(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a request for help shows."""
    with pytest.raises(SystemExit, match=r"^0$"):
        main(words)
    shown = capsys.readouterr()
    assert shown.err == ""
    return shown.out


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with one photo."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (80, 60), "red").save("photo.jpg")
    return tmp_path


# Nothing, and wrong words


def test_the_bare_command_lists_the_verbs_and_is_no_success(capsys):
    """Status 2, on stderr: a script whose variable is empty must not go on as if something had been captioned."""
    with pytest.raises(SystemExit, match=r"^2$"):
        main([])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == helped(capsys, "--help")
    for verb, (summary, *_) in VERBS.items():
        assert f"  {verb:13} {summary}\n" in shown.err


MISUSES = [
    ("captoin", "unknown verb 'captoin' (did you mean 'caption'?); allowed are caption, learn, lint, ", ""),
    ("Caption photo.jpg", "unknown verb 'Caption' (did you mean 'caption'?)", ""),
    ("version", "unknown verb 'version' (did you mean '--version'?)", ""),
    ("photo.jpg", "unknown verb 'photo.jpg' (did you mean fastcap caption photo.jpg?)", ""),
    ("''", "unknown verb ''; allowed are caption, learn, lint, ", ""),
    ("help captoin", "unknown verb 'captoin' (did you mean 'caption'?)", ""),
    ("--json caption photo.jpg", "'--json' stands before the verb; options follow it: fastcap caption --json", ""),
    ("--verbose", "unknown option '--verbose' (did you mean '--version'?)", ""),
    ("-x", "unknown option '-x'; allowed are --help, --version", ""),
    ("data reprot", "unknown verb 'data reprot' (did you mean 'data report'?); allowed are data ", "data"),
    ("data --zzz", "unknown option '--zzz'; allowed are --help", "data"),
    # an option that does not exist
    ("caption --lenght short", "unknown option '--lenght' (did you mean '--length'?)", "caption"),
    ("caption photo.jpg --lenght=short", "unknown option '--lenght' (did you mean '--length'?)", "caption"),
    ("caption photo.jpg --zzz", "unknown option '--zzz'; allowed are --beams, --candidates, ", "caption"),
    ("caption photo.jpg -o x.jsonl", "unknown option '-o'", "caption"),
    ("caption -photo.jpg", "unknown option '-photo.jpg'; for the file of that name write './-photo.jpg'", "caption"),
    ("export --modle a --out b --root c", "unknown option '--modle' (did you mean '--model'?)", "export"),
    ("serve --prot 8000", "unknown option '--prot' (did you mean '--port'?)", "serve"),
    # an argument that is missing
    ("caption", "PATH is missing: image file, folder, glob pattern, or - for stdin", "caption"),
    ("lint", "TEXT is missing: alternative text, or - for one a line on stdin", "lint"),
    ("score photo.jpg", "TEXT is missing: text to compare with the picture", "score"),
    ("export --model a --out b", "--root is missing: DIR, folder of the data set", "export"),
    ("explain photo.jpg --model a", "--out is missing: FILE.png, picture to write", "explain"),
    ("checkpoint", "--out is missing: DIR, checkpoint directory to write", "checkpoint"),
    ("convert --platform ios", "--out is missing: DIR, folder to write into", "convert"),
    ("convert --out a", "nothing to convert to; needed: --platform (ios, android", "convert"),
    ("evaluate", "--dataset is missing: NAME|FILE, a known data set", "evaluate"),
    ("train", "--config or --list is missing; needed is one of them", "train"),
    # a value that is missing, of another kind or out of its range
    ("caption photo.jpg --length", "--length needs a value: short|normal|long|N, length of the caption", "caption"),
    ("serve --port --host ::", "--port needs a value: N, port to listen on", "serve"),
    ("caption photo.jpg --threads two", "--threads: got 'two'; allowed are whole numbers from 1 to 64", "caption"),
    ("caption photo.jpg --beams 1.5", "--beams: got '1.5'; allowed are whole numbers from 1 to 8", "caption"),
    ("caption a --temperature hot", "--temperature: got 'hot'; allowed are numbers from 0.01 to 100.0", "caption"),
    ("caption a --top-p nan", "--top-p: got 'nan'; allowed are numbers from 0.01 to 1.0", "caption"),
    ("caption a --seed -1", "--seed: got '-1'; allowed are whole numbers from 0 to 4294967295", "caption"),
    ("caption a --candidates ''", "--candidates: got ''; allowed are whole numbers", "caption"),
    ("demo --port 99999", "--port: got '99999'; allowed are whole numbers from 0 to 65535", "demo"),
    (f"gradio --port {'9' * 5000}", "allowed are whole numbers from 0 to 65535", "gradio"),
    ("bench --repeats 0", "--repeats: got '0'; allowed are whole numbers from 1 to 10000", "bench"),
    ("evaluate --dataset a.csv --limit 0", "--limit: got '0'; allowed are whole numbers of 1 or more", "evaluate"),
    ("export --limit 3", "--limit: got '3'; allowed are whole numbers of 4 or more", "export"),
    ("export --max-loss little", "--max-loss: got 'little'; allowed are numbers", "export"),
    # a text that is none of those allowed
    ("caption a --sidecar tx", "--sidecar: got 'tx' (did you mean 'txt'?); allowed are txt, json, xmp", "caption"),
    ("caption a --engine spark", "--engine: got 'spark'; allowed are local, ray", "caption"),
    ("download --from hubb", "--from: got 'hubb' (did you mean 'hub'?); allowed are local, hub, index", "download"),
    ("convert --platform IOS --out a", "--platform: got 'IOS'", "convert"),
    ("convert --platform xbox --out a", "--platform: got 'xbox'; allowed are ios, android", "convert"),
    ("export --precision int4", "got 'int4' (did you mean 'int8'?); allowed are int8, fp16, fp32", "export"),
    ("caption photo.jpg --length shrot", "did you mean 'short'?); allowed are short, normal, long or", "caption"),
    ("caption photo.jpg --decode baem", "(did you mean 'beam'?); allowed are parallel, greedy, beam", "caption"),
    ("caption photo.jpg --model fastcap-bsae", "(did you mean 'fastcap-base'?); bundled are: fastcap-base", "caption"),
    ("download siglip-bsae", "unknown part 'siglip-bsae' (did you mean 'siglip-base'?); allowed: ", "download"),
    ("train --config fintune", "no recipe 'fintune' (did you mean 'finetune'?)", "train"),
    ("train --config pretrain data.rot=x", "unknown setting 'data.rot' (did you mean 'root'?)", "train"),
    ("evaluate --dataset flikr8k --root .", "unknown data set 'flikr8k' (did you mean 'flickr8k'?)", "evaluate"),
    # too much
    (
        "caption a --sidecar txt --overwrite --skip-existing",
        "--skip-existing and --overwrite exclude each other",
        "caption",
    ),
    ("train --config pretrain --list", "--list and --config exclude each other; allowed is one of them", "train"),
    ("caption photo.jpg --json=yes", "--json takes no value; got 'yes'", "caption"),
    ("models fastcap-base", "'fastcap-base' is one argument too many; allowed: no arguments, only options", "models"),
    ("download a b", "'b' is one argument too many; allowed: NAME", "download"),
    ("explain a b --model c --out d", "'b' is one argument too many; allowed: IMAGE", "explain"),
]


@pytest.mark.parametrize(("line", "reason", "verb"), MISUSES, ids=[line[:60] for line, _, _ in MISUSES])
def test_a_misuse_is_one_line_that_says_where_help_is(line, reason, verb, folder, wrong_usage):
    (folder / "-photo.jpg").touch()
    said = wrong_usage(*shlex.split(line))
    assert said.startswith("fastcap: error: ")
    assert said.count("\n") == 1 and said.endswith(f"; see '{' '.join(['fastcap', verb]).strip()} --help'\n")
    assert reason in said


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("line", ["--hepl", "--zzz", "a b c d --zzz=1", "-z", "a --help=x"])
def test_every_verb_refuses_in_one_line(verb, line, wrong_usage):
    said = wrong_usage(*verb.split(), *line.split())
    assert said.count("\n") == 1 and said.endswith(f"; see 'fastcap {verb} --help'\n")


@pytest.mark.parametrize("verb", ["export --out b --root .", "explain photo.jpg --out b.png"])
def test_a_model_in_place_of_a_checkpoint_is_told_how_to_make_one(verb, folder, capsys):
    for model in ("fastcap-base", str(ROOT / "src/fastcap/bundled/fastcap-base")):
        assert main([*verb.split(), "--model", model]) == 1
        made = f"'fastcap checkpoint --model {model} --out DIR'"
        said = f"fastcap: error: {model} is an exported model; needed: a checkpoint directory, such as {made} writes\n"
        assert capsys.readouterr().err == said


UNKNOWN = [
    "caption photo.jpg --model nope",
    "score photo.jpg dog --model nope",
    "bench --model nope",
    "checkpoint --model nope --out made",
    "export --model nope --out made --root .",
    "explain photo.jpg --model nope --out a.png",
    "evaluate --dataset nope",
    "evaluate --dataset flickr8k --root . --model nope",
    "train --config nope",
    "download nope",
    "serve --model nope",
    "gradio --model nope",
    "caption photo.jpg --decode nope",
]


@pytest.mark.parametrize("line", UNKNOWN)
def test_a_name_of_nothing_is_wrong_usage_in_every_verb(line, folder, wrong_usage):
    assert "nope" in wrong_usage(*line.split())
    assert not (folder / "made").exists()


@pytest.mark.parametrize("model", ["./nope", "a/nope", "../nope"])
@pytest.mark.parametrize("line", UNKNOWN[:6])
def test_a_path_of_no_model_is_a_failure_in_every_verb(line, model, folder, capsys):
    assert main(line.replace("nope", model).split()) == 1
    assert f"{model}: no such folder; " in capsys.readouterr().err


def test_an_empty_name_is_no_folder(folder, capsys):
    assert main(["caption", "", "photo.jpg"]) == 1
    shown = capsys.readouterr()
    assert shown.err == "fastcap: error: '': an empty name; allowed: image file, folder, glob pattern, or - for stdin\n"
    assert shown.out.startswith("photo.jpg\t")


def test_nobody_waits_for_a_picture_that_is_typed(folder, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=SimpleNamespace(isatty=lambda: True)))
    assert main(["caption", "-"]) == 1
    assert "standard input is a terminal; pipe a picture into it: fastcap caption - < " in capsys.readouterr().err


def test_a_line_break_in_a_name_makes_no_second_line(folder, capsys):
    assert main(["caption", "a\nb.jpg"]) == 1
    assert capsys.readouterr().err == "fastcap: error: a\\nb.jpg: no such file\n"


@pytest.mark.parametrize(
    "line",
    [
        "caption a.jpg --length short b.jpg --json c.jpg",
        "caption --json a.jpg b.jpg c.jpg",
        "caption --json -- a.jpg b.jpg c.jpg",
        "caption a.jpg b.jpg c.jpg --json",
    ],
)
def test_options_may_stand_before_between_and_after_arguments(line):
    args = _parser("caption").parse_args(line.split()[1:])
    assert (args.paths, args.json) == (["a.jpg", "b.jpg", "c.jpg"], True)


@pytest.mark.parametrize("words", [["-5"], ["-.5"], ["--", "--json"], ["-"], ["- a dog"], ["--", "-x"]])
def test_texts_that_begin_with_a_dash_are_texts(words):
    assert _parser("lint").parse_args(words).texts == words[-1:]


def test_settings_of_a_recipe_may_stand_among_options():
    args = _parser("train").parse_args(["a.b=1", "--config", "pretrain", "c=2", "--accept-changes", "d=-3"])
    assert (args.config, args.overrides) == ("pretrain", ["a.b=1", "c=2", "d=-3"])


# Help


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["help"], "usage: fastcap VERB"),
        (["-h"], "usage: fastcap VERB"),
        (["help", "score"], "usage: fastcap score "),
        (["--help", "score"], "usage: fastcap score "),
        (["score", "-h"], "usage: fastcap score "),
        (["data", "--help"], "usage: fastcap data VERB"),
        (["help", "data", "report"], "usage: fastcap data report "),
        (["score", "photo.jpg", "--help"], "usage: fastcap score "),
    ],
)
def test_help_is_where_people_look_for_it(words, shown, capsys):
    assert helped(capsys, *words).startswith(shown)


def actions(verb: str) -> Iterator[argparse.Action]:
    """The options and arguments of a verb that take a value."""
    return (action for action in _parser(verb)._actions if action.nargs != 0)


def told(verb: str, action: argparse.Action) -> str:
    return _parser(verb)._get_formatter()._expand_help(action)


VALUES = [pytest.param(verb, action, id=f"{verb} {action.dest}") for verb in VERBS for action in actions(verb)]


@pytest.mark.parametrize(("verb", "action"), VALUES)
def test_help_says_what_each_value_is_and_its_default(verb, action):
    text = told(verb, action)
    assert action.metavar and re.match(r"\w", text)
    if action.option_strings:
        assert re.search(r"\((\d[^()]*; )?(default: [^()]+|required)\)$", text), text
        assert text.count("default: ") + text.count("(required)") == 1
    if isinstance(action.type, Number) and action.type.span:
        assert f"({action.type.span}; default: " in text
    elif isinstance(action.type, Number):
        assert "within the model's limits" in text or "CIDEr points (x 100)" in text


@pytest.mark.parametrize(("verb", "action"), VALUES)
def test_values_are_refused_in_our_words(verb, action):
    """A type of Python's own would say "invalid int value"."""
    assert isinstance(action.type, Number) or action.type in (None, str, Path) or action.type.__module__ in (
        "fastcap.cli.parser", "fastcap.cli.options"
    )  # fmt: skip
    assert action.choices is None


@pytest.mark.parametrize(("verb", "action"), VALUES)
def test_a_default_is_a_value_that_the_option_takes(verb, action):
    if isinstance(action.type, Number) and isinstance(action.default, int | float):
        assert action.type(str(action.default)) == action.default


@pytest.mark.parametrize("verb", VERBS)
def test_help_ends_with_an_example_that_works(verb, capsys):
    shown = helped(capsys, *verb.split(), "--help")
    heading, line = shown.rstrip("\n").rsplit("\n", 1)
    assert heading.endswith("\nexample:") and line.startswith(f"  fastcap {verb}")
    assert line.strip() == VERBS[verb].example
    _parser(verb).parse_args(shlex.split(line)[1 + len(verb.split()) :])


@pytest.mark.parametrize("columns", ["20", "40", "80", "200"])
@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_fits_the_terminal(verb, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    lines = helped(capsys, *verb.split(), "--help").splitlines()
    for line in lines if int(columns) >= 80 else ():
        assert len(line) <= int(columns), line
    assert not [line for line in lines if line.endswith("fastcap-")]  # no name is torn


@pytest.mark.parametrize("words", [["--help"], ["caption", "--help"], ["--version"], ["train", "--list"]])
def test_a_reader_that_leaves_ends_help_quietly(words):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        [sys.executable, "-m", "fastcap", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1


# Lists


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("m", {}),
        ("fastcap-base", {"cider": 50.85}),
        ("a-" * 60 + "model", {"cider": 50.85}),
        ("m", {f"a_rather_long_name_of_a_metric_{index}": index / 7 for index in range(20)}),
        ("m", {"milliseconds": {"on a machine of some kind": {"p50": 1.5, "p95": 2e-7}}, "command": "x" * 200}),
        ("ümläut-模型", {"x" * 100: 1}),
    ],
)
@pytest.mark.parametrize("columns", ["60", "80", "120", None])
def test_models_fit_the_terminal_and_80_columns_where_there_is_none(name, figures, columns, capsys, monkeypatch):
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    else:
        monkeypatch.delenv("COLUMNS", raising=False)
    facts = {"name": name, "bytes": 10_400_000, "licence": "Apache-2.0", "description": "Everyday photos. " * 9}
    bundle = SimpleNamespace(**facts, quality=figures, speed={})
    monkeypatch.setattr("fastcap.cli.models.available_models", lambda: [name])
    monkeypatch.setattr("fastcap.cli.models.find_model", lambda _: None)
    monkeypatch.setattr("fastcap.cli.models.Bundle", SimpleNamespace(open=lambda _: bundle))
    assert main(["models"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= int(columns or 80)
    assert "speed: not stated" in shown and "\xa0" not in shown
    for key, value in figures.items():
        assert not isinstance(value, float) or f"{key} {value:g}" in shown  # a name and its value stand in one line


@pytest.mark.parametrize("words", [["train", "--list"], ["download", "--list"], ["download"], ["models"]])
def test_lists_fit_80_columns(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines and max(map(len, lines)) <= 80


# Extras


BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
from fastcap.cli import main
sys.exit(main({words!r}))
"""
EXTRAS = ("torch", "onnx", "fastapi", "uvicorn", "starlette", "gradio", "yaml",  "psutil", "transformers",
          "matplotlib", "safetensors", "huggingface_hub", "pydantic", "multipart", "python_multipart")  # fmt: skip


def bare(*words: str, without: tuple[str, ...] = EXTRAS) -> subprocess.CompletedProcess[str]:
    """The command where some packages, by default all but the runtime's, are not installed."""
    code = BLOCK.format(names=without, words=list(words))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("verb", VERBS)
def test_help_needs_no_extra(verb):
    shown = bare(*verb.split(), "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"usage: fastcap {verb} ")


@pytest.mark.parametrize(
    ("line", "extra"),
    [
        ("serve", "serve"),
        ("gradio", "gradio"),
        ("train --config pretrain", "train"),
        ("export --model a --out b --root c", "export"),
        ("checkpoint --out b", "export"),
        ("convert --platform ios --out b", "export"),
        ("explain a --model . --out c.png", "train"),
        ("bench --peers", "bench"),
    ],
)
def test_a_verb_whose_extra_is_missing_says_so_in_one_line(line, extra, tmp_path):
    done = bare(*line.split())
    assert done.returncode == 1 and done.stdout == ""
    package = re.match(rf"fastcap: error: 'fastcap {line.split()[0]}' needs (\w+): ", done.stderr)
    assert package, done.stderr
    assert done.stderr == f"fastcap: error: 'fastcap {line.split()[0]}' {needs(package[1], extra)}\n"


@pytest.mark.parametrize("package", ["fastapi", "starlette", "pydantic", "uvicorn", "h11", "python_multipart"])
def test_a_server_lacking_one_package_does_not_start(package):
    done = bare("serve", "--port", "0", without=(package,))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"fastcap: error: 'fastcap serve' {needs(package, 'serve')}\n"


def test_no_colour_and_no_line_longer_than_the_text_where_output_is_piped():
    done = command("--help", env={**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "80"})
    assert "\x1b" not in done.stdout and max(map(len, done.stdout.splitlines())) <= 80
    with pytest.raises(ConfigError):
        _parser("models").parse_args(["--no-color"])
