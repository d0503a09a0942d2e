"""The vocabulary of a language model, cut down to what captions say.

A general tokenizer has some 50,000 entries, captions use about 8,000 of them. Tokens that are never said take up a
sixth of a small model and most of the time of its head. What remains is exact: a text of the kept words has the same
tokens, and their logits are the same numbers.

Letters: V and W entries before and after, D width.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, normalizers
from torch import nn

from fastcap.errors import ConfigError, DataError, each, listed

__all__ = ["encode_caption", "has_one_form", "in_one_form", "prune_embeddings", "prune_tokenizer"]


def has_one_form(tokenizer: Tokenizer) -> bool:
    """Whether a word has the same tokens at the beginning of a text as within it: so with SentencePiece; not with
    GPT-2's, where it has a space in front within a text alone."""
    alone, within = (tokenizer.encode(text, add_special_tokens=False).ids for text in ("a", "a a"))
    return within == alone + alone


def encode_caption(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of a caption as it is said: if need be with a space before its first word, so that a word has one
    form."""
    return tokenizer.encode(text if has_one_form(tokenizer) else f" {text}", add_special_tokens=False).ids


def in_one_form(tokenizer: Tokenizer) -> Tokenizer:
    """A copy of a tokenizer that puts this space there by itself."""
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    if not has_one_form(tokenizer):
        before = [tokenizer.normalizer] if tokenizer.normalizer else []
        tokenizer.normalizer = normalizers.Sequence([*before, normalizers.Prepend(" ")])
    return tokenizer


def prune_tokenizer(
    tokenizer: Tokenizer, texts: Iterable[str], keep: Sequence[str] = (), min_count: int = 1
) -> tuple[Tokenizer, list[int]]:
    """A BPE with the entries that texts need, and the old id of each of its entries.

    Kept are the tokens of the texts, the pieces that merges build them from, all single bytes (so that any text can
    still be encoded), and what `keep` names. Ids keep their order.

    Args:
        texts: captions, as `encode_caption` takes them.
        keep: special tokens that stay, such as the begin and end marks.
        min_count: texts that need a token for it to stay; what a rarer one spelt is spelt by shorter ones.

    Raises:
        ConfigError: the tokenizer is no BPE, or has no entry that `keep` names.
        DataError: there is no text.
    """
    content = json.loads(tokenizer.to_str())
    if content["model"]["type"] != "BPE":
        raise ConfigError(f"the tokenizer is {content['model']['type']}; only a BPE can be pruned")
    vocabulary: dict[str, int] = content["model"]["vocab"]
    special = {token["content"]: token for token in content["added_tokens"]}
    keep = listed(keep, "tokens")
    for name in keep:
        if name not in vocabulary and name not in special:
            raise ConfigError(f"the tokenizer has no token {name!r} to keep")
    counts = Counter(i for text in each(texts, "texts", error=DataError) for i in set(encode_caption(tokenizer, text)))
    words = {i: token for token, i in tokenizer.get_vocab().items()}
    needed = [words[i] for i, count in counts.items() if count >= min_count]
    if not needed:
        raise DataError("the vocabulary got no text to keep the words of; needed: at least one caption")
    merges = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in content["model"]["merges"]]
    pieces: dict[str, list[str]] = {}
    for left, right in merges:
        pieces.setdefault(left + right, []).extend((left, right))
    kept: set[str] = set(keep)
    queue = needed
    while queue:  # a token, and the pieces it is merged from
        token = queue.pop()
        if token not in kept:
            kept.add(token)
            queue += pieces.get(token, [])
    kept |= {token for token in vocabulary if len(token) == 1 or re.fullmatch("<0x[0-9A-F]{2}>", token)}
    ids = {**vocabulary, **{name: token["id"] for name, token in special.items()}}
    order = sorted(kept, key=ids.__getitem__)
    new_id = {token: index for index, token in enumerate(order)}
    content["model"]["vocab"] = new_id
    content["model"]["merges"] = [list(pair) for pair in merges if {*pair, "".join(pair)} <= kept]
    content["added_tokens"] = [special[name] | {"id": new_id[name]} for name in order if name in special]
    if content["model"].get("unk_token") not in new_id:
        content["model"]["unk_token"] = None  # every byte has an entry: nothing is unknown
    return Tokenizer.from_str(json.dumps(content)), [ids[token] for token in order]


def prune_embeddings(language_model: Any, kept: Sequence[int]) -> None:
    """Cut a language model's table of embeddings and its head to the rows `kept`, in place.

    Raises:
        ConfigError: an id beyond the table.
    """
    table: nn.Embedding = language_model.get_input_embeddings()
    head: nn.Linear = language_model.get_output_embeddings()
    if not kept or min(kept) < 0 or max(kept) >= table.num_embeddings:
        raise ConfigError(f"ids to keep reach {max(kept, default=None)}; allowed: 0 to {table.num_embeddings - 1}")
    rows = torch.as_tensor(list(kept), device=table.weight.device)
    tied = head.weight is table.weight
    pruned = nn.Embedding(len(kept), table.embedding_dim, device=table.weight.device, dtype=table.weight.dtype)
    pruned.weight = nn.Parameter(table.weight.detach()[rows], requires_grad=table.weight.requires_grad)
    language_model.set_input_embeddings(pruned)
    spoken = nn.Linear(head.in_features, len(kept), head.bias is not None, head.weight.device, head.weight.dtype)
    spoken.weight = (
        pruned.weight if tied else nn.Parameter(head.weight.detach()[rows], requires_grad=head.weight.requires_grad)
    )
    if head.bias is not None:
        spoken.bias = nn.Parameter(head.bias.detach()[rows], requires_grad=head.bias.requires_grad)
    language_model.set_output_embeddings(spoken)
    language_model.config.vocab_size = len(kept)
