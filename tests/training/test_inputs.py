"""Batches of a stage: an epoch shows every image once, and a batch is a function of its step alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toy_recipe import stage

from fastcap.training.trainer import Trainer


def test_an_epoch_shows_every_image_once_and_the_next_in_another_order(recipe):
    made, seen = Trainer(recipe()), []
    made.prepare_stage(stage(images=5))
    for step in range(12):
        seen += made.inputs.batch(step).images.tolist()
    epochs = [seen[start : start + 12] for start in range(0, 60, 12)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_a_batch_is_a_function_of_the_step(recipe):
    for freeze in ("convolutions", "none"):
        made = Trainer(recipe())
        made.prepare_stage(stage(freeze=freeze))
        first, other, again = (made.inputs.batch(step).tensors for step in (3, 4, 3))
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert not torch.equal(first["token_ids"], other["token_ids"])


def test_the_length_target_is_the_share_of_the_references_lengths(recipe):
    made = Trainer(recipe())
    made.prepare_stage(stage())
    batch, indices, _ = made.inputs.batch(0)
    for row, index in enumerate(indices):
        lengths = [len(ids) for ids in made.corpus.pool.token_ids[index]["human"]]
        expected = np.bincount(lengths, minlength=21) / 2
        assert batch["length_target"][row].tolist() == pytest.approx(expected.tolist())
