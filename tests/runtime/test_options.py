"""One `Options` for Python, the command line, the server and bulk jobs: nobody else lists what may be asked for."""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from fastcap.cli.options import add_captioner, options_of
from fastcap.errors import ConfigError
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.options import Keywords, Options, Sampling, settings

SINGLE = [each.name for each in (*fields(Options), *fields(Sampling)) if each.name != "sampling"]
OTHER = {
    "length": 7,
    "candidates": 2,
    "neutral": True,
    "decode": "sample",
    "no_memory": True,
    "min_confidence": 0.25,
    "hedge": 0.5,
    "beams": 4,
    "temperature": 0.5,
    "top_k": 9,
    "top_p": 0.5,
    "seed": 3,
    "no_repeat": 2,
}


@pytest.fixture
def every(tiny_bundle) -> Bundle:
    """What a model says of itself that can decode in every way."""
    return replace(Bundle.open(tiny_bundle), files={"encode.onnx": 1, "step.onnx": 1})


def parse(*line: str) -> Options:
    parser = argparse.ArgumentParser()
    add_captioner(parser)
    return options_of(parser.parse_args(line))


def test_every_field_has_a_line_of_help_and_a_keyword_for_type_checkers():
    assert list(settings(Options, Sampling)) == SINGLE == list(OTHER)
    assert all(setting.told for setting in settings(Options, Sampling).values())
    assert list(Keywords.__annotations__) == [each.name for each in fields(Options)]


def test_keywords_replace_single_options():
    assert Options.of(None, {}) == Options()
    assert Options.of(Options(length="short", beams=5), {"beams": 4}) == Options(length="short", beams=4)
    with pytest.raises(TypeError, match="lenght"):
        Options.of(None, {"lenght": "short"})


def test_the_command_line_has_a_flag_for_every_field():
    line = []
    every = {name: value for name, value in OTHER.items() if name != "beams"}  # not beside another way of decoding
    for name, value in every.items():
        line += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    assert parse(*line) == Options.from_flat(every)
    assert parse() == Options()
    for name, setting in settings(Options, Sampling).items():
        given = parse("--decode", setting.decode or "sample", *line_of(name, setting.default))
        assert getattr(given if name in settings(Options) else given.sampling or Sampling(), name) == (
            "sample" if name == "decode" else setting.default
        )


def line_of(name: str, value: object) -> list[str]:
    return [] if value is None or isinstance(value, bool) else [f"--{name.replace('_', '-')}", str(value)]


@pytest.mark.parametrize("decode", [None, "beam", "greedy", "sample", "parallel"])
def test_an_option_of_one_way_of_decoding_is_refused_beside_the_name_of_another(decode):
    line = ["--beams", "5", *line_of("decode", decode)]
    if decode in (None, "beam"):  # without a name, the model's usual way may be this one
        assert parse(*line) == Options(decode=decode, beams=5)
        return
    with pytest.raises(ConfigError, match=f"^--beams: allowed with --decode beam alone; got --decode {decode}$"):
        parse(*line)


def test_the_server_has_a_parameter_for_every_field(every):
    pytest.importorskip("fastapi")
    from fastcap.serve.options import allowed_values, query_model

    model = query_model(every, 0)
    assert set(model.model_fields) == set(allowed_values(every, 0)) == {*SINGLE, "url"}
    assert model(**OTHER).options(OTHER) == Options.from_flat(OTHER)
    assert model().options([]) == Options()
    assert set(query_model(replace(every, files={}), 0).model_fields) == {*settings(Options), "url"}


def test_an_evaluation_and_a_bulk_job_record_every_field(every):
    recorded = {name for decode in every.decodes for name in Options(decode=decode).facts(every)}
    assert recorded == {each.name for each in fields(Options)}
    assert list(Options(decode="sample").facts(every)["sampling"]) == list(settings(Sampling))
    assert Options.from_flat(OTHER).changed(every) == OTHER
    assert Options().changed(every) == Options(decode="parallel", sampling=Sampling()).changed(every) == {}


