"""Files are written whole or not at all, and written also where a file system lacks renaming, syncing or locks."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import stat
from pathlib import Path

import pytest
from PIL import Image

from fastcap.cli import main
from fastcap.files import folder_written_aside, keep_facts, replace, sync, written_aside
from fastcap.runtime.bulk.journal import Journal
from fastcap.runtime.bulk.sidecar import write_sidecar

LACKING = [errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL]
LACKING_TO_RENAME = [*LACKING, errno.EACCES, errno.EPERM, errno.EEXIST, errno.EXDEV, errno.EBUSY]
FAILING = [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.ENOENT, errno.EISDIR]


def refuse(number: int):
    def function(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return function


NAMES = ["a.txt", "a" * 251, "a" * 255, "ä" * 127, "caf\udce9.csv", ".hidden", "a b\nc", "é.part", "-", "a:b"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_that_can_be_written_plainly_can_be_written_aside(tmp_path, name):
    for text in ("one", "two"):
        with written_aside(tmp_path / name, durable=True) as file:
            assert not file.read_text()
            assert file.name.startswith(".")
            file.write_text(text)
        assert [path.name for path in tmp_path.iterdir()] == [name]
        assert (tmp_path / name).read_text() == text


def test_after_an_error_the_old_file_stands_and_nothing_else(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), written_aside(tmp_path / "a") as file:
        file.write_text("new")
        raise KeyboardInterrupt
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


@pytest.mark.parametrize("number", LACKING_TO_RENAME, ids=errno.errorcode.get)
def test_without_renaming_the_file_is_copied(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "replace", refuse(number))
    with written_aside(tmp_path / "a") as file:
        file.write_text("new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "new")]


@pytest.mark.parametrize("number", FAILING, ids=errno.errorcode.get)
def test_a_disk_that_fails_is_no_reason_to_try_again(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "replace", refuse(number))
    with pytest.raises(OSError) as caught, written_aside(tmp_path / "a") as file:
        file.write_text("new")
    assert caught.value.errno == number
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", LACKING, ids=errno.errorcode.get)
def test_without_syncing_nothing_is_synced_and_a_broken_disk_is_told(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", refuse(number))
    sync(0)
    with written_aside(tmp_path / "a", durable=True) as file:
        file.write_text("new")
    with Journal(tmp_path / "c.jsonl", "tiny") as journal:
        journal.append({"image": "a.jpg", "caption": "A dog."})
    assert json.loads((tmp_path / "c.jsonl").read_text())["caption"] == "A dog."
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        sync(0)


def test_where_the_folder_takes_no_new_file_the_one_that_is_there_is_written(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old")
    touch = Path.touch
    monkeypatch.setattr(
        Path, "touch", lambda self, *_: refuse(errno.EACCES)() if self.suffix == ".part" else touch(self)
    )
    with written_aside(tmp_path / "a") as file:
        file.write_text("new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "new")]


def wrapping(monkeypatch, name: str, error: OSError) -> None:
    """Let a function of `os` refuse, as a file system does that lacks it."""

    def refused(path, *_, **__):
        raise OSError(error.errno, os.strerror(error.errno), str(path))

    monkeypatch.setattr(os, name, refused)


@pytest.mark.parametrize("number", [*LACKING, errno.EPERM, errno.EACCES], ids=errno.errorcode.get)
@pytest.mark.parametrize("name", ["chmod", "utime"])
def test_where_nobody_may_set_modes_or_times_a_file_is_written_all_the_same(tmp_path, monkeypatch, name, number):
    """CIFS, FAT and much of FUSE."""
    (tmp_path / "a").write_text("old")
    wrapping(monkeypatch, name, OSError(number, ""))
    with written_aside(tmp_path / "a", keep_mode=True) as file:
        file.write_text("new")
        keep_facts(tmp_path / "a", file, shutil.copystat)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "new")]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS], ids=errno.errorcode.get)
@pytest.mark.parametrize("name", ["chmod", "open", "replace", "link"])
def test_an_error_names_the_file_that_was_meant(tmp_path, monkeypatch, name, number):
    (tmp_path / "a").write_text("old")
    with (
        pytest.raises(OSError, match=os.strerror(number)) as caught,
        written_aside(tmp_path / "a", keep_mode=True) as file,
    ):
        file.write_text("new")
        if name in ("open", "link"):
            raise OSError(number, os.strerror(number), str(file), None, str(file) if name == "link" else None)
        wrapping(monkeypatch, name, OSError(number, ""))
    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / "a"), None)
    assert (tmp_path / "a").read_text() == "old"


def test_a_full_disk_whose_error_names_no_file_names_the_one_that_was_written(tmp_path):
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught, written_aside(tmp_path / "a"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(tmp_path / "a")


@pytest.mark.parametrize("name", ["model.onnx", "deeper/a.txt", ""])
def test_an_error_in_a_folder_names_the_place_that_was_meant(tmp_path, name):
    with pytest.raises(OSError, match="full") as caught, folder_written_aside(tmp_path / "model") as folder:
        raise OSError(errno.ENOSPC, "full", os.path.join(folder, name).rstrip("/"))
    assert caught.value.filename == os.path.join(tmp_path, "model", name).rstrip("/")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ENAMETOOLONG], ids=errno.errorcode.get)
def test_a_file_that_cannot_be_begun_is_named(tmp_path, monkeypatch, number):
    def touch(path, *_):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "touch", touch)
    with pytest.raises(OSError, match=os.strerror(number)) as caught, written_aside(tmp_path / "a"):
        pass
    assert caught.value.filename == str(tmp_path / "a")


def test_a_link_is_followed_and_permissions_are_those_of_new_files(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_text("old")
    (tmp_path / "a").symlink_to(tmp_path / "real" / "a")
    with written_aside(tmp_path / "a") as file:
        file.write_text("new")
    assert (tmp_path / "a").is_symlink()
    assert (tmp_path / "real" / "a").read_text() == "new"
    (tmp_path / "plain").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "real/a")]
    assert modes[0] == modes[1]
    replace(tmp_path / "plain", tmp_path / "real" / "a")
    assert not (tmp_path / "plain").exists()


def fill(folder: Path, text: str) -> None:
    with folder_written_aside(folder) as aside:
        assert not list(aside.iterdir())
        (aside / "a").write_text(text)
        (aside / text).touch()


def content(folder: Path) -> list[str]:
    return [*sorted(path.name for path in folder.iterdir()), (folder / "a").read_text()]


@pytest.mark.parametrize("name", ["model", "m" * 255, "ä" * 127])
def test_a_folder_is_replaced_as_a_whole(tmp_path, name):
    for text in ("one", "two"):
        fill(tmp_path / name, text)
        assert content(tmp_path / name) == ["a", text, text]
    with pytest.raises(KeyboardInterrupt), folder_written_aside(tmp_path / name) as aside:
        (aside / "a").write_text("three")
        raise KeyboardInterrupt
    assert content(tmp_path / name) == ["a", "two", "two"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("number", LACKING_TO_RENAME, ids=errno.errorcode.get)
def test_a_folder_that_cannot_be_renamed_gets_the_new_files(tmp_path, monkeypatch, number):
    """The volume of a container is one, and its parent takes no new folder."""
    volume = tmp_path / "volume"
    fill(volume, "one")
    (volume / "sub").mkdir()
    monkeypatch.setattr(Path, "rename", refuse(number))
    fill(volume, "two")
    assert content(volume) == ["a", "two", "two"]
    mkdir = Path.mkdir
    refused = refuse(errno.EACCES)
    monkeypatch.setattr(Path, "mkdir", lambda self, **rest: mkdir(self, **rest) if self.parent == volume else refused())
    fill(volume, "three")
    assert content(volume) == ["a", "three", "three"]
    assert [path.name for path in tmp_path.iterdir()] == ["volume"]


def test_the_rows_of_a_table_with_a_long_name_have_one_that_fits(tmp_path):
    from fastcap.runtime.bulk.journal import check_output

    for length in (100, 249, 250, 255):
        table = tmp_path / ("t" * (length - 4) + ".csv")
        journal = check_output(table)
        assert (journal.name == f"{table.name}.jsonl") == (length <= 249)
        assert len(journal.name) <= 255
        assert journal == check_output(table)


@pytest.mark.parametrize("length", range(249, 256))
def test_a_picture_with_a_name_of_any_length_gets_its_sidecar(tmp_path, length):
    name = "p" * (length - 4) + ".jpg"
    write_sidecar({"image": str(tmp_path / name), "caption": "A dog."}, "txt")
    assert [path.name for path in tmp_path.iterdir()] == [name[:-4] + ".txt"]


@pytest.mark.parametrize("number", [errno.ENOLCK, *LACKING], ids=errno.errorcode.get)
def test_without_locks_a_job_runs_and_says_so_once(tiny_bundle, tmp_path, monkeypatch, capsys, caplog, number):
    fcntl = pytest.importorskip("fcntl", reason="no locks on Windows")
    monkeypatch.setattr(fcntl, "flock", refuse(number))
    Image.new("RGB", (64, 48), "red").save(tmp_path / "a.jpg")
    out = tmp_path / "c.jsonl"
    line = ["caption", str(tmp_path), "--out", str(out), "--workers", "1", "--model", str(tiny_bundle)]
    assert main(line) == 0
    [record] = caplog.records
    assert record.getMessage() == f"{out}: cannot be locked ({os.strerror(number)}); let no other run write to it"
    assert capsys.readouterr().err.startswith("1 picture: 1 captioned")


def test_a_file_that_needs_no_cut_is_not_cut(tmp_path, monkeypatch):
    """Some file systems can only append."""

    class Uncuttable(io.FileIO):
        truncate = refuse(errno.EOPNOTSUPP)

    plain_open = Path.open
    opened = {"ab": lambda path, mode, **_: Uncuttable(path, mode)}
    monkeypatch.setattr(Path, "open", lambda self, mode="r", **rest: opened.get(mode, plain_open)(self, mode, **rest))
    for _ in range(2):
        with Journal(tmp_path / "c.jsonl", "tiny") as journal:
            journal.append({"image": "a.jpg", "caption": "A dog."})
    assert len((tmp_path / "c.jsonl").read_text().splitlines()) == 2
