"""How many cores a process may use: by its affinity and by every quota that its control groups set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastcap.runtime import cores
from fastcap.runtime.cores import usable_cores

V1, V2 = "cgroup cgroup rw,cpu,cpuacct", "cgroup2 cgroup2 rw"
CASES = {
    # group of the process, root and kind of the mount, files below it, expected cores of 64
    "no quota, version 2": ("0::/user", "/", V2, {"user/cpu.max": "max 100000"}, 64),
    "one core, version 2": ("0::/", "/", V2, {"cpu.max": "100000 100000"}, 1),
    "half a core is one": ("0::/", "/", V2, {"cpu.max": "50000 100000"}, 1),
    "one and a half are two": ("0::/", "/", V2, {"cpu.max": "150000 100000"}, 2),
    "another period": ("0::/", "/", V2, {"cpu.max": "30000 10000"}, 3),
    "a quota of a group above": ("0::/a/b/c", "/", V2, {"a/cpu.max": "200000 100000", "a/b/c/cpu.max": "max 0"}, 2),
    "the smallest of two": ("0::/a/b", "/", V2, {"a/cpu.max": "500000 100000", "a/b/cpu.max": "300000 100000"}, 3),
    "more than there are": ("0::/", "/", V2, {"cpu.max": "12800000 100000"}, 64),
    "no quota, version 1": ("4:cpu,cpuacct:/", "/", V1, {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}, 64),
    "version 1": ("4:cpu,cpuacct:/a", "/", V1, {"a/cpu.cfs_quota_us": "250000", "a/cpu.cfs_period_us": "100000"}, 3),
    "Docker: the mount begins at the group": (
        "4:cpu,cpuacct:/docker/1f", "/docker/1f", V1, {"cpu.cfs_quota_us": "100000", "cpu.cfs_period_us": "100000"}, 1
    ),
    "a group that cannot be seen from inside": ("0::/../other", "/", V2, {"cpu.max": "400000 100000"}, 4),
    "other controllers": ("5:memory:/a", "/", "cgroup cgroup rw,memory", {"a/cpu.cfs_quota_us": "100000"}, 64),
    "files without sense": ("0::/", "/", V2, {"cpu.max": "what"}, 64),
    "a quota of nothing": ("0::/", "/", V2, {"cpu.max": "0 100000"}, 64),
}  # fmt: skip
OTHER_MOUNTS = {
    "Latin-1": b"22 1 254:0 / /media/caf\xe9 rw - ext4 /dev/sdb rw",
    "half a letter": b"22 1 254:0 / /media/caf\xc3 rw - ext4 /dev/sdb rw",
    "a line separator": "22 1 254:0 / /media/a\u2028b rw - ext4 /dev/sdb rw".encode(),
    "a next line": "22 1 254:0 / /media/a\x85b rw - ext4 /dev/sdb rw".encode(),
    "a form feed": b"22 1 254:0 / /media/a\x0cb rw - ext4 /dev/sdb rw",
    "a carriage return": b"22 1 254:0 / /media/a\rb rw - ext4 /dev/sdb rw",
    "a no-break space": "22 1 254:0 / /media/a\xa0b rw - ext4 /dev/sdb rw".encode(),
    "a dash": b"22 1 254:0 / /media/a\\040-\\040b rw - ext4 /dev/sdb rw",
    "a space and a line feed": b"22 1 254:0 / /media/a\\040b\\012c rw - ext4 /dev/sdb rw",
    "no dash": b"22 1 254:0 / /media/a rw",
    "a cut line": b"22 1 254:0 / /media/a rw -",
    "an empty line": b"",
}


@pytest.mark.parametrize("name", OTHER_MOUNTS)
def test_a_mount_of_any_name_disturbs_no_count(name, tmp_path, monkeypatch):
    """A mount is called as its folder is, and a folder by any bytes; each line here is one, or is damaged."""
    groups = tmp_path / "gr oups\\"
    groups.mkdir()
    (groups / "cpu.max").write_text("200000 100000\n")
    escaped = str(groups).replace("\\", "\\134").replace(" ", "\\040").encode()
    mounts = [OTHER_MOUNTS[name], b"36 35 98:0 / " + escaped + b" rw,noatime shared:1 - cgroup2 cgroup2 rw"]
    (tmp_path / "mountinfo").write_bytes(b"\n".join([*mounts, b""]))
    (tmp_path / "cgroup").write_bytes(b"9:name=caf\xe9:/\nnonsense\n0::/\n")
    monkeypatch.setattr(cores, "_PROC", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert usable_cores() == 2


@pytest.mark.parametrize("case", CASES)
def test_quotas_of_containers_are_minded(case, tmp_path, monkeypatch):
    group, root, kind, files, expected = CASES[case]
    for name, text in files.items():
        (tmp_path / "mount" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mount" / name).write_text(text + "\n")
    (tmp_path / "cgroup").write_text(f"9:name=systemd:/\n{group}\n")
    mount = f"36 35 98:0 {root} {tmp_path / 'mount'} rw,noatime shared:1 - {kind}\n"
    (tmp_path / "mountinfo").write_text("22 1 254:0 / / rw - ext4 /dev/vda rw\n" + mount)
    monkeypatch.setattr(cores, "_PROC", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert usable_cores() == expected


def test_other_systems_have_no_quotas(tmp_path, monkeypatch):
    monkeypatch.setattr(cores, "_PROC", tmp_path / "none")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_every_default_that_counts_cores_minds_the_affinity():
    code = """if True:
        import argparse, os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        from fastcap.cli import gradio, serve
        from fastcap.runtime.bulk import check_workers
        assert check_workers(None) == 1
        for verb in (serve, gradio):
            parser = argparse.ArgumentParser()
            verb.add_arguments(parser)
            assert parser.parse_args([]).threads == 1, verb
    """
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
