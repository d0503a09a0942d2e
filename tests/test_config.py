"""Settings: strict, clear about what is wrong, and every recipe of the repository builds."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest

from fastcap.cli import main
from fastcap.config import DataConfig, ModelConfig, TrainConfig, from_mapping, load_config, recipes
from fastcap.errors import ConfigError

CONFIGS = Path(__file__).parents[1] / "configs"
STAGE = {"name": "a", "steps": 3, "learning_rate": 0.1}


@pytest.fixture
def write(tmp_path):
    """Write a YAML file; returns its path."""

    def written(text: str, name: str = "recipe.yaml") -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return written


def test_every_setting_has_a_line_below_it_that_says_what_it_is():
    settings = 0
    for file in (CONFIGS.parent / "src" / "fastcap" / "config").glob("*.py"):
        classes = [node for node in ast.parse(file.read_text("utf-8")).body if isinstance(node, ast.ClassDef)]
        for body in (node.body for node in classes):
            for field, below in zip(body, [*body[1:], None], strict=True):
                if not isinstance(field, ast.AnnAssign) or "ClassVar" in ast.unparse(field):
                    continue
                if (name := ast.unparse(field.target)) == "kind" and field.value:  # which part it is
                    continue
                settings += 1
                assert isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant), f"{file.name}: {name}"
    assert settings > 90


RECIPES = [path for path in sorted(CONFIGS.glob("*/*.yaml")) if path.parent.name != "distributed"]  # accelerate's own


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_recipe_of_the_repository_builds(path):
    assert isinstance(load_config(path), TrainConfig)


def test_the_recipe_of_the_page_on_shards_is_read(write):
    page = (CONFIGS.parent / "docs" / "training.md").read_text("utf-8")
    *_, block = page.split("```yaml\n")
    assert load_config(write(block.partition("```")[0])).data.streams("train")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("dataset/*.yaml")), ids=lambda path: path.name)
def test_a_data_set_is_a_block_to_include(path, write):
    config = load_config(write(f"include: [{path}]\nseed: 7\n"))
    assert config.seed == 7
    assert config.data == load_config(path).data != DataConfig()


def test_a_recipe_builds_the_model_it_describes():
    from fastcap.model import build_model

    model = build_model(load_config(CONFIGS / "model" / "fastcap_base.yaml").model)
    assert 4e6 < sum(parameter.numel() for parameter in model.parameters()) < 10e6


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"sed": 1}, r"unknown setting 'sed' \(did you mean 'seed'\?"),
        ({"model": {"d_modle": 1}}, r"unknown setting 'model\.d_modle' \(did you mean 'd_model'\?"),
        (
            {"stages": [STAGE, {**STAGE, "lernrate": 1}]},
            r"unknown setting 'stages\.1\.lernrate' \(did you mean 'learning_rate'",
        ),
        ({"model": {"decoder": {"zzz": 1}}}, r"'model\.decoder\.zzz'; known: n_layers, n_heads, d_hidden"),
        ({1: 2}, "unknown setting '1'"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(mapping, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(TrainConfig, mapping)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"seed": "many"}, "^seed is 'many'; needed: a whole number$"),
        ({"seed": 1.5}, "seed is 1.5; needed: a whole number"),
        ({"seed": None}, "seed is empty"),
        ({"precision": "fp8"}, "'fp8'.*no, bf16, fp16"),
        ({"model": 5}, "model is 5; a mapping is needed"),
        ({"stages": {"0": STAGE}}, "stages is .*; a list is needed"),
        ({"data": {"text": "file.txt"}}, r"data\.text is 'file\.txt'; a list is needed"),
        ({"stages": [{"name": "a"}]}, r"stages\.0.*steps.*learning_rate"),
        ({"stages": [3]}, r"stages\.0 is 3; a mapping is needed"),
        ({"model": {"backbone": {"widths": [1, "wide"]}}}, r"model\.backbone\.widths\.1.*'wide'"),
        ({"model": {"backbone": {"scan": "zigzag"}}}, "scan is 'zigzag'; allowed: state_fusion, cross_scan"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_its_place(mapping, message):
    with pytest.raises(ConfigError, match=message) as error:
        from_mapping(TrainConfig, mapping)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("seed=abc", "seed is 'abc'; needed: a whole number"),
        ("precision=fp32", "precision is 'fp32'; allowed: no, bf16, fp16"),
        ("sharding=zero", "sharding is 'zero' (did you mean 'zero3'?); allowed: no, fsdp2, zero3"),
        ("data.on_bad_data=ignore", "data.on_bad_data is 'ignore'; allowed: raise, skip, quarantine"),
        ("data.val_limit=few", "data.val_limit is 'few'; needed: a whole number"),
        ("data.max_bad_share=half", "data.max_bad_share is 'half'; needed: a number"),
        ("stages.0.steps=1.5", "stages.0.steps is 1.5; needed: a whole number"),
        ("stages.0.learning_rate=fast", "stages.0.learning_rate is 'fast'; needed: a number"),
        ("stages.0.freeze=all", "stages.0.freeze is 'all'; allowed: "),
        ("stages.0.forcing.schedule=never", "stages.0.forcing.schedule is 'never'; allowed: always, "),
        ("stages.0.inputs=pictures", "stages.0.inputs is 'pictures'; allowed: images, words"),
        ("stages.0.masked=[1]", "stages.0.masked is [1]; needed: "),
        ("model.decoder.kind=gru", "model.decoder.kind is 'gru'; allowed: "),
    ],
)
def test_wrong_choices_are_told_in_our_words(setting, told):
    with pytest.raises(ConfigError) as error:
        load_config("finetune", [setting])
    assert str(error.value).startswith(told)
    assert not re.search("Couldn't|Could not|Cannot|<class|TrainConfig|`", str(error.value))


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"stages": []}, "stages is .*allowed: at least one"),
        ({"stages": [{**STAGE, "steps": 0}]}, "steps is 0; allowed: 1 or more"),
        ({"stages": [{**STAGE, "learning_rate": 0}]}, "learning_rate is 0.0; allowed: above 0"),
        ({"stages": [{**STAGE, "smoothing": 1}]}, "smoothing is 1.0; allowed: at least 0, below 1"),
        ({"stages": [{**STAGE, "samples": 1}]}, "samples is 1; allowed: 2 or more"),
        ({"stages": [{**STAGE, "sources": ["humans"]}]}, "sources is .*humans.*human, machine, distilled"),
        ({"stages": [{**STAGE, "reward": -1}]}, "reward is -1.0; allowed: 0 or more"),
        ({"ema": 1}, "ema is 1.0; allowed: at least 0, below 1"),
        ({"keep_last": 0}, "keep_last is 0; allowed: 1 or more"),
        ({"log_every": 0}, "log_every is 0; allowed: 1 or more"),
        ({"data": {"train": []}}, "train is .*at least one data set"),
        ({"data": {"val_limit": 0}}, "val_limit is 0; allowed: 1 or more"),
        ({"model": {"image_size": 200}}, "image_size is 200; allowed: multiples of 32"),
        ({"model": {"d_model": 250}}, "d_model is 250; allowed: multiples of 8"),
        ({"model": {"max_length": 3}}, r"max_length is 3; allowed: 5 \(generation\.min_length\) or more"),
        ({"model": {"generation": {"candidates": 99}}}, "candidates is 99; allowed: 1 to 16"),
        ({"model": {"generation": {"passes": 0}}}, "passes is 0; allowed: 1 or more"),
        ({"model": {"decoder": {"top_k": 5}}}, r"top_k is 5; allowed: 1 to 4 \(n_experts\)"),
        ({"model": {"decoder": {"dropout": 1}}}, "dropout is 1.0; allowed: at least 0, below 1"),
        ({"model": {"backbone": {"widths": [8, 8]}}}, "widths is .*seven numbers"),
        ({"model": {"backbone": {"n_heads": 7}}}, r"widths\.4 is 96; allowed: multiples of backbone\.n_heads, 7"),
    ],
)
def test_a_value_out_of_its_range_says_what_is_allowed(mapping, message):
    with pytest.raises(ConfigError, match=message) as error:
        from_mapping(TrainConfig, mapping)
    assert "\n" not in str(error.value)


def test_overrides_reach_into_mappings_and_lists(write):
    path = write("seed: 3\nmodel: {d_model: 128}\nstages:\n  - {name: a, steps: 3, learning_rate: 0.1}\n")
    overrides = [
        "seed=5",
        "model.max_length=12",
        "stages.0.steps=10",
        "stages.0.sources=[machine]",
        "model.backbone.mamba_depths=[1, 3]",
        "data.root=some where=else",
        "stages.0.learning_rate=3e-4",
    ]
    config = load_config(path, overrides)
    assert (config.seed, config.model.d_model, config.model.max_length) == (5, 128, 12)
    assert (config.stages[0].steps, config.stages[0].sources) == (10, ("machine",))
    assert config.stages[0].learning_rate == 3e-4
    assert config.model.backbone.mamba_depths == (1, 3)
    assert config.data.root == "some where=else"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "'seed' is not of the form key=value"),
        ("seed=[", "'seed=\\['.*not YAML"),
        ("seed.deeper=1", "nothing called 'deeper'"),
        ("stages.1.steps=1", "no item '1' in a list of 1"),
        ("stages.first.steps=1", "no item 'first' in a list of 1"),
        ("stages.5=1", "no item '5' in a list of 1"),
        ("stages.0.sed=1", r"unknown setting 'stages\.0\.sed'"),
        ("=1", "unknown setting ''"),
    ],
)
def test_an_override_that_fits_nowhere_is_refused(write, override, message):
    path = write("seed: 3\nstages:\n  - {name: a, steps: 3, learning_rate: 0.1}\n")
    with pytest.raises(ConfigError, match=message):
        load_config(path, [override])


def test_a_recipe_of_the_package_is_named_without_folder_and_ending(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config("finetune") == load_config(CONFIGS / "training" / "finetune.yaml")
    assert load_config("finetune", ["seed=7"]).seed == 7
    assert set(recipes()) == {path.stem for path in CONFIGS.glob("training/*.yaml")}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "fintune",
            r"^no recipe 'fintune' \(did you mean 'finetune'\?\); known: ablation, .*, or the path of a YAML file$",
        ),
        ("zzz", "^no recipe 'zzz'; known: ablation, "),
        ("", "^no recipe ''; known: "),
        ("finetune.yaml", r"^no configuration file finetune\.yaml$"),
        ("./finetune", "^no configuration file finetune$"),
        (Path("finetune"), "^no configuration file finetune$"),
    ],
)
def test_an_unknown_recipe_is_refused(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        load_config(name)


def test_the_command_lists_its_recipes_with_a_short_line_each(capsys):
    assert main(["train", "--list"]) == 0
    rows = re.split(r"\n(?=\S)", capsys.readouterr().out.strip())  # a long line goes on below, indented
    assert [row.split()[0] for row in rows] == list(recipes())
    assert all(row.endswith(".") for row in rows)
    assert all(len(line) <= 80 for row in rows for line in row.splitlines())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config", "fintune"],
        ["--config", "gone.yaml"],
        ["--config", "bad.yaml"],
        ["--config", "recipe.yaml", "seed"],
        ["--config", "recipe.yaml", "seed=many"],
        ["--config", "recipe.yaml", "seed=[1"],
        ["--config", "recipe.yaml", "seed=2024-13-01"],
        ["--config", "recipe.yaml", "sed=1"],
        ["--config", "recipe.yaml", "model.backbone.kind=[1]"],
        ["--config", "recipe.yaml", "stages.0.steps=0"],
    ],
)
def test_a_setting_that_is_unknown_or_malformed_is_wrong_usage_told_in_one_line(arguments, write, monkeypatch, capsys):
    monkeypatch.chdir(write("a: [", "bad.yaml").parent)
    write("seed: 3\nstages:\n  - {name: a, steps: 3, learning_rate: 0.1}\n")
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["train", *arguments])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("fastcap: error: ") and shown.err.count("\n") == 1


def test_included_files_come_first_and_are_overridden_key_by_key(write):
    write("model: {d_model: 128, max_length: 12}\nseed: 1\n", "base.yaml")
    write("include: [base.yaml]\nmodel: {max_length: 14}\n", "middle.yaml")
    path = write("include: [middle.yaml]\nseed: 2\n")
    config = load_config(path)
    assert (config.model.d_model, config.model.max_length, config.seed) == (128, 14, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", r"recipe\.yaml is not YAML"),
        ("- a list", r"recipe\.yaml holds list; a mapping is needed"),
        ("include: base.yaml", r"include is 'base\.yaml'; a list of file names is needed"),
        ("include: [3]", "a list of file names is needed"),
        ("include: [gone.yaml]", r"no configuration file .*gone\.yaml"),
        ("include: [recipe.yaml]", r"recipe\.yaml includes itself"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(write, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(text))


def test_a_file_that_is_not_text_is_named(tmp_path):
    (tmp_path / "recipe.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ConfigError, match=r"recipe\.yaml is not YAML"):
        load_config(tmp_path / "recipe.yaml")
    with pytest.raises(ConfigError, match=r"no configuration file .*gone\.yaml"):
        load_config(tmp_path / "gone.yaml")


def test_an_empty_recipe_has_every_default(write):
    assert load_config(write("")) == TrainConfig()


def test_a_configuration_never_changes_and_survives_being_written():
    config = TrainConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1
    assert from_mapping(TrainConfig, dataclasses.asdict(config)) == config
    assert from_mapping(ModelConfig, dataclasses.asdict(config.model)) == config.model
    assert isinstance(from_mapping(DataConfig, {"text": ["a.txt"]}).text, tuple)


@pytest.mark.parametrize(("decoder", "kind"), [("moe", "parallel"), ("rope", "autoregressive")])
def test_the_decoder_decides_the_family(decoder, kind):
    assert from_mapping(ModelConfig, {"decoder": {"kind": decoder}}).kind == kind


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("threads=1000000", "threads is 1000000; allowed: 0 (as many as there are cores) to 1024"),
        ("stages.0.learning_rate=.inf", "stages.0.learning_rate is inf; a finite number is needed"),
        ("stages.0.reward=.inf", "stages.0.reward is inf; a finite number is needed"),
        ("stages.0.clip=.nan", "stages.0.clip is nan; a finite number is needed"),
    ],
)
def test_numbers_that_no_machine_can_use_are_refused(override, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config("finetune", [override])
