"""Fit the head to vectors and statistics of pictures, and measure it on families that it never saw."""

from __future__ import annotations

import hashlib
import inspect
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.progress import track

from fastcap.runtime import photo
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.contract import MEMORY, PICTURES, WORDS
from fastcap.runtime.images import load_image

UNITS, STEPS, SEED = 24, 1500, 19
SILENCED = 0.003
"""Share of the photos to train on, as they are, that may be taken for something else by heads without them."""
SILENCED_CHANGED = 0.015
"""The same of changed ones, some of which nobody would take for photos: they are made at random."""
FOLDS = 4


class Pictures(NamedTuple):
    """N pictures: `inputs` (N, A + S), `kinds` (N,) as numbers of `PICTURES`, `families` (N,) texts."""

    inputs: np.ndarray
    kinds: np.ndarray
    families: np.ndarray

    def of(self, rows: np.ndarray) -> Pictures:
        return Pictures(self.inputs[rows], self.kinds[rows], self.families[rows])


def pictures_of(captioner: Captioner, folder: Path, photos: Sequence[Path]) -> Pictures:
    """Made pictures below `folder`, as `make` leaves them, and photos as they are; vectors are kept in a file there."""
    made = sorted(folder.rglob("*.png"), key=lambda path: (path.name, path))
    kinds = [PICTURES.index(path.parent.parent.name) for path in made] + [0] * len(photos)
    families = [path.parent.name for path in made] + ["as they are"] * len(photos)
    return Pictures(_inputs(captioner, folder, [*made, *photos]), np.array(kinds), np.array(families))


def _inputs(captioner: Captioner, folder: Path, paths: Sequence[Path]) -> np.ndarray:
    own = (photo.PHOTO, MEMORY, WORDS)
    files = sorted((name, file.sha256) for name, file in captioner.bundle.files.items() if name not in own)
    told = repr(files) + inspect.getsource(photo.statistics)
    cache = folder / f"inputs_{hashlib.sha256(told.encode()).hexdigest()[:12]}.npz"
    known: dict[str, np.ndarray] = {}
    if cache.exists():
        with np.load(cache) as held:
            known = dict(zip(held["names"].tolist(), held["inputs"], strict=True))
    size = captioner.bundle.preprocessing
    missing = [path for path in paths if str(path) not in known]
    for place, path in enumerate(track(missing, f"vectors of {folder.name}")):
        pixels = load_image(path, (size.width, size.height))
        known[str(path)] = np.concatenate([captioner.embed_images([pixels])[0], photo.statistics(pixels)])
        if place % 1000 == 999:
            _keep(cache, known)
    if missing:
        _keep(cache, known)
    return np.stack([known[str(path)] for path in paths]).astype(np.float64)


def _keep(cache: Path, known: dict[str, np.ndarray]) -> None:
    aside = cache.with_suffix(".part.npz")
    np.savez(aside, names=np.array(list(known)), inputs=np.stack(list(known.values())))
    aside.rename(cache)


def fit(pictures: Pictures, seed: int = SEED) -> dict[str, Any]:
    """The values of a head, as `fastcap.runtime.photo.PhotoHead` takes them, before its threshold is set.

    Families count alike, however many pictures they have; photos as much as all others together, half of it photos as
    they are. Inputs are dropped at random, so that no few of them decide.
    """
    centre, scale = pictures.inputs.mean(0), pictures.inputs.std(0) + 1e-3
    inputs = torch.tensor(np.clip((pictures.inputs - centre) / scale, -4, 4), dtype=torch.float32)
    kinds = torch.tensor(pictures.kinds)
    weights = torch.tensor(_weights(pictures), dtype=torch.float64)
    torch.manual_seed(seed)
    hidden, output = torch.nn.Linear(inputs.shape[1], UNITS), torch.nn.Linear(UNITS, len(PICTURES))
    parameters = [*hidden.parameters(), *output.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=STEPS)
    for _ in range(STEPS):
        rows = torch.multinomial(weights, 256, replacement=True)
        kept = torch.nn.functional.dropout(inputs[rows], 0.15)
        kept = kept + 0.15 * torch.randn_like(kept)
        logits = output(torch.nn.functional.dropout(torch.relu(hidden(kept)), 0.1))
        loss = torch.nn.functional.cross_entropy(logits, kinds[rows], label_smoothing=0.02)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    names = ("hidden", "hidden_bias", "output", "output_bias")
    learnt = {name: value.detach().double().numpy() for name, value in zip(names, parameters, strict=True)}
    return {"centre": centre, "scale": scale, **learnt}


