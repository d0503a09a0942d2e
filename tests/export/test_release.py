"""The whole way from a checkpoint to a model directory, from Python and from the command line."""

from __future__ import annotations

import io
import json
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from fastcap import release
from fastcap.checkpoint import save_checkpoint
from fastcap.cli import main
from fastcap.errors import ConfigError, DataError, FastcapError, ModelFileError
from fastcap.evaluation.ranking import Judged
from fastcap.export.writer import write_bundle
from fastcap.release import ExportSettings, gate, pipeline
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.memory import Memory
from fastcap.runtime.words import PictureWords


@pytest.fixture
def checkpoint(model, tokenizer, pictures, tmp_path) -> Path:
    """A checkpoint, and beside it a data set of six pictures."""
    save_checkpoint(tmp_path / "best", model.config, model.state_dict(), tokenizer)
    (tmp_path / "images").mkdir()
    for index, picture in enumerate(pictures[:6]):
        Image.fromarray(picture).save(tmp_path / "images" / f"{index}.png")
    rows = "".join(f"{index}.png,{text}\n" for index in range(6) for text in ("a red ball", "two dogs run"))
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text(f"image,caption\n{rows}")
    return tmp_path / "best"


@pytest.fixture
def older(model, graph, tokenizer, tmp_path) -> Path:
    """A model directory where the next one is to be written."""
    write_bundle(tmp_path / "tiny", graph.parent, tokenizer, model.config, name="older")
    return tmp_path / "tiny"


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_python_exports_what_the_command_exports(checkpoint, capsys):
    settings = ExportSettings(dataset="csv", calibration=4, limit=4, precision="fp32", description="A test.")
    bundle = release.export(checkpoint, checkpoint.with_name("python"), checkpoint.parent, settings)
    assert capsys.readouterr() == ("", "")
    assert (bundle.name, bundle.kind, bundle.description) == ("python", "parallel", "A test.")
    assert bundle.quality["data"] == "csv val, 4 pictures"
    assert bundle.quality["command"].startswith("fastcap.release.export(")

    out = checkpoint.with_name("command")
    line = ["export", "--model", str(checkpoint), "--out", str(out), "--root", str(checkpoint.parent)]
    options = ["--dataset", "csv", "--calibration", "4", "--limit", "4", "--precision", "fp32", "--name", "python"]
    assert main([*line, *options, "--description", "A test."]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{out}\n"
    assert "parallel decoding of 4 pictures: 100% equal" in shown.err
    assert content(out).keys() == content(bundle.folder).keys()
    manifests = [json.loads((folder / "model.json").read_text()) for folder in (out, bundle.folder)]
    for manifest in manifests:
        del manifest["speed"], manifest["quality"]["command"], manifest["quality"]["date"]
    assert manifests[0] == manifests[1]


@pytest.fixture
def telling(monkeypatch) -> None:
    """The random model's candidates are worth nothing against people's captions; let the later ones be worth more."""
    judge = release.memory.judge

    def judged(*arguments):
        return [Judged(features, np.arange(len(features)) * 1.0) for features, _ in judge(*arguments)]

    monkeypatch.setattr(release.memory, "judge", judged)


@pytest.mark.usefixtures("telling")
def test_a_model_that_remembers_pictures_says_so_and_is_measured_on_others(checkpoint, capsys):
    folder, out = checkpoint.parent, checkpoint.with_name("remembering")
    for index in range(6):
        picture = Image.open(folder / "images" / f"{index}.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        picture.save(folder / "images" / f"seen{index}.png")
    rows = "".join(f"seen{index}.png,two dogs run with a red ball\n" for index in range(6))
    (folder / "seen.csv").write_text(f"image,caption\n{rows}")
    line = ["export", "--model", str(checkpoint), "--out", str(out), "--root", str(folder), "--dataset", "csv"]
    line += ["--calibration", "4", "--limit", "6", "--precision", "fp32"]
    assert main([*line, "--memory", "csv:seen", str(folder)]) == 0
    assert re.search(r"words of 6 pictures: CIDEr [+-]\d", capsys.readouterr().err)
    bundle = Bundle.open(out)
    assert bundle.ranking.weights.keys() == {"parallel", "search"}
    assert PictureWords.open(out / "words.npz").words == []  # each of six pictures is too few
    assert not (out / "memory.npz").exists()
    assert Captioner.open(out).caption(folder / "images" / "0.png").text

    with pytest.raises(SystemExit, match="2"):
        main([*line, "--overwrite", "--memory", "csv", str(folder)])
    assert "6 pictures are remembered and measured, among them" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="memory and target size are both given"):
        ExportSettings(memory=[("csv", folder)], target_size="9MB")


def test_a_ranking_that_nothing_can_be_fitted_to_is_no_ranking(checkpoint):
    folder = checkpoint.parent
    (folder / "seen.csv").write_text("image,caption\nseen.png,two dogs run\n")
    Image.new("RGB", (64, 64)).save(folder / "images" / "seen.png")
    settings = ExportSettings(dataset="csv", calibration=4, limit=4, precision="fp32", memory=[("csv:seen", folder)])
    with pytest.raises(DataError, match="no picture has two candidates of different worth"):
        release.export(checkpoint, checkpoint.with_name("remembering"), folder, settings)
    assert not checkpoint.with_name("remembering").exists()


@pytest.mark.usefixtures("telling")
def test_a_model_directory_gets_a_memory_without_a_new_export(checkpoint, monkeypatch, capsys):
    folder, plain, out = checkpoint.parent, checkpoint.with_name("plain"), checkpoint.with_name("remembering")
    settings = ExportSettings(dataset="csv", calibration=4, limit=4, precision="fp32")
    before = release.export(checkpoint, plain, folder, settings)
    for index in range(3):
        Image.new("RGB", (64, 64), (80 * index, 9, 9)).save(folder / "images" / f"seen{index}.png")
    rows = "".join(f"seen{index}.png,two dogs run\n" for index in range(3))
    (folder / "seen.csv").write_text(f"image,caption\n{rows}")
    script = Path(__file__).parents[2] / "scripts" / "remember.py"
    line = [str(script), "--model", str(plain), "--out", str(out), "--memory", "csv:seen", str(folder)]
    run = runpy.run_path(str(script))["main"]
    monkeypatch.setattr("sys.argv", [*line, "--pictures", "--measure", "csv", str(folder), "--candidates", "4"])
    assert run() == 0
    after = Bundle.open(out)
    assert {name: file for name, file in after.files.items() if name not in ("memory.npz", "words.npz")} == before.files
    assert (after.decoding.default_candidates, after.decoding._replace(default_candidates=2)) == (4, before.decoding)
    assert len(Memory.open(out / "memory.npz")) == 3
    assert after.ranking.weights.keys() == {"parallel", "search"} and "remember.py" in after.quality["command"]
    assert run() == 1
    assert "is a model directory already" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", [*line, "--overwrite", "--measure", "csv:seen", str(folder)])
    assert run() == 1
    assert "3 pictures are remembered and measured" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fp32", "int8", "milliseconds", "told"),
    [
        ([50.0] * 200, [49.5] * 200, (2.0, 1.0), "0.50 CIDEr points worse, 2.00x smaller, 2.00x faster (2.0 -> 1.0 ms"),
        ([50.0] * 200, [50.2] * 200, (2.0, 1.0), "0.20 CIDEr points better, 2.00x smaller, 2.00x faster"),
        ([50.0] * 200, [50.001] * 200, (1.0, 1.25), "the same CIDEr, 2.00x smaller, 1.25x slower (1.0 -> 1.2 ms"),
        ([10.0, 90.0], [14.0, 90.0], (1.0, 1.0), "better (2 pictures, a small sample: known to within ±3.9 points), "),
        ([10.0] * 199, [9.0] * 199, (1.0, 1.0), "worse (199 pictures, a small sample: says little), "),
    ],
)
def test_the_gate_says_better_where_it_is_better(fp32, int8, milliseconds, told, tmp_path):
    def measured(scores: list[float], size: int) -> gate.Measured:
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / "model.onnx").write_bytes(bytes(size))
        rows = [SimpleNamespace(cider=score, caption="a") for score in scores]
        return gate.Measured(folder, folder, SimpleNamespace(metrics={"cider": sum(scores) / len(scores)}, rows=rows))

    assert told in gate.compared(measured(fp32, 200), measured(int8, 100), milliseconds)


