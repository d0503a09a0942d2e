"""A model's own marks: which ids they have, and which ids no caption may hold."""

from __future__ import annotations

import dataclasses
import json

import pytest
from tokenizers import AddedToken, Tokenizer

from fastcap.checkpoint import load_checkpoint, save_checkpoint
from fastcap.config import ModelConfig, TrainConfig, from_mapping
from fastcap.data.tokenizer import train_tokenizer
from fastcap.errors import ConfigError, ModelFileError
from fastcap.vocabulary import Marks, Vocabulary


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["a red ball", "a dog runs"], 300)


def test_a_tokenizer_that_we_train_has_the_standard_marks(tokenizer):
    assert Marks.of(tokenizer) == Marks() == Marks(0, 1, 2, 3, 4)


def test_a_tokenizer_may_lack_a_mask_and_an_unknown_mark_but_no_other():
    tokenizer = Tokenizer.from_str(
        json.dumps({"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}})
    )
    tokenizer.add_special_tokens([AddedToken("<eos>"), AddedToken("<pad>")])
    with pytest.raises(ConfigError, match="<pad>, <bos> and <eos> are 2, None and 1; needed: all three"):
        Marks.of(tokenizer)
    tokenizer.add_special_tokens([AddedToken("<bos>")])
    assert Marks.of(tokenizer) == Marks(pad_id=2, bos_id=3, eos_id=1, mask_id=None, unk_id=None)


def test_all_marks_are_barred_and_a_search_may_end():
    vocabulary = Vocabulary(size=9, pad_id=7, bos_id=0, eos_id=3, mask_id=5, unk_id=None)
    assert vocabulary.barred == (0, 3, 5, 7)
    assert vocabulary.barred_in_search == (0, 5, 7)


def test_a_search_may_end_where_the_end_mark_pads_too():
    vocabulary = Vocabulary(size=9, pad_id=3, bos_id=0, eos_id=3, mask_id=None, unk_id=None)
    assert vocabulary.barred == (0, 3)
    assert vocabulary.barred_in_search == (0,)


@pytest.mark.parametrize(("name", "mark"), [("pad_id", -1), ("eos_id", 9), ("unk_id", 9)])
def test_a_mark_outside_the_vocabulary_is_refused(name, mark):
    with pytest.raises(ConfigError, match=f"{name} is {mark}; allowed: 0 to 8"):
        Vocabulary(size=9, **{name: mark})


def test_a_configuration_states_its_marks_and_one_of_0_1_0_does_not():
    config = from_mapping(ModelConfig, {"vocab_size": 50, "marks": {"pad_id": 7, "eos_id": 0, "unk_id": None}})
    assert config.vocabulary == Vocabulary(size=50, pad_id=7, bos_id=1, eos_id=0, mask_id=3, unk_id=None)
    assert from_mapping(ModelConfig, dataclasses.asdict(config)) == config
    assert from_mapping(ModelConfig, {"vocab_size": 50}).vocabulary == Vocabulary(size=50)


def test_a_recipe_states_no_marks_since_its_tokenizer_has_them():
    with pytest.raises(ConfigError, match=r"model\.marks is set; allowed: nothing"):
        from_mapping(TrainConfig, {"model": {"marks": {"pad_id": 7}}})


def test_a_checkpoint_without_marks_has_those_of_its_tokenizer(tmp_path, tiny_model, tokenizer):
    save_checkpoint(tmp_path / "saved", tiny_model.config, tiny_model.state_dict(), tokenizer)
    path = tmp_path / "saved" / "config.json"
    settings = json.loads(path.read_text())
    assert settings.pop("marks") == dataclasses.asdict(Marks())
    path.write_text(json.dumps(settings))  # as 0.1.0 wrote it
    names = tokenizer.to_str().replace("<pad>", "<?>").replace("<bos>", "<pad>").replace("<?>", "<bos>")
    (tmp_path / "saved" / "tokenizer.json").write_text(names)
    assert load_checkpoint(tmp_path / "saved")[0].vocabulary == Vocabulary(size=300, pad_id=1, bos_id=0)
    (tmp_path / "saved" / "tokenizer.json").write_text(tokenizer.to_str().replace("<pad>", "<padding>"))
    with pytest.raises(ModelFileError, match=r"tokenizer\.json does not fit config\.json: .* are None, 1 and 2"):
        load_checkpoint(tmp_path / "saved")
