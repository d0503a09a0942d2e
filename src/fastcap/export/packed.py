"""One picture's captions as one sequence without padding: what is exported.

The candidates of a picture are laid end to end, N tokens in all, and an attention mask keeps them apart. No tensor has
a batch dimension or a padded one, so an exported graph is two thirds smaller and faster than that of the batched
decoder, `ParallelCaptionModel.caption`. Its results are those of the batched decoder for one picture.

Letters: K candidates, N tokens of all of them, T the longest, R rows decoded side by side, D width, H heads, W width of
a head, S keys and values in turn of each layer, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from fastcap.decoder.attention import RankAugmentedLinearAttention, kernel
from fastcap.layers import Expert

if TYPE_CHECKING:
    from fastcap.decoder.moe_decoder import DecoderLayer, ImageState, MoEDecoder
    from fastcap.decoder.rope_decoder import RopeLayer
    from fastcap.generation.icmr import ICMRDecoder
    from fastcap.vocabulary import Vocabulary

__all__ = ["Attend", "Layout", "Packed", "PackedDecoder", "attention_scores", "continued", "with_self_attention"]

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # queries, keys and values (H, N, W) -> (H, N, W)
# Added to the attention score of a masked position. Its weight, 1.6e-28, vanishes beside 1 in float32, even if scores
# differ by 40; those of the bundled model differ by 34 at most, and every export is compared with the batched decoder,
# which masks with -inf. Exponentials below -87 would make ONNX Runtime's softmax slow.
HIDDEN = -64.0


class Layout(NamedTuple):
    """Where each of N positions stands: the `row` of its caption and the `step` in it, both (N,). `lengths`: (K,)."""

    lengths: Tensor
    row: Tensor
    step: Tensor

    @classmethod
    def of(cls, lengths: Tensor, extra: int = 0) -> Layout:
        """Captions of `lengths` (K,) tokens, each with `extra` positions more."""
        width: Any = lengths.max() + extra  # a tensor, so that an exported graph keeps it variable
        steps = torch.arange(width, device=lengths.device)
        places = (steps < lengths[:, None] + extra).nonzero()
        return cls(lengths, places[:, 0], places[:, 1])

    def members(self, dtype: torch.dtype) -> Tensor:
        """(K, N), 1 where a position belongs to a caption, else 0: a product with it sums over each caption."""
        return (torch.arange(self.lengths.shape[0], device=self.row.device)[:, None] == self.row).to(dtype)

    def same_caption(self) -> Tensor:
        """(N, N), True where two positions belong to one caption."""
        return self.row[:, None] == self.row


class Packed(NamedTuple):
    """As `Refined`, for N positions of K captions: `token_ids` (N,), their `probabilities` (N,), `scores` (K,)."""

    token_ids: Tensor
    probabilities: Tensor
    scores: Tensor


def with_self_attention(layer: DecoderLayer | RopeLayer, x: Tensor, attend: Attend) -> Tensor:
    """x (N, D) plus the layer's self-attention to it, computed by `attend`."""
    attention = layer.self_attention
    n_heads, width = attention.n_heads, attention.d_head
    heads = attention.project_in(layer.norm_self(x)).reshape(-1, 3 * n_heads, width).transpose(0, 1)
    y = attend(*heads.split(n_heads))
    return x + cast(Tensor, attention.project_out(y.transpose(0, 1).reshape(-1, n_heads * width)))


def attention_scores(queries: Tensor, keys: Tensor) -> Tensor:
    """Scaled products of queries (..., M, W) and keys (..., N, W) -> (..., M, N)."""
    return queries @ keys.transpose(-1, -2) * int(queries.shape[-1]) ** -0.5  # int: a constant of an exported graph


def continued(cache: Tensor, parents: Tensor) -> tuple[Attend, list[Tensor]]:
    """Self-attention of one new position of each row to its past and itself, to be called layer by layer; and the list
    to which each call appends its keys and values. Arguments as in `PackedDecoder.step`."""
    past = iter(cache.index_select(2, parents))
    grown: list[Tensor] = []

    def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        keys, values = (torch.cat([next(past), new[:, :, None]], dim=2) for new in (keys, values))  # (H, R, T+1, W)
        grown.extend([keys, values])
        return (attention_scores(queries[:, :, None], keys).softmax(dim=-1) @ values)[:, :, 0]

    return attend, grown