def test_what_is_allowed_depends_on_the_model(every):
    allowed = {name: setting.allowed(every) for name, setting in settings(Options, Sampling).items()}
    assert allowed["length"] == "short, normal, long or a number of words from 4 to 24"
    assert allowed["candidates"] == "whole numbers from 1 to 8"
    assert allowed["neutral"] == "true and false"
    assert allowed["decode"] == "parallel, greedy, beam, sample"
    assert allowed["top_p"] == "numbers from 0.01 to 1.0"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"length": "shrot"}, "length is 'shrot' (did you mean 'short'?); allowed are short, normal, long or a number"),
        ({"length": 7.0}, "length is 7.0; allowed are short, normal, long or a number of words from 4 to 24"),
        ({"length": True}, "length is True; allowed are short, normal"),
        ({"candidates": "2"}, "candidates is '2'; allowed are whole numbers from 1 to 8"),
        ({"candidates": True}, "candidates is True; allowed are whole numbers from 1 to 8"),
        ({"beams": 9}, "beams is 9; allowed are whole numbers from 1 to 8"),
        ({"decode": "beam"}, "model 'tiny' has no encode.onnx and step.onnx"),
    ],
)
def test_a_bad_option_is_refused_before_a_picture_is_read(tiny_bundle, options, reason):
    captioner = Captioner.open(tiny_bundle)
    for refuse in (captioner.check_options, lambda **options: captioner.caption("no such file", **options)):
        with pytest.raises(ConfigError) as caught:
            refuse(**options)
        assert reason in str(caught.value)


NEW_FIELD = """
import sys, argparse
from dataclasses import dataclass
import fastcap.runtime.options as options

@dataclass(frozen=True)
class More(options.Options):
    tone: str = options.option("plain", "tone of the caption", names=lambda bundle: ("plain", "lively"))

options.Options = More
from fastcap.cli.options import add_captioner, options_of
from fastcap.evaluation.evaluate import evaluate_model
from fastcap.runtime.bulk.pool import caption_files
from fastcap.runtime.captioner import Captioner
from fastcap.serve.app import create_app

captioner, parser = Captioner.open(sys.argv[1]), argparse.ArgumentParser()
add_captioner(parser)
asked = options_of(parser.parse_args(["--tone", "lively"]))
print(asked.changed(captioner.bundle), asked.facts(captioner.bundle)["tone"])
query = create_app(captioner).openapi()["paths"]["/v1/caption"]["post"]["parameters"]
print([each["schema"]["pattern"] for each in query if each["name"] == "tone"])
caption_files([], tone="lively").close()
try:
    captioner.caption(b"", tone="angry")
except options.ConfigError as error:
    print(error)
"""


def test_a_new_field_needs_no_other_edit(tiny_bundle):
    pytest.importorskip("fastapi")
    done = subprocess.run([sys.executable, "-c", NEW_FIELD, tiny_bundle], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "{'tone': 'lively'} lively",
        "['^(plain|lively)$']",
        "tone is 'angry'; allowed are plain, lively",
    ], done.stderr


@pytest.mark.parametrize("folder", ["cli", "serve", "evaluation", "runtime/bulk"])
def test_no_front_end_lists_the_options(folder):
    for path in (Path(sys.modules["fastcap"].__file__).parent / folder).glob("*.py"):
        listed = [name for name in SINGLE if f'"{name}"' in path.read_text(encoding="utf-8")]
        assert len(listed) < 3, f"{path} lists {listed}; read them off fields of Options"


def test_reading_the_command_line_starts_nothing_heavy():
    line = "import sys; from fastcap.cli import _parser; _parser('caption')"
    check = (
        "print([name for name in ('numpy', 'PIL', 'onnxruntime', 'multiprocessing', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", f"{line}; {check}"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
