"""The models, the page, the recipes and other texts; and the modules that are imported by a name in a text."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastcap.runtime.images import DECODERS

package = Path(__file__).resolve().parents[1]
datas = []
for name in ("bundled", "web", "configs"):
    # An installation has all three in the package; a clone has two of them beside its `src`.
    folder = next(filter(Path.is_dir, (package / name, package.parents[1] / name)), package)
    for path in filter(Path.is_file, folder.rglob("*") if folder != package else ()):
        datas.append((str(path), str(Path("fastcap", name, path.relative_to(folder).parent))))
for path in (package / "curation").rglob("*.txt"):  # the words and instructions of `fastcap data`
    datas.append((str(path), str(Path("fastcap", path.relative_to(package).parent))))

decoders = [module for module, _ in DECODERS.values() if find_spec(module.partition(".")[0]) and find_spec(module)]
runtime = [f"fastcap.runtime.{path.stem}" for path in (package / "runtime").glob("[a-z]*.py")]
hiddenimports = [*decoders, *runtime]


def hook(hook_api: Any) -> None:
    """An application with the command line needs all verbs, each of which is imported when it is chosen."""
    if hook_api.graph.find_node("fastcap.cli"):
        from fastcap.cli import VERBS, module_of

        hook_api.add_imports(*map(module_of, VERBS))
