"""One picture's captions as one sequence without padding: what is exported.

The candidates of a picture are laid end to end, N tokens in all, and an attention mask keeps them apart. Nothing has a
batch or a padded dimension then, so an exported graph is two thirds smaller and faster than that of the batched
decoder, `CaptionModel.caption`, whose answer for a batch of one this is.

A decoder that reads from left to right only has a step for one picture here, too.

Letters: K candidates, N tokens of all of them, T the longest, D width, H heads, W width of a head, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from fastcap.decoder.attention import KeysValues, RankAugmentedLinearAttention, kernel
from fastcap.decoder.rope_decoder import TokenExperts
from fastcap.layers import Expert, rotate, rotation
from fastcap.vocabulary import BOS, EOS, MASK, PAD

if TYPE_CHECKING:
    from fastcap.decoder.moe_decoder import DecoderLayer, ImageState, MoEDecoder
    from fastcap.decoder.rope_decoder import RopeDecoder, RopeLayer
    from fastcap.generation.icmr import ICMRDecoder

__all__ = ["Layout", "Packed", "PackedDecoder", "PackedRopeDecoder"]

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # queries, keys and values (H, N, W) -> (H, N, W)
# Added to the score of a position that may not be seen. Its share, 1.6e-28, is nothing that float32 can hold beside 1,
# and stays so where scores differ by 40; those of the bundled model differ by 34 at most, and every export is compared
# with the batched decoder, which masks with -inf. Exponentials below -87 would make ONNX Runtime's softmax slow.
HIDDEN = -64.0


class Layout(NamedTuple):
    """Where each of N positions stands: `row` of its caption and `step` in it, both (N,), for `lengths` (K,)."""

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
        """(K, N), 1 where a position is of a caption, else 0: a product with it sums over each caption."""
        return (torch.arange(self.lengths.shape[0], device=self.row.device)[:, None] == self.row).to(dtype)

    def together(self) -> Tensor:
        """(N, N), True where two positions are of one caption."""
        return self.row[:, None] == self.row


class Packed(NamedTuple):
    """As `Refined`, for N positions of K captions: `token_ids` (N,), `probabilities` (N,), `scores` (K,)."""

    token_ids: Tensor
    probabilities: Tensor
    scores: Tensor


def with_self_attention(layer: DecoderLayer | RopeLayer, x: Tensor, attend: Attend) -> Tensor:
    """x (N, D) plus what a layer's self-attention finds by `attend`."""
    attention = layer.self_attention
    n_heads, width = attention.n_heads, attention.project_out.in_features // attention.n_heads
    heads = attention.project_in(layer.norm_self(x)).reshape(-1, 3 * n_heads, width).transpose(0, 1)
    y = attend(*heads.split(n_heads))
    return x + cast(Tensor, attention.project_out(y.transpose(0, 1).reshape(-1, n_heads * width)))


def attention_scores(queries: Tensor, keys: Tensor) -> Tensor:
    """Scaled products of queries (..., M, W) and keys (..., N, W): (..., M, N)."""
    return queries @ keys.transpose(-1, -2) * int(queries.shape[-1]) ** -0.5  # int: a constant of an exported graph


def continued(cache: Tensor, parents: Tensor) -> tuple[Attend, list[Tensor]]:
    """Self-attention of one new position of each row to its past and itself, layer by layer, and the list that it
    fills with the keys and values of both; arguments as in `PackedDecoder.step`."""
    past = iter(cache.index_select(2, parents))
    grown: list[Tensor] = []

    def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        keys, values = (torch.cat([next(past), new[:, :, None]], dim=2) for new in (keys, values))  # (H, R, T+1, W)
        grown.extend([keys, values])
        return (attention_scores(queries[:, :, None], keys).softmax(dim=-1) @ values)[:, :, 0]

    return attend, grown


