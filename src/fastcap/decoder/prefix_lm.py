"""A pretrained decoder-only language model that reads an image as the first tokens of its text.

Letters: B images, R caption rows (a multiple of B, the rows of one image side by side), T tokens, P tokens of the
prefix, D width of the language model, V vocabulary, L tokens of an image with all its captions.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fastcap.decoder.caption_decoder import Decoder
from fastcap.decoder.projection import Projection
from fastcap.decoder.resampler import Resampler
from fastcap.errors import ModelFileError
from fastcap.layers import ImageTokens
from fastcap.vocabulary import Vocabulary

__all__ = ["PrefixLM", "PrefixStepper", "all_layers", "last_layers", "unfreeze_layers"]

LENGTHS = 32
"""In training, packed captions are as long as a multiple of it. Kernels and buffers of every length are kept by what
computes them: with any length, a process that trains grows by gigabytes."""


class Packed(NamedTuple):
    """How the captions of an image stand behind its prefix: `image` and `column` (R, T) say where a token goes in
    (B, L), `real` (R, T) which tokens are no padding; `positions` (B, L), and `visible` (B, L, L), which token sees
    which."""

    image: Tensor
    column: Tensor
    real: Tensor
    positions: Tensor
    visible: Tensor


def pack(lengths: Tensor, width: int, n_images: int, n_prefix: int, multiple: int = 1) -> Packed:
    """Lay the captions of an image one after another behind its prefix; each sees the prefix and itself alone.

    The prefix is then read once an image instead of once a caption, and padding costs little: with five captions of
    12 words and 16 image tokens, 80 tokens instead of 180.

    Args:
        lengths: (R,) tokens of each row.
        width: T, the longest row.
        n_images, n_prefix: B and P.
        multiple: of which L is one; what pads a row up to it is read by nothing, but is computed.
    """
    device = lengths.device
    per_image = lengths.view(n_images, -1)
    start = n_prefix + per_image.cumsum(dim=1) - per_image  # (B, R / B)
    longest = -(-(n_prefix + int(per_image.sum(dim=1).max())) // multiple) * multiple
    steps = torch.arange(width, device=device)
    real = steps < lengths[:, None]
    image = torch.arange(n_images, device=device).repeat_interleave(per_image.shape[1])[:, None].expand_as(real)
    column = (start.flatten()[:, None] + steps) * real
    positions = torch.arange(longest, device=device).repeat(n_images, 1)
    positions[:, n_prefix:] = 0
    rows = torch.full((n_images, longest), -1, device=device)  # which caption a token belongs to; -1 is padding
    rows[:, :n_prefix] = 0
    number = torch.arange(1, per_image.shape[1] + 1, device=device).repeat(n_images)[:, None].expand_as(real)
    positions[image[real], column[real]] = (n_prefix + steps).expand_as(real)[real]
    rows[image[real], column[real]] = number[real]
    same = (rows[:, :, None] == rows[:, None, :]) | (rows == 0)[:, None, :]
    visible = same & torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
    return Packed(image, column, real, positions, visible)


class PrefixLM(Decoder):
    """A projection and a language model, whose table of words it is.

    Args:
        language_model: a decoder-only model of transformers with a head (`AutoModelForCausalLM`).
        projection: from image tokens to its width.
        vocabulary: of the language model; captions begin with its `bos_id` and end with its `eos_id`.
        max_length: most caption tokens, both marks not counted.
        prompt_ids: tokens between every image and its caption.

    The language model computes in the precision of its table, whatever that of what is trained: adapters, projection
    and unfrozen layers are kept in 32 bits, since small steps would be lost in 16.

    Raises:
        ModelFileError: the language model's width is not the projection's, or its table not the vocabulary's.
    """

    def __init__(
        self,
        language_model: Any,
        projection: Projection | Resampler,
        vocabulary: Vocabulary,
        max_length: int,
        prompt_ids: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.language_model, self.projection, self.prompt_ids = language_model, projection, tuple(prompt_ids)
        self.vocabulary, self.max_length = vocabulary, max_length
        size, self.d_model = self.embedding.weight.shape
        if size != vocabulary.size:
            raise ModelFileError(f"the language model knows {size} tokens, the vocabulary has {vocabulary.size}")
        if len(projection.scale) != self.d_model:
            raise ModelFileError(
                f"the projection gives tokens of {len(projection.scale)} numbers, the language model reads "
                f"{self.d_model}"
            )
        # transformers renames this argument; both names are accepted by some releases only
        arguments = inspect.signature(self.body.forward).parameters
        self.cache_argument = "cache" if "cache" in arguments else "past_key_values"

    @property
    def embedding(self) -> nn.Embedding:
        """The table of words."""
        return self.language_model.get_input_embeddings()

    @property
    def body(self) -> nn.Module:
        """The language model without its head."""
        return self.language_model.base_model

    def computing(self) -> AbstractContextManager[Any]:
        """A context in which weights of 32 bits are rounded to the table's precision where they are multiplied."""
        table = self.embedding.weight
        return torch.autocast(table.device.type, table.dtype, enabled=table.dtype == torch.bfloat16)

    def embed(self, token_ids: Tensor) -> Tensor:
        """(...) -> (..., D)."""
        return self.embedding(token_ids)

    def project(self, hidden: Tensor) -> Tensor:
        """Hidden (..., D) -> logits (..., V) of 32 bits."""
        with self.computing():
            return self.language_model.get_output_embeddings()(hidden).float()

    def prepare(self, image: ImageTokens, prompt_ids: Sequence[int] = ()) -> Tensor:
        """image (tokens (B, N, C)) -> the prefix (B, P, D): image tokens, then the prompt if there is one.

        `prompt_ids`: in place of the decoder's own.
        """
        prefix = self.projection(image.tokens).to(self.embedding.weight.dtype)
        if prompt_ids := prompt_ids or self.prompt_ids:
            prompt = self.embed(torch.as_tensor(list(prompt_ids), device=prefix.device))
            prefix = torch.cat([prefix, prompt.expand(len(prefix), -1, -1)], dim=1)
        return prefix

    def hidden(
        self,
        token_ids: Tensor,
        image_state: Tensor,
        *,
        causal: bool = True,
        lengths: Tensor | None = None,
        cache: Any = None,
        real: Tensor | None = None,
    ) -> Tensor:
        """What the language model makes of captions, before its head: (R, T) -> (R, T, D), zeros where padded.

        Args:
            token_ids: R rows that begin with the begin mark; row t predicts token t + 1.
            image_state: what `prepare` gave for B images.
            causal: True, there is no other reading.
            lengths: (R,) how many of a row's tokens are no padding, which stands at its end; None for all.
            cache: transformers' cache of R rows that have read the prefix, for stepping: `token_ids` are then new.
            real: (R, P + all tokens so far), False at tokens of the cache's rows that are padding; None for none.
        """
        if not causal:
            raise ValueError("a language model reads from left to right only")
        if cache is not None:
            words, more = self.embed(token_ids), {self.cache_argument: cache}
            if real is not None:
                positions = (real.cumsum(dim=1) - 1).clamp(min=0)[:, -token_ids.shape[1] :]
                more |= {"attention_mask": real.long(), "position_ids": positions}
            with self.computing():
                return self.body(inputs_embeds=words, use_cache=True, **more)[0]
        return self.hidden_of(self.embed(token_ids), image_state, lengths)

    def hidden_of(self, embedded: Tensor, image_state: Tensor, lengths: Tensor | None = None) -> Tensor:
        """As `hidden`, of embedded tokens (R, T, D), which need not be rows of the table."""
        n_rows, longest, _ = embedded.shape
        if lengths is None:
            lengths = torch.full((n_rows,), longest, device=embedded.device)
        multiple = LENGTHS if self.training else 1  # rounding to 4 bits learns from all that is computed, padding too
        packed = pack(lengths, longest, len(image_state), image_state.shape[1], multiple)
        at = packed.image[packed.real], packed.column[packed.real]
        words = image_state.new_zeros(*packed.positions.shape, image_state.shape[2])
        words = words.index_put(at, embedded[packed.real].to(words.dtype))
        words[:, : image_state.shape[1]] = image_state
        mask = torch.zeros_like(packed.visible, dtype=words.dtype).masked_fill(~packed.visible, -torch.inf)
        asked = {"attention_mask": mask[:, None], "position_ids": packed.positions, "use_cache": False}
        with self.computing():
            read = self.body(inputs_embeds=words, **asked)[0]
        hidden = read.new_zeros(n_rows, longest, read.shape[2])
        return hidden.index_put(packed.real.nonzero(as_tuple=True), read[at])

    def hidden_reference(self, token_ids: Tensor, image_state: Tensor, lengths: Tensor) -> Tensor:
        """The slow twin of `hidden`: one caption at a time, nothing packed, nothing padded."""
        per_image = len(token_ids) // len(image_state)
        hidden = torch.zeros(*token_ids.shape, self.d_model)
        for row, length in enumerate(lengths.tolist()):
            prefix = image_state[row // per_image : row // per_image + 1]
            words = torch.cat([prefix, self.embed(token_ids[row : row + 1, :length])], dim=1)
            hidden[row, :length] = self.body(inputs_embeds=words, use_cache=False)[0][0, prefix.shape[1] :]
        return hidden

    def read_texts(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """What the language model makes of texts without an image: embedded tokens (R, T, D), which begin with the
        begin mark -> (R, T, D), zeros where padded."""
        return self.hidden_of(embedded, embedded.new_zeros(len(embedded), 0, embedded.shape[2]), lengths)

    def attention_to_image(self, token_ids: Tensor, image_state: Tensor) -> Tensor:
        """How the attention that a caption's tokens (1, T) pay to the picture is spread over its K tokens: (T, K), rows
        sum to 1, the mean over layers and heads."""
        given = torch.cat([image_state, self.embed(token_ids)], dim=1)
        with self.computing():
            layers = self.body(inputs_embeds=given, use_cache=False, output_attentions=True).attentions
        seen = torch.stack(layers).float().mean(dim=(0, 2))[0, image_state.shape[1] :, : self.projection.n_tokens]
        return seen / seen.sum(dim=1, keepdim=True)

    def new_cache(self, image_state: Tensor, rows_per_image: int) -> Any:
        """transformers' cache of R rows that have read the prefix; an image's prefix is read once."""
        from transformers import DynamicCache

        cache = DynamicCache(config=self.language_model.config)
        with self.computing():
            self.body(inputs_embeds=image_state, use_cache=True, **{self.cache_argument: cache})
        cache.batch_repeat_interleave(rows_per_image)
        return cache


class PrefixStepper:
    """A prefix model as `fastcap.generation.autoregressive.Stepper`; its state is a cache, how many rows it has, and
    (R, tokens so far) which of its tokens are no padding, None if all."""

    def __init__(self, decoder: PrefixLM) -> None:
        self.decoder = decoder

    @torch.no_grad()
    def start(self, image_state: Tensor, rows_per_image: int, prompt_ids: Sequence[int] = ()) -> Any:
        """The cache of rows that have read the prefix, and more tokens if there are any."""
        cache, n_rows = self.decoder.new_cache(image_state, rows_per_image), len(image_state) * rows_per_image
        if len(prompt_ids):
            ids = torch.tensor(list(prompt_ids), device=image_state.device)
            self.decoder.hidden(ids.expand(n_rows, -1), torch.empty(0), cache=cache)
        return cache, n_rows, None

    @torch.no_grad()
    def read(self, image_state: Tensor, prompts: Sequence[Sequence[int]]) -> tuple[np.ndarray, Any]:
        """Read one prompt a row, of any lengths, about one image, or about B images, the rows of one side by side:
        log-probabilities (R, V) of the next token, and the state of these rows."""
        cache = self.decoder.new_cache(image_state, len(prompts) // len(image_state))
        longest = max(map(len, prompts))
        short = torch.tensor([longest - len(prompt) for prompt in prompts], device=image_state.device)
        ids = [[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
        places = torch.arange(longest, device=image_state.device)
        real = torch.cat([image_state.new_ones(len(prompts), image_state.shape[1]) > 0, places >= short[:, None]], 1)
        hidden = self.decoder.hidden(torch.tensor(ids, device=real.device), torch.empty(0), cache=cache, real=real)
        log_p = self.decoder.project(hidden[:, -1]).log_softmax(dim=-1)
        return log_p.cpu().numpy(), (cache, len(prompts), real)

    @torch.no_grad()
    def step(self, token_ids: np.ndarray, state: Any, parents: np.ndarray) -> tuple[np.ndarray, Any]:
        """Log-probabilities (R, V) after one more token a row."""
        cache, n_rows, real = state
        if real is None and n_rows < len(
            parents
        ):  # one image that is searched for several lengths: its rows are equal so far
            cache.batch_repeat_interleave(len(parents) // n_rows)
        rows = torch.as_tensor(parents, device=self.decoder.device)
        cache.reorder_cache(rows)
        if real is not None:
            real = torch.cat([real[rows], real.new_ones(len(rows), 1)], dim=1)
        ids = torch.as_tensor(token_ids, device=self.decoder.device)[:, None]
        hidden = self.decoder.hidden(ids, torch.empty(0), cache=cache, real=real)
        return self.decoder.project(hidden[:, -1]).log_softmax(dim=-1).cpu().numpy(), (cache, len(parents), real)


def unfreeze_layers(language_model: Any, count: int) -> None:
    """Make the last `count` layers of a language model trainable, beside its adapters.

    Raises:
        ModelFileError: it has fewer layers.
    """
    for layer in last_layers(language_model, count):
        layer.requires_grad_(True)


def all_layers(language_model: Any) -> nn.ModuleList:
    """The layers of a language model: its longest list of modules."""
    return max((m for m in language_model.base_model.children() if isinstance(m, nn.ModuleList)), key=len)


def last_layers(language_model: Any, count: int) -> list[nn.Module]:
    """The last `count` layers of a language model.

    Raises:
        ModelFileError: it has fewer layers.
    """
    layers = all_layers(language_model)
    if not 0 <= count <= len(layers):
        raise ModelFileError(f"unfreeze_layers is {count}; allowed: 0 to {len(layers)}, the language model's layers")
    return list(layers[len(layers) - count :])
