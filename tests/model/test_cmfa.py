"""Alignment of images and texts: the losses by brute force, no leak, retrieval counted by hand."""

from __future__ import annotations

import math

import pytest
import torch

from fastcap.alignment.cmfa import CONTRASTS, Alignment, contrastive_loss, info_nce, recall, sigmoid_loss
from fastcap.layers import ImageTokens
from invariants import assert_batch_equals_single, assert_padding_blind


@pytest.mark.parametrize("batch", [2, 3])
def test_the_sigmoid_loss_is_its_formula(batch):
    logits = torch.randn(batch, batch, generator=torch.Generator().manual_seed(0)).double()
    expected = 0.0
    for i in range(batch):
        for j in range(batch):
            sign = 1 if i == j else -1
            expected -= math.log(1 / (1 + math.exp(-sign * logits[i, j]))) / batch
    assert sigmoid_loss(logits).item() == pytest.approx(expected)


@pytest.mark.parametrize("batch", [2, 3])
def test_info_nce_is_its_formula(batch):
    logits = torch.randn(batch, batch, generator=torch.Generator().manual_seed(0)).double()
    p = logits.exp()
    expected = sum(-math.log(p[i, i] / p[i].sum()) - math.log(p[i, i] / p[:, i].sum()) for i in range(batch))
    assert info_nce(logits).item() == pytest.approx(expected / 2 / batch)


@pytest.fixture
def alignment() -> Alignment:
    torch.manual_seed(0)
    return Alignment(16, d_space=8, max_length=12).eval()


def image(count: int = 3) -> ImageTokens:
    tokens = torch.randn(count, 4, 16, generator=torch.Generator().manual_seed(1))
    return ImageTokens(tokens, tokens.mean(dim=1))


def test_vectors_have_unit_length_and_padding_changes_nothing(alignment):
    embedded = torch.randn(3, 6, 16)
    lengths = torch.tensor([6, 2, 4])
    texts = alignment.embed_text(embedded, lengths)
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(alignment.embed_image(image()).norm(dim=1), torch.ones(3))
    assert_padding_blind(alignment.embed_text, embedded, lengths)
    assert_batch_equals_single(texts, lambda row: alignment.embed_text(embedded[row, None], lengths[row, None])[0])


def test_the_image_side_sees_no_caption(alignment):
    """The image's vector has no path from the text encoder, and a batch of other images does not change it."""
    vectors = alignment.embed_image(image())
    used = torch.autograd.grad(vectors.sum(), list(alignment.text.parameters()), allow_unused=True)
    assert all(gradient is None for gradient in used)
    tokens, pooled = image()
    assert_batch_equals_single(
        vectors, lambda index: alignment.embed_image(ImageTokens(tokens[index, None], pooled[index, None]))[0]
    )


@pytest.mark.parametrize("loss", [sigmoid_loss, info_nce])
def test_four_pairs_are_learnt_and_then_found(alignment, loss):
    images, embedded = image(4), torch.randn(4, 5, 16, generator=torch.Generator().manual_seed(3))
    lengths = torch.full((4,), 5)
    optimizer = torch.optim.Adam(alignment.parameters(), 3e-3)
    for _ in range(150):
        value = loss(alignment.logits(alignment.embed_image(images), alignment.embed_text(embedded, lengths)))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    similarity = alignment.logits(alignment.embed_image(images), alignment.embed_text(embedded, lengths))
    assert recall(similarity, torch.arange(4), at=(1,)) == {"image_to_text_1": 1, "text_to_image_1": 1}
    assert all(parameter.grad is not None for name, parameter in alignment.named_parameters() if name != "bias")


@pytest.mark.parametrize("kind", CONTRASTS)
def test_texts_of_one_image_stand_for_it_in_turn_and_are_not_each_others_opposite(alignment, kind):
    images, embedded, lengths = image(3), torch.randn(6, 5, 16), torch.full((6,), 5)
    logits = alignment.logits(alignment.embed_image(images), alignment.embed_text(embedded, lengths))
    expected = (CONTRASTS[kind](logits[:, 0::2]) + CONTRASTS[kind](logits[:, 1::2])) / 2
    torch.testing.assert_close(contrastive_loss(alignment, kind, images, embedded, lengths), expected)


def test_recall_is_counted_both_ways():
    owners = torch.tensor([0, 0, 1])
    similarity = torch.tensor([[0.1, 0.2, 0.9], [0.3, 0.1, 0.5]])
    # image 0: its best text is second; image 1: its text is first. Texts 0 and 2: the other image is nearer; 1: found
    found = recall(similarity, owners, at=(1, 2))
    assert found["image_to_text_1"] == 0.5
    assert found["image_to_text_2"] == 1
    assert found["text_to_image_1"] == pytest.approx(1 / 3)
    assert found["text_to_image_2"] == 1
