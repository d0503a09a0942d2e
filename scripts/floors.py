"""Print the lowest versions that pyproject.toml allows, one requirement a line; CI installs and tests them.

pip install $(python scripts/floors.py)             # the runtime
pip install $(python scripts/floors.py serve bulk)  # and what these extras need
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def floors(project: dict[str, Any], extras: Iterable[str]) -> dict[str, str]:
    """Package -> the lowest version allowed; the highest such, where the runtime and extras state several."""
    lowest: dict[str, str] = {}
    for requirement in requirements(project, project["dependencies"], extras):
        stated = re.fullmatch(r"([A-Za-z0-9._-]+(?:\[[a-z,]+\])?)[>=]=([0-9.]+)(?:,<[0-9.]+)?", requirement)
        if stated is None:
            sys.exit(f"{PYPROJECT}: {requirement!r} states no lowest version; allowed is NAME>=VERSION, and ,<VERSION")
        name, version = stated.groups()
        lowest[name] = max(version, lowest.get(name, version), key=lambda text: [int(part) for part in text.split(".")])
    return lowest


def requirements(project: dict[str, Any], own: Iterable[str], extras: Iterable[str]) -> Iterator[str]:
    """`own`, and the requirements of extras, those of extras that they name included."""
    for requirement in own:
        name, _, inner = requirement.partition("[")
        if name == project["name"]:
            yield from requirements(project, (), inner.rstrip("]").split(","))
        else:
            yield requirement
    for extra in extras:
        if extra not in project["optional-dependencies"]:
            sys.exit(f"no extra {extra!r}; allowed are {', '.join(project['optional-dependencies'])}")
        yield from requirements(project, project["optional-dependencies"][extra], ())


if __name__ == "__main__":
    for name, version in floors(tomllib.loads(PYPROJECT.read_text("utf-8"))["project"], sys.argv[1:]).items():
        print(f"{name}=={version}")
