"""The helpers in invariants.py pass a sound decoder, and each finds the defect that it is there for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fastcap.layers import KeyValueCache, SelfAttention
from invariants import (
    assert_batch_equals_single,
    assert_cached_equals_full,
    assert_causal,
    assert_exported_equals_eager,
    assert_padding_blind,
)

LENGTHS = torch.tensor([7, 3, 5])


class TinyDecoder(nn.Module):
    """One layer of self-attention over embedded tokens and positions. `flaw`: what is wrong with it."""

    def __init__(self, flaw: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.flaw = flaw
        self.embedding, self.position = nn.Embedding(20, 8), nn.Parameter(torch.randn(16, 8))
        self.layers = nn.ModuleList([SelfAttention(8, 2)])
        self.double().eval()

    def logits(
        self,
        token_ids: Tensor,
        state: Tensor,
        *,
        causal: bool = True,
        lengths: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """token_ids (R, T), of which row r is of the image state[r] (R, 8) -> (R, T, 20)."""
        length = token_ids.shape[1]
        held = cache.length if cache is not None else 0
        start = max(held - 1, 0) if self.flaw == "position" else held
        sees_all = self.flaw == "future" or (self.flaw == "piece" and held > 0)
        padded = None if lengths is None or self.flaw == "padding" else torch.arange(length) >= lengths[:, None]
        x = self.embedding(token_ids) + self.position[start : start + length] + state[:, None]
        if self.flaw == "blind":
            x = x.clone()
            x[:, 2] = 0
        x = x + self.layers[0](
            x,
            causal=causal and not sees_all,
            padding_mask=padded,
            cache=None if self.flaw == "forgets" else cache,
        )
        if self.flaw == "batch":
            x = x - x.mean(dim=0)
        return x @ self.embedding.weight.t()


@pytest.fixture
def state() -> Tensor:
    return torch.randn(3, 8, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture
def token_ids() -> Tensor:
    return torch.randint(0, 20, (3, 7), generator=torch.Generator().manual_seed(2))


def cached(decoder, state, token_ids):
    assert_cached_equals_full(decoder, state, token_ids)


def causal(decoder, state, token_ids):
    assert_causal(decoder, state, token_ids)


def padding_blind(decoder, state, token_ids):
    def read(ids: Tensor, lengths: Tensor) -> Tensor:
        return decoder.logits(ids, state, causal=False, lengths=lengths)

    assert_padding_blind(read, token_ids, LENGTHS)
    last = torch.arange(3), LENGTHS - 1
    assert_padding_blind(lambda ids, lengths: read(ids, lengths)[last], token_ids, LENGTHS)


def batch_equals_single(decoder, state, token_ids):
    def alone(row: int) -> Tensor:
        return decoder.logits(token_ids[row : row + 1], state[row : row + 1])[0]

    with torch.no_grad():
        together = decoder.logits(token_ids, state)
        assert_batch_equals_single(together, alone)
        assert_batch_equals_single(together.argmax(dim=-1).tolist(), lambda row: alone(row).argmax(dim=-1).tolist())


HELPERS = [cached, causal, padding_blind, batch_equals_single]


@pytest.mark.parametrize("holds", HELPERS)
def test_a_sound_decoder_passes(holds, state, token_ids):
    holds(TinyDecoder(), state, token_ids)


@pytest.mark.parametrize(
    ("flaw", "holds", "message"),
    [
        ("position", cached, r"pieces of \[1, 1, .*first at position 1\. .*the cache is one position behind"),
        ("piece", cached, r"pieces of \[3, 1, 3\].*masked as if it stood alone"),
        ("forgets", cached, r"the cache holds 0 positions after 7 tokens.*does not append"),
        (
            "future",
            causal,
            r"another token 1 changes logits before it, first at position 0.*the causal mask is missing",
        ),
        ("blind", causal, r"another token 2 changes nothing at position 2.*hides a position from itself"),
        ("padding", padding_blind, "other padding changes what is read.*past a caption's length are not masked"),
        ("batch", batch_equals_single, "item 0 of the batch is not what it is alone.*over the whole batch"),
    ],
)
def test_a_flaw_is_found_and_its_usual_cause_is_named(flaw, holds, message, state, token_ids):
    with pytest.raises(AssertionError, match=f"(?s){message}"):
        holds(TinyDecoder(flaw), state, token_ids)


def test_captions_that_differ_in_a_batch_are_shown():
    with pytest.raises(AssertionError, match=r"item 1 of the batch is not .*: \[6, 7\] and \[6, 8\]\. Usual cause"):
        assert_batch_equals_single([[5], [6, 7]], lambda index: [[5], [6, 8]][index])


def shares(x: Tensor) -> dict[str, Tensor]:
    """The number of rows in them was a Python number when this was traced."""
    return {"shares": x / int(x.shape[0])}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_graph_that_was_traced_with_another_size_is_found():
    traced = torch.jit.trace(shares, torch.ones(2, 3), strict=False)
    assert_exported_equals_eager(traced(torch.ones(2, 3)), shares(torch.ones(2, 3)))
    with pytest.raises(AssertionError, match=r"shares: the graph gives 0\.5 at \(0, 0\), the model 0\.3.*constant"):
        assert_exported_equals_eager(traced(torch.ones(3, 3)), shares(torch.ones(3, 3)))


def test_other_shapes_names_and_token_ids_of_a_graph_are_found():
    ids = torch.tensor([[5, 6]])
    assert_exported_equals_eager({"token_ids": ids.numpy()}, {"token_ids": ids})
    with pytest.raises(AssertionError, match=r"token_ids: the graph gives 7 at \(0, 1\), the model 6"):
        assert_exported_equals_eager({"token_ids": torch.tensor([[5, 7]])}, {"token_ids": ids})
    with pytest.raises(
        AssertionError, match=r"the graph's shape is \(1, 1\), the model's \(1, 2\).*traced as a constant"
    ):
        assert_exported_equals_eager({"token_ids": ids[:, :1]}, {"token_ids": ids})
    with pytest.raises(AssertionError, match=r"the graph gives \['log_p'\], the model \['token_ids'\]"):
        assert_exported_equals_eager({"log_p": ids}, {"token_ids": ids})
