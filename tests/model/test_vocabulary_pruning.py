"""A language model's vocabulary cut down to what captions say: exact for all that remains."""

from __future__ import annotations

import json

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from fastcap.decoder.vocabulary_pruning import (
    encode_caption,
    has_one_form,
    in_one_form,
    prune_embeddings,
    prune_tokenizer,
)
from fastcap.errors import ConfigError, DataError

transformers = pytest.importorskip("transformers")

TEXTS = [
    "a black dog runs through the tall grass",
    "two children play with a red ball in the park",
    "a man in a blue shirt climbs a steep rock",
    "the federal reserve raised interest rates again",
    "quarterly earnings surprised analysts and investors",
]
CAPTIONS = TEXTS[:3]
BEGIN, END = "<|im_start|>", "<|im_end|>"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A byte-level BPE as GPT-2's, with marks, learnt from captions and from other texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<|endoftext|>", BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f" {text}" for text in TEXTS * 5], trainer)
    return tokenizer


def test_captions_keep_their_tokens_and_any_text_can_still_be_encoded(tokenizer):
    pruned, kept = prune_tokenizer(tokenizer, CAPTIONS, (BEGIN, END))
    assert len(kept) == pruned.get_vocab_size() < tokenizer.get_vocab_size()
    for text in [*CAPTIONS, "a red dog", "two children"]:
        assert [kept[i] for i in encode_caption(pruned, text)] == encode_caption(tokenizer, text)
    for text in [TEXTS[3], "naïve 犬 🐕"]:
        assert pruned.decode(encode_caption(pruned, text)) == f" {text}"
    assert pruned.token_to_id(END) == kept.index(tokenizer.token_to_id(END))
    assert pruned.token_to_id("<|endoftext|>") is None
    assert kept == sorted(kept)


def test_a_token_that_few_texts_need_goes(tokenizer):
    _, every = prune_tokenizer(tokenizer, CAPTIONS)
    pruned, common = prune_tokenizer(tokenizer, CAPTIONS, min_count=2)
    assert set(common) < set(every)
    assert pruned.decode(encode_caption(pruned, CAPTIONS[0])) == f" {CAPTIONS[0]}"


@pytest.fixture(scope="module")
def sentence_piece() -> Tokenizer:
    """A BPE as Llama's first ones: a mark for each space, the first one included, and bytes for what is unknown."""
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False)
    tokenizer.train_from_iterator([word for text in TEXTS * 5 for word in text.split()], trainer)
    content = json.loads(tokenizer.to_str())  # bytes are ordinary entries
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] not in bytes_]
    return Tokenizer.from_str(json.dumps(content))


def test_a_word_has_one_form_at_the_beginning_and_within(tokenizer, sentence_piece):
    assert not has_one_form(tokenizer) and has_one_form(in_one_form(tokenizer)) and has_one_form(sentence_piece)
    assert in_one_form(sentence_piece).to_str() == sentence_piece.to_str()
    for text in TEXTS:
        assert in_one_form(tokenizer).encode(text).ids == encode_caption(tokenizer, text)
        assert sentence_piece.encode(text).ids == encode_caption(sentence_piece, text)


def test_a_sentence_piece_vocabulary_is_cut_as_well(sentence_piece):
    pruned, kept = prune_tokenizer(sentence_piece, CAPTIONS, ("<s>", "</s>"))
    assert len(kept) < sentence_piece.get_vocab_size()
    for text in [*CAPTIONS, "a red dog", "two children"]:
        assert [kept[i] for i in encode_caption(pruned, text)] == encode_caption(sentence_piece, text)
    assert pruned.decode(encode_caption(pruned, "a 犬 🐕")) == "a 犬 🐕"  # in bytes


def test_what_cannot_be_pruned_is_named(tokenizer):
    with pytest.raises(ConfigError, match="no token '<image>' to keep"):
        prune_tokenizer(tokenizer, CAPTIONS, ("<image>",))
    with pytest.raises(DataError, match="at least one caption"):
        prune_tokenizer(tokenizer, [])
    with pytest.raises(ConfigError, match="the tokenizer is WordLevel; only a BPE"):
        prune_tokenizer(Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), CAPTIONS)


@pytest.mark.parametrize("family", ["llama", "phi"])
@torch.no_grad()
def test_the_logits_of_what_remains_are_the_same_numbers(tokenizer, family):
    """Llama's table and head are one, Phi's head is another matrix and has a bias."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    sizes |= {"vocab_size": tokenizer.get_vocab_size(), "tie_word_embeddings": family == "llama"}
    marks = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(family, **sizes, **marks)
    ).eval()
    pruned, kept = prune_tokenizer(tokenizer, CAPTIONS, (BEGIN, END))
    token_ids = encode_caption(pruned, CAPTIONS[1])
    before = model(input_ids=torch.tensor([[kept[i] for i in token_ids]])).logits[..., kept]
    prune_embeddings(model, kept)
    after = model(input_ids=torch.tensor([token_ids])).logits
    assert torch.equal(before, after)
    assert model.config.vocab_size == len(kept)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tied == (family == "llama")


def test_an_id_beyond_the_table_is_refused():
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=20, bos_token_id=0, eos_token_id=1)
    )
    with pytest.raises(ConfigError, match="ids to keep reach 20; allowed: 0 to 19"):
        prune_embeddings(model, [0, 20])
