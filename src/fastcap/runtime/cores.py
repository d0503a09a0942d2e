"""How many processor cores this process may use."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

from fastcap.files import machine_lines

__all__ = ["usable_cores"]

_PROC = Path("/proc/self")


def usable_cores() -> int:
    """Cores left to this process by its affinity (`taskset`) and by the quota of its container, rounded up; 1 or more.

    Not `os.cpu_count`, which counts those of the machine: `docker --cpus=1` on a host of 64 leaves one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *map(math.ceil, _quotas())]))


def _quotas() -> Iterator[float]:
    """The cores that each control group of this process may use, and each group above it; for versions 1 and 2."""
    try:
        groups = [line.split(":", 2) for line in machine_lines(_PROC / "cgroup")]
        mounts = [line.split(" ") for line in machine_lines(_PROC / "mountinfo")]
    except OSError:  # no Linux
        return
    for mount in mounts:
        # 36 35 98:0 /root /mount/point rw,noatime - cgroup cgroup rw,cpu,cpuacct
        if "-" not in mount[5:-3]:
            continue
        kind, options = mount[mount.index("-", 5) + 1], mount[-1].split(",")
        for number, controllers, path in (group for group in groups if len(group) == 3):
            if (kind == "cgroup2" and number == "0") or (
                kind == "cgroup" and "cpu" in options and "cpu" in controllers.split(",")
            ):
                root, place = map(_named, mount[3:5])
                inner = Path(path).relative_to(root) if Path(path).is_relative_to(root) else Path()
                for folder in (place / inner, *(place / above for above in inner.parents)):
                    yield from _quota(folder)


def _named(name: str) -> Path:
    """A path as mountinfo has it, where a space, a tab, a line feed and a backslash are octal numbers."""
    return Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), name))


def _quota(folder: Path) -> Iterator[float]:
    for name, read in (("cpu.max", _version_2), ("cpu.cfs_quota_us", _version_1)):
        try:
            quota, period = read(folder / name)
            if quota > 0 and period > 0:
                yield quota / period
        except (OSError, ValueError):  # no such file, or "max": no limit
            continue


def _version_2(path: Path) -> tuple[int, int]:
    quota, period = path.read_text().split()
    return int(quota), int(period)


def _version_1(path: Path) -> tuple[int, int]:
    return int(path.read_text()), int(path.with_name("cpu.cfs_period_us").read_text())
