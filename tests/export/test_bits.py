"""Bits under a limit of size: never over it, never worse for more room, and as good as any choice can be."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcap.cli import main
from fastcap.errors import ConfigError
from fastcap.quantization.bits import UNIT, Option, choose_bits, options_of, total, write_report
from fastcap.quantization.scales import Layer, quantised_layers
from fastcap.quantization.sensitivity import Change
from fastcap.release.settings import parse_size

Options = dict[str, dict[int, Option]]


@st.composite
def problems(draw: st.DrawFn) -> Options:
    """Up to six layers of sizes that are multiples of the unit, whose losses fall as their bits grow, or do not."""
    options = {}
    for index in range(draw(st.integers(1, 6))):
        sizes = sorted(draw(st.lists(st.integers(1, 40), min_size=3, max_size=3, unique=True)))
        losses = draw(st.lists(st.floats(0, 1), min_size=3, max_size=3))
        options[f"layer{index}"] = {
            bits: Option(UNIT * size, loss) for bits, size, loss in zip((4, 8, 16), sizes, losses, strict=True)
        }
    return options


def smallest(options: Options) -> int:
    return sum(min(option.size for option in choices.values()) for choices in options.values())


@settings(max_examples=60, deadline=None)
@given(problems(), st.integers(0, 60 * UNIT))
def test_no_choice_within_the_budget_is_better(options, extra):
    budget = smallest(options) + extra
    found = total(options, choose_bits(options, budget))
    assert found.size <= budget
    choices = (dict(zip(options, bits, strict=True)) for bits in itertools.product((4, 8, 16), repeat=len(options)))
    fitting = [total(options, bits).loss for bits in choices if total(options, bits).size <= budget]
    assert found.loss == pytest.approx(min(fitting))


@settings(max_examples=60, deadline=None)
@given(problems(), st.lists(st.integers(0, 100 * UNIT), min_size=2, max_size=2).map(sorted), st.integers(0, UNIT))
def test_more_room_is_never_worse_and_8_bits_are_matched_where_they_fit(options, extras, odd):
    options = {name: {b: Option(o.size + odd * b, o.loss) for b, o in each.items()} for name, each in options.items()}
    losses = [total(options, choose_bits(options, smallest(options) + extra)).loss for extra in extras]
    assert losses[1] <= losses[0] + 1e-12
    plain = total(options, dict.fromkeys(options, 8))
    assert total(options, choose_bits(options, plain.size)).loss <= plain.loss + 1e-12


def test_of_equal_losses_the_one_with_the_most_bytes_that_fits_is_chosen():
    options = {"a": {4: Option(100, 0.0), 8: Option(200, 0.0)}, "b": {8: Option(300, 0.5), 16: Option(600, 0.1)}}
    assert choose_bits(options, 10_000) == {"a": 8, "b": 16}
    assert choose_bits(options, 740) == {"a": 4, "b": 16}


def test_a_budget_below_the_smallest_is_an_error_that_names_it():
    with pytest.raises(ConfigError, match="may have 99 bytes; allowed: 100 or more"):
        choose_bits({"a": {4: Option(100, 1.0), 8: Option(200, 0.0)}}, 99)


def test_4_bits_are_an_option_where_they_save_space_and_16_where_8_certainly_harm():
    layer = Layer("a", "product", ("a",), (1,), 100_000, 10)
    small = {4: Change(0.3, 0.1), 8: Change(0.01, 0.02)}
    harmed = {4: Change(0.3, 0.1), 8: Change(0.05, 0.02)}
    options = options_of({"a": layer, "b": layer}, {"a": small, "b": harmed})
    assert sorted(options["a"]) == [4, 8]
    assert sorted(options["b"]) == [4, 8, 16]
    assert options["b"][16].loss == 0
    tiny = Layer("tiny", "depthwise", ("tiny",), (1, 2, 3), 288, 32)  # the nodes that unpack it are larger than it is
    assert sorted(options_of({"a": tiny}, {"a": small})["a"]) == [8]


def test_a_gain_is_not_believed_and_a_loss_is_what_it_may_well_be():
    layer = Layer("a", "product", ("a",), (1,), 100_000, 10)
    options = options_of({"a": layer}, {"a": {4: Change(-0.1, 0.1), 8: Change(0.2, 0.01)}})["a"]
    assert {bits: option.loss for bits, option in options.items()} == pytest.approx({4: 0.1, 8: 0.21, 16: 0.0})


def test_the_layers_of_a_model_are_all_its_large_weights_once(wide_model):
    layers = quantised_layers(wide_model)
    assert {layer.kind for layer in layers.values()} == {"convolution", "depthwise", "product", "experts", "table"}
    named = [name for layer in layers.values() for name in layer.parameters]
    assert len(named) == len(set(named))
    large = {name for name, value in wide_model.named_parameters() if value.ndim > 1 and value.numel() >= 2**14}
    assert large <= set(named)
    assert sum(layer.n_weights for layer in layers.values()) == sum(
        wide_model.get_parameter(name).numel() for name in named
    )
    joined = layers["decoder.layers.0.cross_attention.query_gate"]
    assert joined.parameters == tuple(f"decoder.layers.0.cross_attention.{part}.weight" for part in ("query", "gate"))


def test_plan_and_report_are_written_beside_the_model(wide_model, tmp_path):
    layers = quantised_layers(wide_model)
    sensitivity = {name: {4: Change(0.1, 0.01), 8: Change(-0.001, 0.002)} for name in layers}
    bits = dict.fromkeys(layers, 8)
    write_report(tmp_path / "models" / "small", layers, sensitivity, bits, {"target_bytes": 9_000_000})
    folder = tmp_path / "models"
    assert sorted(path.name for path in folder.iterdir()) == [
        "small.bits.json",
        "small.report.json",
        "small.report.png",
    ]
    assert json.loads((folder / "small.bits.json").read_text()) == bits
    report = json.loads((folder / "small.report.json").read_text())
    assert report["target_bytes"] == 9_000_000
    assert [row["layer"] for row in report["layers"]] == list(layers)
    assert report["layers"][0]["loss"] == {"4": 0.1, "8": -0.001}
    assert (folder / "small.report.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("text", "size"), [("9MB", 9_000_000), ("9.5 mb", 9_500_000), ("900kB", 900_000), ("1234", 1234)]
)
def test_a_size_is_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "big", "9GBB", "-9MB", "0", "9 M B", "nan"])
def test_what_is_no_size_is_a_usage_error(text, capsys):
    with pytest.raises(ConfigError):
        parse_size(text)
    with pytest.raises(SystemExit) as stopped:
        main(["export", "--model", "m", "--out", "o", "--root", "r", f"--target-size={text}"])
    assert stopped.value.code == 2
    assert f"{text!r} is no size; allowed: a number above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (["--bits", "plan.json"], "--bits and --target-size exclude each other; allowed is one of them"),
        (["--precision", "fp32"], "allowed with a target size or bits: int8"),
    ],
)
def test_a_target_size_alone_decides(other, reason, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["export", "--model", "m", "--out", "o", "--root", "r", "--target-size", "9MB", *other])
    assert stopped.value.code == 2
    assert reason in capsys.readouterr().err
