"""fastcap within somebody's application: frozen by PyInstaller, or imported out of an archive."""

from __future__ import annotations

import importlib
import multiprocessing
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from PIL import Image

from fastcap.__pyinstaller import hook_directories
from fastcap.cli import VERBS, main, module_of
from fastcap.runtime.bundle import available_models

PACKAGE = Path(__file__).parents[1] / "src" / "fastcap"
RECIPES = Path(__file__).parents[1] / "configs"


def hook(name: str) -> dict:
    (folder,) = hook_directories()
    return runpy.run_path(str(Path(folder, f"hook-{name}.py")))


@pytest.fixture(scope="module")
def collected() -> dict[str, Path]:
    """Where each file of the hook's lies in the application, and where it comes from."""
    return {f"{target}/{Path(source).name}": Path(source) for source, target in hook("fastcap")["datas"]}


@pytest.mark.parametrize(
    "path",
    [
        *(f"fastcap/bundled/{name}/model.json" for name in available_models()),
        "fastcap/bundled/fastcap-base/model.onnx",
        "fastcap/bundled/fastcap-base/encode.onnx",
        "fastcap/bundled/fastcap-base/step.onnx",
        "fastcap/bundled/fastcap-base/text.onnx",
        "fastcap/bundled/fastcap-base/tokenizer.json",
        "fastcap/web/index.html",
        "fastcap/web/fastcap.js",
        "fastcap/curation/nobody.txt",
        "fastcap/curation/prompts/rewrite.txt",
        *(f"fastcap/configs/{path.relative_to(RECIPES).as_posix()}" for path in RECIPES.rglob("*.yaml")),
    ],
)
def test_an_application_has_the_files_that_the_package_looks_for(path, collected):
    assert collected[path].is_file()


@pytest.mark.parametrize(
    "name", ["PIL.JpegImagePlugin", "PIL.PngImagePlugin", "PIL.WebPImagePlugin", "PIL.GifImagePlugin",
             "PIL.BmpImagePlugin", "PIL.TiffImagePlugin", "fastcap.runtime.captioner", "fastcap.runtime.engine",
             "fastcap.runtime.gallery", "fastcap.runtime.options"],
)  # fmt: skip
def test_an_application_has_what_is_imported_by_a_name_in_a_text(name):
    assert name in hook("fastcap")["hiddenimports"]


def test_what_it_names_exists():
    for name in hook("fastcap")["hiddenimports"]:
        importlib.import_module(name)


@pytest.mark.parametrize("has_command_line", [True, False])
def test_verbs_come_with_the_command_line_alone(has_command_line):
    """They import all that a package can need: whoever calls `load_model` has no use for PyTorch."""

    class Api:
        graph = SimpleNamespace(find_node={"fastcap.cli": object()}.get if has_command_line else {}.get)
        imports: ClassVar[set[str]] = set()

        def add_imports(self, *names: str) -> None:
            self.imports.update(names)

    hook("fastcap")["hook"](Api())
    assert Api.imports == ({*map(module_of, VERBS)} if has_command_line else set())
    for name in Api.imports:
        assert (PACKAGE.parent / f"{name.replace('.', '/')}.py").is_file()


def test_pyinstaller_is_told_where_its_hooks_are():
    pyproject = (PACKAGE.parents[1] / "pyproject.toml").read_text("utf-8")
    assert '[project.entry-points.pyinstaller40]\nhook-dirs = "fastcap.__pyinstaller:hook_directories"' in pyproject


def test_a_worker_of_an_application_does_not_start_the_command_line_again(monkeypatch, capsys):
    class Worker(Exception):
        pass

    def freeze_support() -> None:
        raise Worker  # where PyInstaller's own would run the worker, and end

    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(multiprocessing, "freeze_support", freeze_support)
    with pytest.raises(Worker):
        main(["--multiprocessing-fork", "tracker_fd=13", "pipe_handle=15"])
    assert capsys.readouterr() == ("", "")


def test_what_an_application_cannot_do_says_so(monkeypatch):
    from fastcap.errors import FastcapError
    from fastcap.evaluation.speed import run_python

    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(FastcapError, match="fresh Python processes, which an application does not hold"):
        run_python("-c", "1")


PROGRAM = "import sys, fastcap; print(fastcap.load_model(*sys.argv[2:]).caption(sys.argv[1]).text)"


def test_out_of_an_archive_a_model_is_given_by_its_path(tmp_path):
    """Spark's --py-files and zipapp leave the package in its archive, and models are files."""
    archive = shutil.make_archive(str(tmp_path / "fastcap"), "zip", PACKAGE.parent, "fastcap")
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-c", f"import sys; sys.path.insert(0, {archive!r}); {PROGRAM}", *arguments]
        return subprocess.run(line, cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True)

    done = run("a.jpg", str(PACKAGE / "bundled" / "fastcap-base"))
    assert done.stdout.strip().endswith("."), done.stderr
    told = run("a.jpg").stderr.splitlines()[-1]
    assert "unknown model 'fastcap-base'; bundled are: none" in told
    assert "a package in an archive" in told
    assert "allowed is the path of a model directory" in told


@pytest.mark.slow
@pytest.mark.parametrize("how", ["--onedir", "--onefile"])
def test_pyinstaller_makes_an_application_that_captions(how, tmp_path):
    pytest.importorskip("PyInstaller", reason="needs PyInstaller, and this package installed, not in place")
    (tmp_path / "app.py").write_text(f"{PROGRAM}\n")
    (tmp_path / "cli.py").write_text("import sys\nfrom fastcap.cli import main\nsys.exit(main())\n")
    (tmp_path / "photos").mkdir()
    for kind in ("jpg", "png", "webp", "gif", "bmp", "tif"):
        Image.new("RGB", (40, 30)).save(tmp_path / "photos" / f"a.{kind}")

    def freeze(name: str) -> str:
        line = [sys.executable, "-m", "PyInstaller", "-y", "--log-level", "ERROR", how, f"{name}.py"]
        subprocess.run(line, cwd=tmp_path, check=True, capture_output=True)
        return str(tmp_path / "dist" / name / name if how == "--onedir" else tmp_path / "dist" / name)

    def run(*line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    done = run(freeze("app"), "photos/a.jpg")
    assert done.stdout.strip().endswith("."), done.stderr
    cli = freeze("cli")
    assert "6 pictures: 6 captioned" in run(cli, "caption", "photos", "--out", "o.jsonl", "--workers", "2").stderr
    assert "fastcap-base" in run(cli, "models").stdout
    assert run(cli, "--version").stdout.startswith("fastcap ")
