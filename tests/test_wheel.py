"""What an installed wheel can do in any folder: the recipes travel with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import fastcap
from fastcap.config import recipes

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel installs."""
    pytest.importorskip("hatchling", reason="needs the extra `dev`: builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    with zipfile.ZipFile(folder / f"enhanced_fastcap-{fastcap.__version__}-py3-none-any.whl") as wheel:
        wheel.extractall(folder / "site-packages")
    return folder / "site-packages"


def run(installed: Path, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command of the wheel's, in a folder that holds nothing of ours."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    line = [sys.executable, "-m", "fastcap", *map(str, arguments)]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_recipes_are_found_by_name_and_include_their_neighbours(installed, tmp_path):
    listed = run(installed, tmp_path, "train", "--list")
    rows = re.split(r"\n(?=\S)", listed.stdout.strip())  # a long line goes on below, indented
    assert [row.split()[0] for row in rows] == list(recipes())
    code = "import fastcap.config as c; print(c.__file__, c.load_config('finetune').model.vocab_size)"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [str(installed / "fastcap" / "config" / "__init__.py"), "4096"]
    unknown = run(installed, tmp_path, "train", "--config", "fintune")
    assert unknown.returncode == 2
    assert "did you mean 'finetune'?" in unknown.stderr


def test_the_wheel_trains_on_a_folder_of_pictures(installed, tmp_path):
    mine = tmp_path / "data" / "mine"
    mine.mkdir(parents=True)
    for colour in ("red", "green", "blue", "white"):
        Image.new("RGB", (80, 60), colour).save(mine / f"{colour}.png")
    rows = "".join(f"{colour}.png,a wall painted {colour}\n" for colour in ("red", "green", "blue", "white"))
    for split in ("train", "val"):
        (mine / f"{split}.csv").write_text(f"image,caption\n{rows}", encoding="utf-8")
    assert run(installed, tmp_path, "checkpoint", "--out", "runs/fastcap-base/best").returncode == 0
    few = ("stages.0.steps=2", "stages.0.images=2", "data.val_limit=2")
    done = run(installed, tmp_path, "train", "--config", "finetune", *few)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(Path("runs") / "fastcap-mine" / "best")


def test_adapters_stay_in_the_clone_and_a_wheel_says_so(installed, tmp_path):
    assert not list((installed / "fastcap" / "adapters").glob("*/"))
    done = run(installed, tmp_path, "build", "distilvit")
    assert done.returncode == 2
    assert "a wheel leaves them out" in done.stderr
