"""Tokenizer and caption cleaning: any text survives, and captions have one form."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from fastcap.data import load_dataset, train_tokenizer
from fastcap.data.tokenizer import SPECIAL_TOKENS
from fastcap.errors import ConfigError, DataError
from fastcap.runtime.encoding import Pieces, clean_caption, decode, encode

CORPUS = [
    "a dog runs through the snow",
    "two dogs run on the beach",
    "a dog",
    "the dog's ball, a red one",
    "ein hund läuft über die straße",
    "一只狗在雪地里跑",
] * 3
TOKENIZER = train_tokenizer(CORPUS, vocab_size=400)
PIECES = Pieces(TOKENIZER)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # all of Unicode but lone surrogates
# Texts of the marks that cleaning moves about are where its rules meet one another.
MARKS = st.text(st.sampled_from("ab s.,;:!?()'\"`$#%&\u2018\u201d\n\u00a0İ")).map(lambda text: f"{text}&amp;n't")


def normalised(text: str) -> str:
    return TOKENIZER.normalizer.normalize_str(text).removeprefix(" ")


def test_special_tokens_have_the_ids_of_the_contract() -> None:
    assert [TOKENIZER.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]


@given(ANY_TEXT)
@settings(max_examples=500)
def test_any_text_survives_the_round_trip(text: str) -> None:
    token_ids = encode(TOKENIZER, text)
    assert decode(TOKENIZER, token_ids) == normalised(text)
    assert all(len(SPECIAL_TOKENS) <= token_id < TOKENIZER.get_vocab_size() for token_id in token_ids)


@pytest.mark.parametrize("token", SPECIAL_TOKENS)
def test_a_caption_that_spells_a_special_token_is_only_text(token: str) -> None:
    token_ids = encode(TOKENIZER, f"a {token} dog")
    assert min(token_ids) >= len(SPECIAL_TOKENS)
    assert decode(TOKENIZER, token_ids) == f"a {token} dog"


def test_a_word_has_one_form_at_the_start_and_inside() -> None:
    (dog,) = encode(TOKENIZER, "dog")
    assert encode(TOKENIZER, "a dog")[-1] == dog
    assert encode(TOKENIZER, "A DOG") == encode(TOKENIZER, "a dog")
    assert encode(TOKENIZER, "cafe\u0301") == encode(TOKENIZER, "caf\u00e9")


@given(st.lists(st.integers(0, TOKENIZER.get_vocab_size() - 1), max_size=12))
@settings(max_examples=500)
def test_pieces_make_the_text_that_the_tokenizer_makes(ids: list[int]) -> None:
    """Bytes of characters that are not whole, and marks, among them."""
    assert PIECES.decode(ids) == TOKENIZER.decode(ids)
    assert PIECES.decode(ids, skip_special_tokens=False) == TOKENIZER.decode(ids, skip_special_tokens=False)


def test_pieces_ask_a_tokenizer_whose_tokens_are_no_bytes() -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "dog": 1, "?": 2}, unk_token="?"))
    assert Pieces(tokenizer).decode([0, 1]) == tokenizer.decode([0, 1]) == "a dog"


def test_decode_leaves_special_tokens_out() -> None:
    assert decode(TOKENIZER, [1, *encode(TOKENIZER, "a dog"), 2, 0, 0]) == "a dog"


def test_the_saved_file_is_the_tokenizer(tmp_path: Path) -> None:
    TOKENIZER.save(str(tmp_path / "tokenizer.json"))
    again = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert [encode(again, text) for text in CORPUS] == [encode(TOKENIZER, text) for text in CORPUS]


def test_training_is_deterministic() -> None:
    assert train_tokenizer(iter(CORPUS), vocab_size=400).to_str() == TOKENIZER.to_str()


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 261"):
        train_tokenizer(CORPUS, vocab_size=260)
    with pytest.raises(DataError, match="no text"):
        train_tokenizer(["", "  "], vocab_size=400)


@pytest.mark.parametrize(
    ("published", "clean"),
    [
        ("A dog is running in the snow .", "a dog is running in the snow"),
        ("A mounted TV next to the sinks.", "a mounted tv next to the sinks"),
        ("A person wearing a red helmet , riding .", "a person wearing a red helmet, riding"),
        ("something that ca n't be seen", "something that can't be seen"),
        ("A vendor sells children 's toys .", "a vendor sells children's toys"),
        ("Kiss along with their parent 's .", "kiss along with their parent's"),
        ("two boys in their parents ' house", "two boys in their parents' house"),
        ("a ' devil ' outfit", "a 'devil' outfit"),
        ('A sign that reads " Eating Animals " below it.', 'a sign that reads "eating animals" below it'),
        ('a shirt that reads , " Mambo " with a bear .', 'a shirt that reads, "mambo" with a bear'),
        ('a wall that reads "tie."', 'a wall that reads "tie"'),
        ('"Adults , and children , move ."', '"adults, and children, move"'),
        ("a jersey ( # 7 ) at $ 12 or 50 % off", "a jersey (#7) at $12 or 50% off"),
        ("in a red apron &amp; a baseball cap", "in a red apron & a baseball cap"),
        ("a red &amp;amp; a blue ball", "a red & a blue ball"),  # escaped twice on its way
        ("Whack Em !", "whack em!"),
        ("the kite in the sky. .", "the kite in the sky"),
        ("a girls .neck ,side", "a girls .neck ,side"),  # a slip that could be mended in two ways stays
        ("  Two\tmen\n standing ", "two men standing"),
        ("a \u201cred\u201d dog\u2019s ball", 'a "red" dog\'s ball'),
        ("Ein Hund läuft über die Straße .", "ein hund läuft über die straße"),
        (" . ", ""),
    ],
)
def test_captions_get_their_one_form(published: str, clean: str) -> None:
    assert clean_caption(published) == clean


@given(ANY_TEXT | MARKS)
@settings(max_examples=500)
def test_cleaning_twice_changes_nothing_and_leaves_no_stray_space(text: str) -> None:
    clean = clean_caption(text)
    assert clean_caption(clean) == clean
    assert clean == " ".join(clean.split())
    assert not clean.endswith(".")


def test_real_captions_fit_the_lengths_that_models_decode(data_root: Path) -> None:
    examples = load_dataset("flickr8k", data_root / "flickr8k", "train")
    texts = [clean_caption(caption) for example in examples for caption in example.captions]
    tokenizer = train_tokenizer(texts, vocab_size=4096)
    assert tokenizer.get_vocab_size() == 4096
    held_out = load_dataset("flickr8k", data_root / "flickr8k", "val")
    unseen = [clean_caption(caption) for example in held_out for caption in example.captions]
    token_ids = [encode(tokenizer, text) for text in unseen]
    assert [decode(tokenizer, ids) for ids in token_ids] == unseen
    assert sum(len(ids) <= 24 for ids in token_ids) / len(token_ids) > 0.98
    assert sum(map(len, token_ids)) / sum(len(text.split()) for text in unseen) < 1.2