class PackedDecoder:
    """The readings of a `MoEDecoder`, and the passes of an `ICMRDecoder`, for one picture.

    Args:
        decoder: whose weights are read.
        refiner: whose passes are made.
    """

    def __init__(self, decoder: MoEDecoder, refiner: ICMRDecoder) -> None:
        self.decoder = decoder
        self.refiner = refiner

    def hidden(self, x: Tensor, attend: Attend, state: ImageState) -> Tensor:
        """Embedded tokens (N, D) -> (N, D); `attend` alone knows which position may see which."""
        layers = cast("Iterable[DecoderLayer]", self.decoder.layers)
        for layer, memory, experts in zip(layers, state.memories, state.experts, strict=True):
            x = with_self_attention(layer, x, attend)
            x = x + self.look(layer, layer.norm_cross(x), memory.buffer[0], memory.normaliser[0])
            x = x + self.ask(layer.norm_experts(x), experts)
        return cast(Tensor, self.decoder.norm(x))

    @staticmethod
    def among(seen: Tensor) -> Attend:
        """Self-attention among N positions, of which i sees j where `seen` (N, N) is True."""

        def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            found = attention_scores(queries, keys)  # (H, N, N)
            return (found + HIDDEN * (~seen).to(found.dtype)).softmax(dim=-1) @ values

        return attend

    @staticmethod
    def look(layer: DecoderLayer, x: Tensor, buffer: Tensor, normaliser: Tensor) -> Tensor:
        """Attention of (N, D) to the picture: buffer (H, W, W), normaliser (H, W)."""
        attention = layer.cross_attention
        heads, width = attention.n_heads, attention.d_head
        # queries, and RALA's gate, read the same input: one product
        parts = [attention.query]
        if isinstance(attention, RankAugmentedLinearAttention):
            parts.append(attention.gate)
        found = F.linear(x, torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts]))
        queries, *gates = found.split(heads * width, dim=-1)
        queries = kernel(queries).reshape(-1, heads, width).transpose(0, 1)  # (H, N, W)
        read = queries @ buffer / (queries @ normaliser[..., None])
        read = read.transpose(0, 1).reshape(-1, heads * width)
        return cast(Tensor, attention.project_out(read * gates[0] if gates else read))

    @staticmethod
    def ask(x: Tensor, experts: Sequence[Expert]) -> Tensor:
        """The picture's experts on (N, D)."""
        answers = [
            F.relu(x @ expert.weight_in[0] + expert.bias_in[0]) @ expert.weight_out[0] + expert.bias_out[0]
            for expert in experts
        ]
        if len(answers) == 1:
            return answers[0]  # an only expert's share is 1
        return torch.stack([e.share[0] * y for e, y in zip(experts, answers, strict=True)]).sum(dim=0)

    # Refinement, as ICMRDecoder does it

    def begin(self, layout: Layout) -> Packed:
        """Nothing but masks, at the worst score."""
        token_ids = torch.full_like(layout.row, MASK)
        scores = torch.full_like(layout.lengths, -torch.inf, dtype=self.refiner.barred.dtype)
        return Packed(token_ids, torch.ones_like(token_ids, dtype=scores.dtype), scores)

    def bias(self, penalties: Tensor) -> Tensor:
        """What is added to the logits of the vocabulary, (V,): the decoder's bias, the bars and the penalties."""
        return self.decoder.bias + self.refiner.barred + penalties

    def refine(
        self, state: ImageState, layout: Layout, bias: Tensor, kept: Packed, masked: Tensor, done: int | Tensor
    ) -> tuple[Packed, Tensor]:
        """`ICMRDecoder.refine`: pass number `done` (1..), and where to mask next, (N,)."""
        lengths, row, step = layout
        decoder, together = self.decoder, layout.together()
        placed = decoder.position[step] + decoder.remaining[lengths[row] - 1 - step] + state.context
        token_ids = kept.token_ids.masked_fill(masked, MASK)
        embedded = decoder.embed(token_ids)
        hidden = self.hidden(embedded + placed, self.among(together), state)
        # only what is masked needs the vocabulary; position 0 is there so that nothing is never empty
        asked = torch.cat([masked.nonzero()[:, 0], torch.zeros_like(row[:1])])
        logits = F.linear(hidden.index_select(0, asked), decoder.embedding.weight, bias)
        log_p, choice = logits.log_softmax(dim=-1).topk(2, dim=-1)
        place = torch.cumsum(masked.long(), dim=0) - 1  # of a masked position in `asked`; elsewhere it does not matter
        place = place.clamp(min=0)
        choice, p = choice.index_select(0, place), log_p.exp().index_select(0, place)
        token_ids = torch.where(masked, choice[:, 0], token_ids)
        probabilities = torch.where(masked, p[:, 0], kept.probabilities)
        left = torch.cat([torch.full_like(row[:1], -1), token_ids[:-1]])
        repeats = masked & (token_ids == left) & (step > 0)
        token_ids = torch.where(repeats, choice[:, 1], token_ids)
        probabilities = torch.where(repeats, p[:, 1], probabilities)

        log_p = probabilities.clamp(min=1e-9).log()
        scores = (layout.members(placed.dtype) @ log_p[:, None])[:, 0] / lengths.to(placed.dtype)
        better = (scores > kept.scores)[row]
        kept = Packed(
            torch.where(better, token_ids, kept.token_ids),
            torch.where(better, probabilities, kept.probabilities),
            torch.maximum(scores, kept.scores),
        )
        # exact, since a quotient of small integers is; integer division would export as six operators
        n_masked = ((lengths * (self.refiner.passes - done)).to(placed.dtype) / self.refiner.passes).floor()
        p, q = kept.probabilities[:, None], kept.probabilities
        smaller = (q < p) | ((q == p) & (layout.step < layout.step[:, None]))
        rank = (smaller & together).sum(dim=-1)
        return kept, rank < n_masked[row]

    def causal_scores(self, state: ImageState, layout: Layout, token_ids: Tensor) -> Tensor:
        """`CaptionModel.causal_scores` of captions (N,) -> (K,)."""
        decoder = self.decoder
        ended = Layout.of(layout.lengths, extra=1)
        lengths, row, step = ended
        here = torch.arange(row.shape[0], device=row.device) - row  # of what is to be said next, in `token_ids`
        padded = torch.cat([token_ids, torch.full_like(row[:1], EOS)])
        targets = padded[here].masked_fill(step == lengths[row], EOS)
        read = padded[(here - 1).clamp(min=0)].masked_fill(step == 0, BOS)
        seen = ended.together() & (step <= step[:, None])
        x = decoder.embed(read) + decoder.position[step] + state.context
        hidden = self.hidden(x, self.among(seen), state)
        logits = F.linear(hidden, decoder.embedding.weight, decoder.bias)
        log_p = logits.log_softmax(dim=-1).gather(1, targets[:, None])
        return (ended.members(x.dtype) @ log_p)[:, 0] / (lengths + 1)

    def step(self, state: ImageState, token_ids: Tensor, parents: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        """One more token of each of R captions of the picture, read from left to right.

        Args:
            token_ids: (R,).
            parents: (R,), whose past each row continues: rows of `cache`.
            cache: (S, H, R, T, W), keys and values in turn of each layer, of the T tokens read so far.

        Returns:
            log-probabilities (R, V) of what comes next, and the cache with T + 1 tokens.
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
        return packed.token_ids[places].masked_fill(~inside, PAD), packed.probabilities[places].masked_fill(~inside, 1)


class PackedRopeDecoder:
    """The step of a `RopeDecoder`, for one picture."""

    def __init__(self, decoder: RopeDecoder) -> None:
        self.decoder = decoder
        self.rotation = rotation(0, decoder.max_length + 1, decoder.d_head)  # of the begin mark and every token

    def step(
        self, memories: Sequence[KeysValues], token_ids: Tensor, parents: Tensor, cache: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `PackedDecoder.step`, for the memories of one picture, one a layer."""
        decoder, (attend, grown) = self.decoder, continued(cache, parents)
        cosines, sines = self.rotation
        here = cosines[cache.shape[3]], sines[cache.shape[3]]

        def turned(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            return attend(rotate(queries, here), rotate(keys, here), values)

        x = decoder.embed(token_ids)
        for layer, memory in zip(cast("Iterable[RopeLayer]", decoder.layers), memories, strict=True):
            x = with_self_attention(layer, x, turned)
            x = x + self.look(layer, layer.norm_cross(x), memory)
            x = x + self.think(layer, layer.norm_network(x))
        logits = F.linear(decoder.norm(x), decoder.embedding.weight, decoder.bias)
        return logits.log_softmax(dim=-1), torch.stack(grown)

    @staticmethod
    def look(layer: RopeLayer, x: Tensor, memory: KeysValues) -> Tensor:
        """Attention of (R, D) to the picture's keys and values (1, H, N, W)."""
        attention = layer.cross_attention
        queries = attention.query(x).reshape(-1, attention.n_heads, attention.d_head).transpose(0, 1)  # (H, R, W)
        read = (attention_scores(queries, memory.keys[0]).softmax(dim=-1) @ memory.values[0]).transpose(0, 1)
        return cast(Tensor, attention.project_out(read.reshape(-1, attention.n_heads * attention.d_head)))

    @staticmethod
    def think(layer: RopeLayer, x: Tensor) -> Tensor:
        """The feed-forward network, or each row's own experts, on (R, D)."""
        network = layer.network
        if not isinstance(network, TokenExperts):
            return cast(Tensor, network(x))
        chosen, weights, _ = network.route(x)
        y = network.routed(x[:, None], network.routed.select(chosen, weights))[:, 0]
        return y if network.shared is None else y + network.shared(x)