def test_a_refusal_says_what_a_small_sample_is_worth(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"1234")
    rows = [SimpleNamespace(cider=score, caption="a") for score in (10.0, 90.0)]
    better, worse = (
        gate.Measured(tmp_path, tmp_path, SimpleNamespace(metrics={"cider": cider}, rows=rows)) for cider in (50, 40)
    )
    told = r"it loses 10\.00 CIDEr points, allowed: max_loss=1 \(2 pictures, a small sample: "
    with pytest.raises(FastcapError, match=told):
        gate.check_gate(better, worse, (2.0, 1.0), ExportSettings(), Console(quiet=True))


def test_python_never_overwrites_unasked(checkpoint, older):
    before = content(older)
    with pytest.raises(ModelFileError, match="tiny is a model directory already; allowed: a path that is free"):
        release.export(checkpoint, older, checkpoint.parent)
    assert content(older) == before


def test_python_overwrites_where_it_was_asked_to(checkpoint, older):
    settings = ExportSettings(dataset="csv", calibration=4, limit=4, precision="fp32", name="newer")
    assert release.export(checkpoint, older, checkpoint.parent, settings, overwrite=True).name == "newer"


class Terminal(io.StringIO):
    """What somebody types, or what is shown to them."""

    def isatty(self) -> bool:
        return True


