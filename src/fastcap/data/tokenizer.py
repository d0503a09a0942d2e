"""Learning a tokenizer from captions: a lower-case byte-level BPE (Sennrich et al. 2016; bytes as in GPT-2).

Bytes are the alphabet: text in every script can be encoded, and ids decode to exactly what was encoded.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from fastcap.errors import ConfigError, DataError, each

__all__ = ["SPECIAL_TOKENS", "train_tokenizer"]

SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<mask>", "<unk>")  # in the order of their ids, from 0


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn a byte-level BPE from captions; the same texts in the same order give the same tokenizer.

    Args:
        texts: captions, best after `clean_caption`.
        vocab_size: entries, the 5 special tokens and 256 bytes included. Small corpora fill fewer.

    Returns:
        A `tokenizers.Tokenizer`; `tokenizer.save("tokenizer.json")` writes the file that the runtime reads.

    Raises:
        ConfigError: `vocab_size` has no room for the special tokens and the bytes.
        DataError: there is no text.
    """
    smallest = len(SPECIAL_TOKENS) + 256
    if vocab_size < smallest:
        raise ConfigError(f"vocab_size is {vocab_size}; allowed: at least {smallest} (special tokens and bytes)")
    tokenizer = Tokenizer(BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    # The space in front gives a word one form, whether or not it begins the caption.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    captions, n_texts = each(texts, "texts", error=DataError), 0

    def counted() -> Iterable[str]:
        nonlocal n_texts
        for text in captions:
            n_texts += bool(text.strip())
            yield text

    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(counted(), trainer)
    if n_texts == 0:
        raise DataError("the tokenizer got no text to learn from; needed: at least one caption that is not empty")
    return tokenizer