class PackedDecoder:
    """A `MoEDecoder` and the passes of an `ICMRDecoder`, for one picture; both keep their weights and settings."""

    def __init__(self, decoder: MoEDecoder, refiner: ICMRDecoder, vocabulary: Vocabulary) -> None:
        self.decoder, self.refiner, self.vocabulary = decoder, refiner, vocabulary

    def hidden(self, x: Tensor, attend: Attend, state: ImageState) -> Tensor:
        """Embedded tokens (N, D) -> (N, D); `attend` alone knows which position may attend to which."""
        layers = cast("Iterable[DecoderLayer]", self.decoder.layers)
        for layer, memory, experts in zip(layers, state.memories, state.experts, strict=True):
            x = with_self_attention(layer, x, attend)
            x = x + self.cross_attend(layer, layer.norm_cross(x), memory.buffer[0], memory.normaliser[0])
            x = x + self.apply_experts(layer.norm_experts(x), experts)
        return cast(Tensor, self.decoder.norm(x))

    @staticmethod
    def masked_attention(visible: Tensor) -> Attend:
        """Self-attention of N positions, where i attends to j if `visible` (N, N) is True there."""

        def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            scores = attention_scores(queries, keys)  # (H, N, N)
            return (scores + HIDDEN * (~visible).to(scores.dtype)).softmax(dim=-1) @ values

        return attend

    @staticmethod
    def cross_attend(layer: DecoderLayer, x: Tensor, buffer: Tensor, normaliser: Tensor) -> Tensor:
        """Attention of x (N, D) to the picture: buffer (H, W, W), normaliser (H, W)."""
        attention = layer.cross_attention
        heads, width = attention.n_heads, attention.d_head
        # queries and RALA's gate project the same input: one product
        parts = [attention.query]
        if isinstance(attention, RankAugmentedLinearAttention):
            parts.append(attention.gate)
        projected = F.linear(x, torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts]))
        queries, *gates = projected.split(heads * width, dim=-1)
        queries = kernel(queries).reshape(-1, heads, width).transpose(0, 1)  # (H, N, W)
        read = queries @ buffer / (queries @ normaliser[..., None])
        read = read.transpose(0, 1).reshape(-1, heads * width)
        return cast(Tensor, attention.project_out(read * gates[0] if gates else read))

    @staticmethod
    def apply_experts(x: Tensor, experts: Sequence[Expert]) -> Tensor:
        """The picture's experts on x (N, D), weighed by their shares."""
        outputs = [
            F.relu(x @ expert.weight_in[0] + expert.bias_in[0]) @ expert.weight_out[0] + expert.bias_out[0]
            for expert in experts
        ]
        if len(outputs) == 1:
            return outputs[0]  # an only expert's share is 1
        return torch.stack([e.share[0] * y for e, y in zip(experts, outputs, strict=True)]).sum(dim=0)

    # Refinement, as ICMRDecoder does it

    def begin(self, layout: Layout) -> Packed:
        """All tokens masked, at the worst score."""
        token_ids = torch.full_like(layout.row, self.refiner.mask_id)
        scores = torch.full_like(layout.lengths, -torch.inf, dtype=self.refiner.barred.dtype)
        return Packed(token_ids, torch.ones_like(token_ids, dtype=scores.dtype), scores)

    def bias(self, penalties: Tensor) -> Tensor:
        """What is added to the logits (V,): the decoder's bias, -inf for barred tokens, the penalties (V,)."""
        return self.decoder.bias + self.refiner.barred + penalties

    def refine(
        self, state: ImageState, layout: Layout, bias: Tensor, best: Packed, masked: Tensor, done: int | Tensor
    ) -> tuple[Packed, Tensor]:
        """`ICMRDecoder.refine`: pass number `done` (1..) -> the better captions, and where to mask next (N,).

        Args:
            state: of the picture.
            bias: (V,), as `bias` gives it.
            best: the best captions so far.
            masked: (N,), True where this pass predicts.
        """
        lengths, row, step = layout
        decoder, same_caption = self.decoder, layout.same_caption()
        placed = decoder.position[step] + decoder.remaining[lengths[row] - 1 - step] + state.context
        token_ids = best.token_ids.masked_fill(masked, self.refiner.mask_id)
        embedded = decoder.embed(token_ids)
        hidden = self.hidden(embedded + placed, self.masked_attention(same_caption), state)
        # Only masked positions need logits. Position 0 is added so that their list is never empty.
        predicted = torch.cat([masked.nonzero()[:, 0], torch.zeros_like(row[:1])])
        logits = F.linear(hidden.index_select(0, predicted), decoder.embedding.weight, bias)
        log_p, choice = logits.log_softmax(dim=-1).topk(2, dim=-1)
        place = torch.cumsum(masked.long(), dim=0) - 1  # of a masked position in `predicted`; unused where not masked
        place = place.clamp(min=0)
        choice, p = choice.index_select(0, place), log_p.exp().index_select(0, place)
        token_ids = torch.where(masked, choice[:, 0], token_ids)
        probabilities = torch.where(masked, p[:, 0], best.probabilities)
        left = torch.cat([torch.full_like(row[:1], -1), token_ids[:-1]])
        repeats = masked & (token_ids == left) & (step > 0)
        token_ids = torch.where(repeats, choice[:, 1], token_ids)
        probabilities = torch.where(repeats, p[:, 1], probabilities)

        log_p = probabilities.clamp(min=1e-9).log()
        scores = (layout.members(placed.dtype) @ log_p[:, None])[:, 0] / lengths.to(placed.dtype)
        better = (scores > best.scores)[row]
        best = Packed(
            torch.where(better, token_ids, best.token_ids),
            torch.where(better, probabilities, best.probabilities),
            torch.maximum(scores, best.scores),
        )
        # exact, since these integers are small; integer division would be exported as six operators
        n_masked = ((lengths * (self.refiner.passes - done)).to(placed.dtype) / self.refiner.passes).floor()
        p, q = best.probabilities[:, None], best.probabilities
        smaller = (q < p) | ((q == p) & (layout.step < layout.step[:, None]))
        rank = (smaller & same_caption).sum(dim=-1)
        return best, rank < n_masked[row]

    def causal_scores(self, state: ImageState, layout: Layout, token_ids: Tensor) -> Tensor:
        """`ParallelCaptionModel.causal_scores` of captions (N,) -> (K,)."""
        decoder = self.decoder
        ended = Layout.of(layout.lengths, extra=1)
        lengths, row, step = ended
        place = torch.arange(row.shape[0], device=row.device) - row  # of the next token, in `token_ids`
        padded = torch.cat([token_ids, torch.full_like(row[:1], self.vocabulary.eos_id)])
        targets = padded[place].masked_fill(step == lengths[row], self.vocabulary.eos_id)
        inputs = padded[(place - 1).clamp(min=0)].masked_fill(step == 0, self.vocabulary.bos_id)
        visible = ended.same_caption() & (step <= step[:, None])
        x = decoder.embed(inputs) + decoder.position[step] + state.context
        hidden = self.hidden(x, self.masked_attention(visible), state)
        logits = F.linear(hidden, decoder.embedding.weight, decoder.bias)
        log_p = logits.log_softmax(dim=-1).gather(1, targets[:, None])
        return (ended.members(x.dtype) @ log_p)[:, 0] / (lengths + 1)

    def step(self, state: ImageState, token_ids: Tensor, parents: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        """One more token of each of R captions of the picture, read from left to right.

        Args:
            token_ids: (R,).
            parents: (R,), the row of `cache` whose past each row continues.
            cache: (S, H, R, T, W), keys and values of the T tokens read so far.

        Returns:
            Log-probabilities (R, V) of the next token, and the cache with T + 1 tokens.
        """
        decoder, (attend, grown) = self.decoder, continued(cache, parents)
        x = decoder.embed(token_ids) + decoder.position[cache.shape[3]] + state.context
        hidden = self.hidden(x, attend, state)
        logits = F.linear(hidden, decoder.embedding.weight, decoder.bias)
        return logits.log_softmax(dim=-1), torch.stack(grown)

    def unpack(self, layout: Layout, packed: Packed) -> tuple[Tensor, Tensor]:
        """Token ids and probabilities as (K, T), padded past the lengths."""
        width: Any = layout.lengths.max()
        steps = torch.arange(width, device=layout.row.device)
        first = layout.lengths.cumsum(dim=0) - layout.lengths
        inside = steps < layout.lengths[:, None]
        places = (first[:, None] + steps).masked_fill(~inside, 0)
        token_ids = packed.token_ids[places].masked_fill(~inside, self.refiner.pad_id)
        return token_ids, packed.probabilities[places].masked_fill(~inside, 1)
