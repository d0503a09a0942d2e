"""`fastcap bench`: what it measures, what it writes, what it refuses."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastcap.cli import main
from fastcap.cli.bench import PHOTOS, _show
from fastcap.errors import FastcapError
from fastcap.evaluation.machine import git_commit, machine_facts
from fastcap.evaluation.speed import (
    STAGES,
    Timing,
    decode_photo,
    measure_stages,
    peak_memory_mb,
    run_python,
    sample_photo,
)
from fastcap.export.converters import convert_all
from fastcap.runtime.images import load_image


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "made.jpg"
    path.write_bytes(sample_photo(*PHOTOS["640x480"]))
    return path


@pytest.fixture(scope="module")
def result(tiny_model: Path, photo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The JSON of one run of the real command."""
    file = tmp_path_factory.mktemp("results") / "bench.json"
    arguments = ["--model", str(tiny_model), "--image", str(photo), "--repeats", "3", "--json", str(file)]
    assert main(["bench", *arguments]) == 0
    return json.loads(file.read_text())


def test_the_json_has_every_stage_for_one_and_two_threads(result: dict, photo: Path) -> None:
    (measured,) = result["photos"]
    assert measured["bytes"] == photo.stat().st_size
    assert [run["threads"] for run in measured["runs"]] == [1, 2]
    for run in measured["runs"]:
        assert tuple(run["stages"]) == STAGES
        for stage in run["stages"].values():
            assert 0 < stage["p50_ms"] <= stage["p95_ms"]
            assert stage["repeats"] == 3


def test_the_json_says_where_it_comes_from(result: dict, tiny_model: Path, photo: Path) -> None:
    assert result["command"] == f"fastcap bench --model {tiny_model} --repeats 3 --image {photo}"
    assert result["machine"]["cores"] >= 1
    assert result["machine"]["versions"].keys() >= {"enhanced-fastcap", "numpy", "onnxruntime", "pillow"}
    assert result["seed"] == 0


def test_the_size_is_that_of_all_files_of_the_model(result: dict, tiny_model: Path) -> None:
    assert result["model"]["bytes"] == sum(path.stat().st_size for path in tiny_model.iterdir())


def test_a_process_that_captions_has_memory_and_start_up_measured(result: dict) -> None:
    process = result["process"]
    # Without PyTorch: with it, 250 MB and two seconds would be the least.
    assert 30 < process["peak_memory_mb"] < 130
    assert 0 < process["import_ms"] < process["caption_command_ms"]


def test_every_operator_of_a_graph_is_timed(result: dict) -> None:
    rows = result["operators"]
    assert {row["graph"] for row in rows} == {"model.onnx"} and len(rows) > 3
    assert [row["ms"] for row in rows] == sorted((row["ms"] for row in rows), reverse=True)
    assert sum(row["share"] for row in rows) == pytest.approx(1, abs=0.01)
    assert not {"asking", "decoding", "reading"} & result.keys()  # this model decodes in parallel, and answers nothing


def test_stages_add_up_to_about_the_whole(tiny_model: Path, photo: Path) -> None:
    stages = measure_stages(str(tiny_model), photo, threads=1, repeats=25)
    parts = sum(stages[stage]["p50_ms"] for stage in STAGES[:-1])
    assert 0.2 < parts / stages["photo to text"]["p50_ms"] < 5  # on a machine that is busy with other things, too


def test_decode_is_the_first_half_of_what_the_runtime_does(photo: Path) -> None:
    halves = load_image(decode_photo(photo, (224, 224)), (224, 224))
    np.testing.assert_array_equal(halves, load_image(photo, (224, 224)))


@pytest.mark.parametrize(("name", "kilobytes"), [("640x480", 90), ("12 MP", 3000)])
def test_made_photos_have_the_size_of_real_ones(name: str, kilobytes: int) -> None:
    data = sample_photo(*PHOTOS[name])
    assert len(data) / 1000 == pytest.approx(kilobytes, rel=0.1)
    assert Image.open(io.BytesIO(data)).size == PHOTOS[name]


def test_a_made_photo_is_the_same_for_the_same_seed() -> None:
    assert sample_photo(64, 48, seed=3) == sample_photo(64, 48, seed=3) != sample_photo(64, 48, seed=4)


def test_percentiles_are_of_the_measured_calls_only() -> None:
    calls: list[int] = []
    timing = Timing.of(lambda: calls.append(1), repeats=4, warm_up=2)
    assert len(calls) == 6
    assert len(timing.milliseconds) == 4
    assert Timing((1.0, 2.0, 3.0)).percentile(50) == 2.0
    assert Timing((0.0, 10.0)).percentile(95) == pytest.approx(9.5)


def test_peak_memory_counts_what_was_held_and_dropped() -> None:
    code = (
        "from fastcap.evaluation.speed import peak_memory_mb as m; import numpy as np; "
        "before = m(); np.ones(25_000_000); print(m() - before)"
    )
    assert 190 < float(run_python("-c", code)) < 230
    assert peak_memory_mb() > 0


def test_a_failed_process_is_one_line() -> None:
    with pytest.raises(FastcapError, match=r"a measured process failed: ValueError: no"):
        run_python("-c", "raise ValueError('no')")


def test_the_machine_is_described_without_failing() -> None:
    facts = machine_facts()
    assert facts["cpu"]
    assert set(facts["flags"]) <= {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "asimd", "asimddp"}
    assert git_commit() is None or len(git_commit()) >= 7


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--repeats", "0"], 2, "whole numbers from 1 to 10000"),
        (["--model", "no-such-model"], 2, "no-such-model"),
        (["--model", "TINY", "--image", __file__], 1, "not an image"),
        (["--model", "TINY", "--image", "missing.jpg"], 1, "missing.jpg: no such file"),
        (["--model", "TINY", "--beside", "TINY", "no/such/folder"], 1, "no/such/folder"),
        (["--model", "TINY", "--json", "no/such/folder/x.json"], 1, "folder does not exist"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: list[str], status: int, message: str, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tiny_model) if argument == "TINY" else argument for argument in arguments]
    try:
        found = main(["bench", *arguments])
    except SystemExit as stop:
        found = stop.code
    assert found == status
    assert message in capsys.readouterr().err


def test_models_and_converted_folders_stand_in_one_table(
    tiny_model: Path,
    photo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = tmp_path / "web"  # what transformers.js alone runs
    convert_all("fastcap-base", tmp_path, {"web": "transformers.js"}, "int8")
    file = tmp_path / "bench.json"
    arguments = ["--model", str(tiny_model), "--image", str(photo), "--repeats", "2"]
    arguments += ["--beside", str(tiny_model), str(elsewhere)]
    assert main(["bench", *arguments, "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert result["command"].endswith(f" --beside {tiny_model} {elsewhere}")
    model, same, web = result["beside"]
    assert model["bytes"] == same["bytes"] == result["model"]["bytes"]
    assert 0 < model["p50_ms"] <= model["p95_ms"] and same["repeats"] == 2 and model["peak_memory_mb"] > 30
    assert (web["runtime"], web["precision"]) == ("transformers.js", "int8") and "p50_ms" not in web
    assert web["bytes"] == sum(path.stat().st_size for path in elsewhere.rglob("*") if path.is_file())
    monkeypatch.setenv("COLUMNS", "200")
    web["why"] += ' (pip install -e ".[litert]")'
    _show(result)
    shown = capsys.readouterr().out
    assert f"{model['name']}, ONNX Runtime" in shown and "nothing here runs what transformers.js makes" in shown
    assert '".[litert]"' in shown
