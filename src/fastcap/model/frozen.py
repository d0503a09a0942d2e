"""The frozen parts of a prefix model: vision towers, and a language model with its tokenizer, from local folders.

A checkpoint names them by the digests of their weights, and holds what was trained alone.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn

from fastcap.backbone.pretrained import SideBySide, load_tower, without_bars
from fastcap.config import ModelConfig, PrefixConfig, TowersConfig
from fastcap.decoder.nf4 import store_in_nf4
from fastcap.decoder.prefix_lm import last_layers
from fastcap.decoder.vocabulary_pruning import in_one_form, prune_embeddings, prune_tokenizer
from fastcap.errors import ConfigError, ModelFileError, needs
from fastcap.fetching import sha256
from fastcap.parts import local_part
from fastcap.runtime.encoding import encode
from fastcap.vocabulary import Marks

__all__ = ["FrozenParts"]


class FrozenParts:
    """Towers and language model that a configuration names; several models may share them.

    Args:
        config: of the family "prefix". Where it notes digests, the parts must have them.
        dtype: of the language model, float32 or bfloat16; the towers compute in float32.
        nf4: whether its frozen matrices have 4 bits, see `fastcap.decoder.nf4`.

    Raises:
        ModelFileError: a part is not here, damaged, or another one than the configuration notes; the language model has
            no tokenizer.
    """

    def __init__(self, config: ModelConfig, dtype: torch.dtype = torch.float32, nf4: bool = False) -> None:
        assert isinstance(config.backbone, TowersConfig) and isinstance(config.decoder, PrefixConfig)
        self.settings, self.eyes = config.decoder, config.backbone
        noted = config.backbone.sha256 or [""] * len(config.backbone.names)
        found = [find(name, digest) for name, digest in zip(config.backbone.names, noted, strict=True)]
        folder, self.digest = find(self.settings.language_model, self.settings.sha256)
        self.tower_digests = tuple(digest for _, digest in found)
        self.tokenizer, self.begin, self.end = read_tokenizer(folder)
        names = (Path(name).name for name in config.backbone.names)
        self.towers = SideBySide([load_tower(path, name) for (path, _), name in zip(found, names, strict=True)])
        for name, tower in zip(config.backbone.names, self.towers.towers, strict=True):
            size = getattr(getattr(tower, "preprocessing", None), "size", (config.image_size,) * 2)
            if tuple(size) != (config.image_size,) * 2:
                raise ModelFileError(
                    f"tower {name} reads pictures of {size[0]}x{size[1]} pixels; model.image_size is "
                    f"{config.image_size}"
                )
        self.language_model = load_language_model(folder, dtype)
        if nf4 and config.pruned:
            raise ConfigError("precision is nf4; allowed: no or bf16, where units of the language model were removed")
        if nf4:
            self.language_model = store_in_nf4(self.language_model, self.settings.unfreeze_layers)
        self.scale = float(self.language_model.get_input_embeddings().weight.float().square().mean().sqrt())
        """Root mean square of the table of words: what the language model is used to."""
        self.kept: list[int | None] = []
        """The old id of each token of the tokenizer that the parts are fitted to."""
        self.prompt_ids: list[int] = []

    def learn_vocabulary(self, texts: Iterable[str]) -> Tokenizer:
        """The tokenizer of a new model: the language model's, cut to what captions need, or whole.

        A word has one form in it, whether or not it begins the caption.
        """
        tokenizer, settings = self.tokenizer, self.settings
        if settings.prune:
            prompt = [settings.prompt] * settings.min_count if settings.prompt else []
            marks = dict.fromkeys((self.begin, self.end))
            tokenizer = prune_tokenizer(tokenizer, [*texts, *prompt], tuple(marks), settings.min_count)[0]
        return in_one_form(tokenizer)

    def fit(self, config: ModelConfig, tokenizer: Tokenizer) -> ModelConfig:
        """Cut the language model's table to the words of a tokenizer that `learn_vocabulary` made.

        Returns:
            The configuration with what follows from the parts: digests, marks, number of tokens, width.

        Raises:
            ConfigError: the tokenizer has a word that the language model lacks, or lacks a mark.
        """
        size = tokenizer.get_vocab_size()
        words = [tokenizer.id_to_token(index) for index in range(size)]
        kept = [self.tokenizer.token_to_id(word) if word is not None else None for word in words]
        if None in kept:
            raise ConfigError(
                f"the vocabulary has the word {words[kept.index(None)]!r}, which {self.settings.language_model} lacks"
            )
        if kept != list(range(self.language_model.get_input_embeddings().num_embeddings)):
            prune_embeddings(self.language_model, [index for index in kept if index is not None])
        self.check_window(config.max_length)
        self.kept = kept
        self.prompt_ids = encode(tokenizer, self.settings.prompt) if self.settings.prompt else []
        return dataclasses.replace(
            config,
            vocab_size=size,
            d_model=self.language_model.get_input_embeddings().embedding_dim,
            marks=self.marks(tokenizer),
            backbone=dataclasses.replace(self.eyes, sha256=self.tower_digests),
            decoder=dataclasses.replace(self.settings, sha256=self.digest),
        )

    def check_window(self, longest: int) -> None:
        """Raise ConfigError if the language model cannot read picture, question and answer at once."""
        asked = self.settings.question_tokens
        window = getattr(self.language_model.config, "max_position_embeddings", None)
        if asked and window is not None:
            most = window - self.settings.image_tokens - longest - 2  # begin and end mark
            if asked > most:
                raise ConfigError(
                    f"question_tokens is {asked}; allowed: at most {most}, beside picture and answer within the "
                    f"{window} tokens that {self.settings.language_model} reads"
                )

    def marks(self, tokenizer: Tokenizer) -> Marks:
        """The ids of the language model's marks; padding, which nothing reads, is written with the end mark."""
        begin, end = (tokenizer.token_to_id(mark) for mark in (self.begin, self.end))
        if begin is None or end is None:
            lacking = self.begin if begin is None else self.end
            raise ConfigError(f"the vocabulary lacks the mark {lacking!r} of {self.settings.language_model}")
        if begin == end and self.settings.marks_machines:
            raise ConfigError(
                f"marks_machines is true; allowed: false, since {self.settings.language_model} begins and ends texts "
                f"with one mark, {self.begin!r}"
            )
        return Marks(pad_id=end, bos_id=begin, eos_id=end, mask_id=None, unk_id=None)

    def new_towers(self) -> SideBySide:
        """Towers of the same weights, which are shared, for a model that will remove some of them."""
        return copy.deepcopy(self.towers, {id(tensor): tensor for tensor in tensors(self.towers)})

    def new_language_model(self) -> Any:
        """A language model of the same weights, which are shared; what is added to it, and layers that will be trained,
        are its own."""
        layers = last_layers(self.language_model, self.settings.unfreeze_layers)
        own = {id(tensor) for layer in layers for tensor in tensors(layer)}
        shared = {id(tensor): tensor for tensor in tensors(self.language_model) if id(tensor) not in own}
        return copy.deepcopy(self.language_model, shared)


