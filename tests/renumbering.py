"""A vocabulary whose tokens are numbered anew: the marks are not ids 0 to 4, and there is no unknown mark."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from fastcap.vocabulary import Marks

SIZE = 300
USUAL, OTHER = Marks(0, 1, 2, 3, None), Marks(pad_id=7, bos_id=0, eos_id=3, mask_id=250, unk_id=None)


def renumbering() -> Tensor:
    """The new id of every old one, (300,): the marks' as `OTHER` says, all others at random."""
    marks = dict(zip(dataclasses.astuple(USUAL)[:4], dataclasses.astuple(OTHER)[:4], strict=True))
    free = [i for i in np.random.default_rng(0).permutation(SIZE).tolist() if i not in marks.values()]
    return torch.tensor([marks[old] if old in marks else free.pop() for old in range(SIZE)])


NEW = renumbering()


def renumbered_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A captioning model's weights with the rows of its table of words in the new order."""
    other = {name: value.clone() for name, value in weights.items()}
    for name in ("decoder.embedding.weight", "decoder.bias"):
        other[name][NEW] = weights[name]
    return other


def renumbered_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """A tokenizer of `train_tokenizer` with the new ids."""
    content = json.loads(tokenizer.to_str())
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {token: int(NEW[old]) for token, old in vocabulary.items()}
    for token in content["added_tokens"]:
        token["id"] = int(NEW[token["id"]])
    content["added_tokens"].sort(key=lambda token: token["id"])
    return Tokenizer.from_str(json.dumps(content))
