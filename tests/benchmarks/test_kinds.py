"""scripts/kinds: made pictures are the same each time, whole families are held out, and figures are what they say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib", reason="needs the extra `eval`")
torch = pytest.importorskip("torch", reason="needs the extra `train`")

from fastcap.runtime.contract import PICTURES  # noqa: E402
from fastcap.runtime.photo import PhotoHead  # noqa: E402

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "kinds"
NAMES = ("common", "blanks", "charts", "drawings", "screens", "texts", "photographs", "make", "fit")


@pytest.fixture(scope="module")
def kinds() -> Iterator[SimpleNamespace]:
    """The modules of the folder, by name; they are no package."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        yield SimpleNamespace(**{name: __import__(name) for name in NAMES})
    finally:
        sys.path.remove(str(SCRIPTS))
        for name in NAMES:
            sys.modules.pop(name, None)


def test_every_kind_has_families_to_train_on_and_others_that_are_held_out(kinds) -> None:
    families = kinds.common.FAMILIES.values()
    for kind in PICTURES[1:]:
        assert sum(family.kind == kind and not family.held_out for family in families) >= 10
        assert sum(family.kind == kind and family.held_out for family in families) >= 6
    assert not set(kinds.common.TRAIN_FONTS) & set(kinds.common.HELD_OUT_FONTS)
    assert not set(kinds.photographs.CHANGES) & set(kinds.photographs.HELD_OUT_CHANGES)


def test_a_picture_is_the_same_whenever_it_is_made(kinds) -> None:
    """Of every family: its pixels, or the page that Chromium renders."""
    differ = []
    for name, family in kinds.common.FAMILIES.items():
        if not kinds.common.HELD_OUT_FONTS and family.held_out:
            continue
        first, again, other = (family.make(kinds.common.random_of(1, name, index)) for index in (0, 0, 1))
        if isinstance(first, Image.Image):
            assert first.mode == "RGB", name
            first, again, other = (np.asarray(each).tobytes() for each in (first, again, other))
        assert first == again, name
        differ.append(first != other)
    assert sum(differ) >= 0.95 * len(differ)  # two empty pages may be alike


def test_a_changed_photo_is_one_picture_of_the_same_kind(kinds) -> None:
    grain = np.random.default_rng(0).integers(0, 256, (14, 14, 3), dtype=np.uint8)
    photo = Image.fromarray(grain).resize((224, 224), Image.Resampling.BICUBIC)
    for name, change in (kinds.photographs.CHANGES | kinds.photographs.HELD_OUT_CHANGES).items():
        changed = change(kinds.common.random_of(1, name, 0), photo)
        assert (changed.mode, min(changed.size) > 30) == ("RGB", True), name


def test_auroc_is_the_share_of_pairs_in_the_right_order(kinds) -> None:
    assert kinds.fit.auroc(np.array([3.0, 1.0]), np.array([0.0, 2.0])) == 0.75
    assert kinds.fit.auroc(np.array([1.0]), np.array([1.0])) == 0.5


def pictures(kinds, number: int = 400):
    """Photos whose inputs are high, others whose are low, with some overlap; the last inputs stand for statistics."""
    random = np.random.default_rng(0)
    labels = np.arange(number) % len(PICTURES)
    inputs = random.normal(0, 1, (number, 60))
    inputs[np.arange(number), labels] += 4
    names = ("as they are", "dark")
    families = np.array([names[at % 4 > 1] if not label else f"family {at % 12}" for at, label in enumerate(labels)])
    return kinds.fit.Pictures(inputs, labels, families)


def test_a_head_learns_kinds_and_its_threshold_silences_few_photos(kinds, monkeypatch) -> None:
    monkeypatch.setattr(kinds.fit, "STEPS", 150)
    seen = pictures(kinds)
    values = kinds.fit.fit(seen)
    kinds.fit.set_threshold(values, seen)
    scores = kinds.fit.logits(values, seen.inputs)
    rows = {name: (number, area, silenced) for name, number, area, silenced in kinds.fit.report(seen, scores)}
    assert rows["all that are no photos"][1] > 0.95
    assert rows["all photos"][2] <= 0.05
    again = kinds.fit.fit(seen)
    assert all(np.array_equal(again[key], values[key]) for key in ("hidden", "output"))  # the bias was moved


def test_what_is_written_is_read_by_the_runtime_and_judges_alike(kinds, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kinds.fit, "STEPS", 20)
    seen = pictures(kinds)
    values = kinds.fit.fit(seen)
    (tmp_path / "photo.json").write_text(kinds.fit.as_json(values), encoding="utf-8")
    head = PhotoHead.read(tmp_path / "photo.json")
    assert head.width == seen.inputs.shape[1] - 47
    pixels = np.random.default_rng(1).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    vector = np.zeros(head.width, np.float32)
    inputs = np.concatenate([vector, kinds.fit.photo.statistics(pixels)])[None]
    odds = kinds.fit.margin(kinds.fit.logits(values, inputs))[0]
    assert head.judge(pixels, vector).photo == pytest.approx(1 / (1 + np.exp(-odds)), abs=5e-3)  # four digits are kept


def test_no_family_judges_itself(kinds, monkeypatch) -> None:
    """The scores of a crosswise fit come from heads that saw none of the picture's family."""
    seen, fitted = pictures(kinds, 120), []
    monkeypatch.setattr(kinds.fit, "fit", lambda part: fitted.append(part) or {})
    monkeypatch.setattr(kinds.fit, "logits", lambda _, inputs: np.zeros((len(inputs), len(PICTURES))))
    kinds.fit.crosswise(seen)
    for part in fitted:
        names = {(k, f) for k, f in zip(part.kinds.tolist(), part.families.tolist(), strict=True) if k}
        left_out = {(k, f) for k, f in zip(seen.kinds.tolist(), seen.families.tolist(), strict=True) if k} - names
        total = sum(key in left_out for key in zip(seen.kinds.tolist(), seen.families.tolist(), strict=True))
        assert total == (seen.kinds > 0).sum() - (part.kinds > 0).sum()