def asked(monkeypatch, checkpoint: Path, out: Path, typed: str | None, *options: str) -> tuple[int, str, list[bool]]:
    """Exit status of the command, what it shows on a terminal where that is `typed`, and how it called `export`."""
    calls: list[bool] = []
    monkeypatch.setattr(pipeline, "export", lambda *_, overwrite, **__: calls.append(overwrite))
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", terminal)
        patch.setattr("sys.stdin", io.StringIO() if typed is None else Terminal(typed))
        line = ["export", "--model", str(checkpoint), "--out", str(out), "--root", str(checkpoint.parent)]
        status = main([*line, *options])
    return status, terminal.getvalue(), calls


@pytest.mark.parametrize("typed", ["n\n", "\n", "", "what?\n"])
def test_on_a_terminal_the_command_asks_before_it_overwrites(monkeypatch, checkpoint, older, typed):
    before = content(older)
    status, shown, calls = asked(monkeypatch, checkpoint, older, typed)
    assert (status, calls) == (1, [])
    assert f"{older} is a model directory already. Replace it? [y/N]" in shown
    assert shown.endswith(f"fastcap: error: {older} was kept; nothing was written\n")
    assert content(older) == before


def test_yes_lets_it_overwrite(monkeypatch, checkpoint, older):
    status, shown, calls = asked(monkeypatch, checkpoint, older, "y\n")
    assert (status, calls) == (0, [True])
    assert "Replace it?" in shown


def test_without_a_terminal_the_command_refuses_and_names_the_option(monkeypatch, checkpoint, older):
    before = content(older)
    status, shown, calls = asked(monkeypatch, checkpoint, older, None)
    assert (status, calls) == (1, [])
    assert shown == f"fastcap: error: {older} is a model directory already; --overwrite replaces it\n"
    assert content(older) == before
    assert asked(monkeypatch, checkpoint, older, None, "--overwrite") == (0, "", [True])


def test_where_nothing_is_nobody_is_asked(monkeypatch, checkpoint):
    assert asked(monkeypatch, checkpoint, checkpoint.with_name("new"), None) == (0, "", [False])


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"calibration": 0}, "calibration is 0; allowed: 1 to 5000"),
        ({"limit": 3}, "limit is 3; allowed: 4 or more"),
        ({"precision": "int4"}, "precision is 'int4'; allowed: int8, fp16, fp32"),
        ({"precision": "fp32", "target_size": "9MB"}, "precision is fp32; allowed with a target size or bits: int8"),
        ({"bits": "plan.json", "target_size": 9}, "target size and bits are both given; allowed: one of them"),
        ({"target_size": "big"}, "'big' is no size; allowed: a number above 0 with kB or MB"),
    ],
)
def test_a_setting_out_of_range_names_what_is_allowed(settings, reason):
    with pytest.raises(ConfigError, match=reason):
        ExportSettings(**settings)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--calibration", "0"], "--calibration: got '0'; allowed are whole numbers from 1 to 5000"),
        (["--dataset", "flickr9k"], "flickr9k"),
        (
            ["--target-size", "1000", "--calibration", "6"],
            r"target size is 1000 bytes; the nearest that can be reached is \d+ bytes",
        ),
    ],
)
def test_a_setting_that_does_not_fit_is_wrong_usage(checkpoint, capsys, options, reason):
    out = checkpoint.with_name("new")
    line = ["export", "--model", str(checkpoint), "--out", str(out), "--root", str(checkpoint.parent)]
    with pytest.raises(SystemExit) as stopped:
        main([*line, "--dataset", "csv", *options])
    assert stopped.value.code == 2
    assert re.search(reason, capsys.readouterr().err)
    assert not list(checkpoint.parent.glob("new*"))
