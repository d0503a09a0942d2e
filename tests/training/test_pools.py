"""The captions of a recipe: grouped by picture, told apart by source, drawn without repetition, rewarded by CIDEr-D."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from fastcap.config import DataConfig
from fastcap.data.readers import Example, Examples
from fastcap.data.tokenizer import train_tokenizer
from fastcap.errors import ConfigError, DataError
from fastcap.evaluation.cider import CiderD
from fastcap.runtime.encoding import encode
from fastcap.training.pools import CaptionPool, RareWords, SiblingPool, cider_reward, read_texts

TEXTS = ["a red ball", "the red ball lies there", "a dog runs", "a dog runs over the grass", "two cats"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS * 3, 300)


@pytest.fixture
def pool(tokenizer) -> CaptionPool:
    """Picture a has human and machine captions, b human ones, c a machine caption."""
    human = Examples(
        [Example(Path("a"), tuple(TEXTS[:2]), "a", "x"), Example(Path("b"), tuple(TEXTS[2:4]), "b", "x")], 4, []
    )
    machine = Examples(
        [Example(Path("c"), (TEXTS[4],), "c", "x"), Example(Path("a"), ("A red ball lies.",), "a", "x")], 2, []
    )
    return CaptionPool.build([("human", human), ("machine", machine)], tokenizer, max_length=20)


def test_captions_are_grouped_by_picture_and_source(pool, tokenizer):
    assert pool.paths == [Path("a"), Path("b"), Path("c")]
    assert pool.texts[0] == [*TEXTS[:2], "a red ball lies"]
    assert pool.token_ids[0] == {
        "human": [encode(tokenizer, text) for text in TEXTS[:2]],
        "machine": [encode(tokenizer, "a red ball lies")],
    }
    assert pool.skipped == 0


def test_captions_longer_than_the_model_are_left_out_and_counted(tokenizer):
    examples = Examples([Example(Path("a"), ("a dog", "a dog runs over the grass " * 5), "a", "x")], 2, [])
    pool = CaptionPool.build([("human", examples)], tokenizer, max_length=6)
    assert len(pool.token_ids[0]["human"]) == 1
    assert pool.skipped == 1
    assert len(pool.texts[0]) == 2  # augmentation must still know what the other says


def test_only_pictures_with_a_caption_of_the_sources_are_eligible(pool):
    assert pool.with_sources(["human"]).tolist() == [0, 1]
    assert pool.with_sources(["machine"]).tolist() == [0, 2]
    assert pool.with_sources(["human", "machine"]).tolist() == [0, 1, 2]
    with pytest.raises(ConfigError, match="no image has a caption from the sources distilled"):
        pool.with_sources(["distilled"])


def test_captions_are_drawn_without_repetition_as_long_as_there_are_enough(pool):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        three = pool.draw(0, ["human", "machine"], 3, rng)
        assert len({tuple(ids) for ids in three}) == 3
        five = pool.draw(0, ["human"], 5, rng)
        assert sorted(map(five.count, pool.token_ids[0]["human"])) == [2, 3]


def test_the_reward_is_cider_d_of_each_sample_against_its_own_picture(pool, tokenizer):
    scorer = CiderD({str(i): [[*text.split(), "<eos>"] for text in texts] for i, texts in enumerate(pool.texts)})
    drawn = [["a red ball", "a dog runs", "two cats"], ["two cats", "a dog", "a red ball"]]  # sample, row
    rows = [0, 1, 0]
    captions = torch.zeros(2, 3, 20, dtype=torch.long)
    for sample in range(2):
        for row in range(3):
            ids = encode(tokenizer, drawn[sample][row])
            captions[sample, row, : len(ids)] = torch.tensor(ids)
    rewards = cider_reward(pool, tokenizer, 0)(rows, captions)
    for sample in range(2):
        for row, image in enumerate(rows):
            expected = scorer.score([*drawn[sample][row].split(), "<eos>"], str(image))
            assert rewards[sample, row].item() == pytest.approx(expected, abs=1e-5)
    assert rewards[0, 0] > rewards[0, 2]


def test_a_caption_that_stops_short_earns_less_than_one_that_ends_as_people_do(pool, tokenizer):
    text = pool.texts[0][0]

    def earned(*words: str) -> float:
        return cider_reward(pool, tokenizer, 0)([0], torch.tensor([[encode(tokenizer, " ".join(words))]])).item()

    words = text.split()
    scorer = CiderD({str(i): [text.split() for text in texts] for i, texts in enumerate(pool.texts)})
    lost = [score(*words) - score(*words[:-1]) for score in (earned, lambda *each: scorer.score(list(each), "0"))]
    assert lost[0] > lost[1] > 0


def test_rare_words_earn_more_the_fewer_pictures_they_are_said_of():
    references = {str(i): [["dog", *(["kayak"] if i < 10 else []), *(["zebra"] if not i else [])]] for i in range(1000)}
    words = RareWords(references)
    assert words.worth["dog"] == 0
    assert 0 < words.worth["kayak"] < 1
    assert words.worth["zebra"] == pytest.approx(1)
    assert words.score(["a", "dog", "zebra", "kayak", "zebra"], "0") == pytest.approx(1 + words.worth["kayak"])
    assert words.score(["zebra"], "5") == 0  # nobody says it of that picture


def test_the_reward_pays_for_rare_words_beside_cider(pool, tokenizer):
    caption = torch.tensor([[encode(tokenizer, "two cats")]])
    plain, paid = (cider_reward(pool, tokenizer, 0, weight)([2], caption).item() for weight in (0.0, 0.5))
    references = {str(i): [text.split() for text in texts] for i, texts in enumerate(pool.texts)}
    assert paid == pytest.approx(plain + 0.5 * RareWords(references).score(["two", "cats"], "2"))


def test_texts_are_read_plain_or_compressed_and_a_bad_file_is_named(tmp_path):
    (tmp_path / "plain.txt").write_text("a dog\n")
    with gzip.open(tmp_path / "packed.txt.gz", "wt") as file:
        file.write("a cat\n")
    (tmp_path / "torn.txt.gz").write_bytes((tmp_path / "packed.txt.gz").read_bytes()[:-9])
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    (tmp_path / "false.txt.gz").write_bytes(b"plain")

    def texts(*names: str) -> list[str]:
        return list(read_texts(DataConfig(root=str(tmp_path), text=names)))

    assert texts("plain.txt", "packed.txt.gz") == ["a dog\n", "a cat\n"]
    for name in ("torn.txt.gz", "latin.txt", "false.txt.gz"):
        with pytest.raises(DataError, match=rf"{name} cannot be read as text .*setting data\.text"):
            texts(name)
    with pytest.raises(DataError, match=r"no file .*gone\.txt \(setting data\.text, below data\.root="):
        texts("gone.txt")


def siblings(tmp_path, lines: list[str], tokenizer) -> SiblingPool:
    (tmp_path / "siblings.txt").write_text("\n".join(lines) + "\n")
    return SiblingPool(DataConfig(root=str(tmp_path), siblings="siblings.txt"), tokenizer, max_length=6, pad_id=0)


def test_a_group_shows_some_words_of_its_captions_and_says_the_captions(tmp_path, tokenizer):
    pool = siblings(tmp_path, [*TEXTS, *["two cats"] * 5], tokenizer)
    assert [len(group) for group in pool.groups] == [len([t for t in TEXTS if len(encode(tokenizer, t)) <= 6]), 5]
    for seed in range(20):
        cells, captions = pool.draw(0, 3, 9, np.random.default_rng(seed))
        assert cells.shape == (9,)
        shown = cells[cells != 0]
        assert len(set(shown)) == len(shown)
        assert set(shown) <= {token for caption in pool.groups[0] for token in caption}
        assert len(captions) == 3
        assert all(caption in pool.groups[0] for caption in captions)


@pytest.mark.parametrize("lines", [[], TEXTS[:4]])
def test_siblings_that_are_not_in_fives_are_an_error(tmp_path, tokenizer, lines):
    with pytest.raises(DataError, match=r"needed: 5 for each image \(setting data.siblings\)"):
        siblings(tmp_path, lines, tokenizer)


def test_siblings_that_are_all_too_long_are_an_error(tmp_path, tokenizer):
    with pytest.raises(DataError, match="no caption of at most 6 tokens"):
        siblings(tmp_path, ["a dog runs over the grass and on and on"] * 5, tokenizer)
