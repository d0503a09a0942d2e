"""Training that draws images by weights: as often as they say, the same again after an interruption."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from toy_recipe import stage

from fastcap.config import DataConfig, DatasetConfig, TrainConfig
from fastcap.errors import ConfigError, DataError
from fastcap.training.sampling import epoch_order, read_weights
from fastcap.training.trainer import Trainer

ELIGIBLE = np.arange(10, 20)
WEIGHTS = np.concatenate([np.zeros(10), [1.0] * 8, [3.0, 9.0]])  # of 20 images, of which the last ten are eligible


def test_without_weights_an_epoch_is_a_permutation():
    order = epoch_order(ELIGIBLE, None, [1, 2])
    assert sorted(order) == ELIGIBLE.tolist() and order.tolist() != ELIGIBLE.tolist()
    assert order.tolist() == np.random.default_rng([1, 2]).permutation(ELIGIBLE).tolist()


def test_an_image_is_drawn_as_often_as_its_weight_says_or_once_more():
    total: Counter[int] = Counter()
    for epoch in range(400):
        drawn = Counter(epoch_order(ELIGIBLE, WEIGHTS, [0, epoch]).tolist())
        assert drawn.total() == 10
        for image in ELIGIBLE:
            assert int(WEIGHTS[image] / 2) <= drawn[image] <= int(WEIGHTS[image] / 2) + 1
        total += drawn
    assert {image: total[image] / 400 for image in (10, 18, 19)} == pytest.approx({10: 0.5, 18: 1.5, 19: 4.5}, abs=0.06)


def test_a_weight_of_zero_leaves_an_image_out():
    weights = np.where(np.arange(20) == 12, 0.0, 1.0)
    assert all(12 not in epoch_order(ELIGIBLE, weights, [epoch]) for epoch in range(200))


def test_the_same_seed_gives_the_same_order():
    first, again, other = (epoch_order(ELIGIBLE, WEIGHTS, [5, epoch]).tolist() for epoch in (1, 1, 2))
    assert first == again != other


@pytest.fixture
def weighted(recipe: Callable[..., TrainConfig], toy_data: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """A recipe with weights: one image has half of them all."""
    table, rows = tmp_path / "reweighting_probs.csv", ["image,split,probability"]
    for path in sorted((toy_data / "toy/images").iterdir()):
        rows.append(f"images/{path.name},train,{11 if path.name == 'red_box.png' else 1}")
    table.write_text("\n".join(rows) + "\n")

    def make(**settings: object) -> TrainConfig:
        made = recipe(**settings)
        return dataclasses.replace(made, data=dataclasses.replace(made.data, weights=str(table)))

    return make


def test_training_obeys_the_weights(weighted):
    made = Trainer(weighted())
    made.prepare_stage(stage(images=12))
    names = [made.corpus.pool.paths[i].name for step in range(20) for i in made.inputs.batch(step).images]
    assert Counter(names)["red_box.png"] == 120  # of 240
    assert len(set(names)) == 12


def test_a_batch_by_weights_is_a_function_of_the_step(weighted):
    first, again = Trainer(weighted()), Trainer(weighted(output="again"))
    for made in (first, again):
        made.prepare_stage(stage())
    seen = [first.inputs.batch(step).images.tolist() for step in range(12)]
    assert [again.inputs.batch(step).images.tolist() for step in (7, 11, 3)] == [seen[7], seen[11], seen[3]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no row for 1 of 1 training images"),
        ("image,weight\na.jpg,1\n", "is no table of images and probabilities"),
        ("image,probability\na.jpg,much\n", "could not convert"),
        ("image,probability\na.jpg,-1\n", "row 2 has the probability -1.0"),
        ("image,probability\nb.jpg,1\n", "has no row for 1 of 1 training images, the first "),
        ("image,probability\na.jpg,0\n", "gives every training image the probability 0"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(text, told, tmp_path):
    (tmp_path / "w.csv").write_text(text)
    data = DataConfig(root=str(tmp_path), train=(DatasetConfig("jsonl", "."),), weights=str(tmp_path / "w.csv"))
    with pytest.raises(DataError, match=told):
        read_weights(data, [tmp_path / "a.jpg"])


def test_a_picture_s_path_may_begin_at_any_of_the_folders(tmp_path):
    data = DataConfig(root=str(tmp_path), train=(DatasetConfig("jsonl", "mine"),), weights=str(tmp_path / "w.csv"))
    paths = [tmp_path / "mine" / name for name in ("a.jpg", "b.jpg", "c.jpg")]
    rows = ["image,probability", "a.jpg,1", "mine/b.jpg,2", f"{paths[2]},3"]
    (tmp_path / "w.csv").write_text("\n".join(rows))
    weights = read_weights(data, paths)
    assert weights is not None and weights.tolist() == [1, 2, 3]


def test_streams_take_no_weights():
    with pytest.raises(ConfigError, match="allowed: none, where the data are streamed"):
        DataConfig(train=(DatasetConfig("webdataset", "*.tar"),), weights="w.csv")