def _weights(pictures: Pictures) -> np.ndarray:
    """How often each picture is drawn."""
    keys = np.char.add(pictures.kinds.astype(str), pictures.families)
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    weights = 1 / counts[place]
    plain, photos = pictures.families == "as they are", pictures.kinds == 0
    for rows, share in ((plain, 0.25), (photos & ~plain, 0.25), (~photos, 0.5)):
        weights[rows] *= share / max(weights[rows].sum(), 1e-9)
    return weights


def logits(values: dict[str, Any], inputs: np.ndarray) -> np.ndarray:
    """What the head gives for inputs (N, A + S): (N, K)."""
    seen = np.clip((inputs - values["centre"]) / values["scale"], -4, 4)
    return np.maximum(seen @ values["hidden"].T + values["hidden_bias"], 0) @ values["output"].T + values["output_bias"]


def margin(scores: np.ndarray) -> np.ndarray:
    """How much more a photo is likely than all else together: the logarithm of the odds."""
    others = scores[:, 1:]
    most = others.max(1)
    return scores[:, 0] - most - np.log(np.exp(others - most[:, None]).sum(1))


def crosswise(pictures: Pictures) -> np.ndarray:
    """The scores of each picture by a head that saw neither it nor, if it is no photo, any of its family."""
    own = np.array(
        [
            zlib.crc32(f"{kind}{family}".encode()) % FOLDS
            for kind, family in zip(pictures.kinds, pictures.families, strict=True)
        ]
    )
    photos = pictures.kinds == 0
    own[photos] = np.arange(int(photos.sum())) % FOLDS
    scores = np.zeros((len(own), len(PICTURES)))
    for fold in range(FOLDS):
        scores[own == fold] = logits(fit(pictures.of(np.flatnonzero(own != fold))), pictures.inputs[own == fold])
    return scores


def auroc(photos: np.ndarray, others: np.ndarray) -> float:
    """The share of pairs in which the photo has the higher score."""
    order = np.sort(others)
    below, upto = np.searchsorted(order, photos, "left"), np.searchsorted(order, photos, "right")
    return float((below + upto).sum() / 2 / (len(photos) * len(others)))


def report(pictures: Pictures, scores: np.ndarray) -> Iterator[tuple[str, int, float, float]]:
    """Name, number of pictures, AUROC against all photos or, of photos, nan; share taken for no photo. By kind, then
    by family."""
    margins, photos = margin(scores), pictures.kinds == 0
    named = [("all that are no photos", ~photos)]
    named += [(kind, pictures.kinds == at) for at, kind in enumerate(PICTURES) if at]
    named += [("all photos", photos)]
    for kind, family in sorted(set(zip(pictures.kinds.tolist(), pictures.families.tolist(), strict=True))):
        named.append((f"{PICTURES[kind]}, {family}", (pictures.kinds == kind) & (pictures.families == family)))
    plain = photos & (pictures.families == "as they are")
    for name, rows in named:
        is_photo = bool(pictures.kinds[rows][0] == 0)
        against = float("nan") if is_photo else auroc(margins[plain if plain.any() else photos], margins[rows])
        yield name, int(rows.sum()), against, float((margins[rows] < 0).mean())


def set_threshold(values: dict[str, Any], pictures: Pictures) -> float:
    """Move the output for "photo" so that at most `SILENCED` of the photos as they are, and `SILENCED_CHANGED` of the
    changed ones, are taken for something else by heads that did not see them. Returns how far it was moved."""
    margins = margin(crosswise(pictures))
    photos = pictures.kinds == 0
    plain = photos & (pictures.families == "as they are")
    bars = [np.quantile(margins[plain], SILENCED), np.quantile(margins[photos & ~plain], SILENCED_CHANGED)]
    shift = -float(min(0.0, *bars))
    values["output_bias"][0] += shift
    return shift


def as_json(values: dict[str, Any]) -> str:
    """The content of `photo.json`: four digits of each number are enough."""
    rounded = {key: _rounded(value) for key, value in values.items()}
    return json.dumps({"kinds": list(PICTURES), **rounded}, separators=(",", ":")) + "\n"


def _rounded(value: np.ndarray) -> Any:
    return [_rounded(each) for each in value] if value.ndim else float(f"{float(value):.4g}")