def tensors(module: nn.Module) -> list[torch.Tensor]:
    """Weights and buffers of a module."""
    return [*module.parameters(), *module.buffers()]


def find(name: str, noted: str) -> tuple[Path, str]:
    """A part's folder, and the digest of its weights.

    Raises:
        ModelFileError: it is not here, has no safetensors, or not those that were noted.
    """
    folder = local_part(name)
    digests = [sha256(path) for path in sorted(folder.glob("*.safetensors"))]
    if not digests:
        raise ModelFileError(f"part {name}: {folder} holds no .safetensors")
    digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    if noted and digest != noted:
        raise ModelFileError(
            f"part {name}: the weights in {folder} have the sha256 {digest}; the model was trained with {noted}"
        )
    return folder, digest


def read_tokenizer(folder: Path) -> tuple[Tokenizer, str, str]:
    """A language model's tokenizer, and the tokens with which its texts begin and end; the latter twice if it has no
    begin mark.

    Raises:
        ModelFileError: there is no tokenizer.json, or nothing says which token ends a text.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelFileError(
            f"{folder} has no tokenizer.json; needed: a language model with a tokenizer of the tokenizers library"
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelFileError(f"{path} cannot be read: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    named, numbered = (read_json(folder / name) for name in ("tokenizer_config.json", "config.json"))
    marks = [mark(tokenizer, named.get(f"{m}_token"), numbered.get(f"{m}_token_id")) for m in ("bos", "eos")]
    end = marks[1]
    if end is None:
        raise ModelFileError(f"{folder} does not say which token ends a text (eos_token in tokenizer_config.json)")
    return tokenizer, marks[0] or end, end


def mark(tokenizer: Tokenizer, named: Any, number: Any) -> str | None:
    """A mark as a token of the tokenizer: by the name that its settings give it, else by the model's number."""
    if isinstance(named, dict):
        named = named.get("content")
    if isinstance(named, str) and tokenizer.token_to_id(named) is not None:
        return named
    number = number[0] if isinstance(number, list) and number else number
    return tokenizer.id_to_token(number) if isinstance(number, int) else None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty if there is no such file."""
    try:
        content = json.loads(path.read_bytes()) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}") from error
    return content if isinstance(content, dict) else {}


def load_language_model(folder: Path, dtype: torch.dtype) -> Any:
    """A frozen decoder-only model of transformers.

    Raises:
        ModelFileError: transformers is missing, or finds no such model.
    """
    try:
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise ModelFileError(f"language model {folder} {needs('transformers', 'prefix')}") from error
    settings = {"local_files_only": True, "use_safetensors": True, "attn_implementation": "eager"}
    try:
        with without_bars():
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **settings)
    except Exception as error:  # OSError, ValueError, KeyError, SafetensorError
        raise ModelFileError(
            f"{folder} holds no language model of transformers ({' '.join(str(error).split())})"
        ) from error
    return model.requires_grad_(False).eval()
