"""A model directory of a decoder of ours as transformers.js decodes pictures to text: its graphs, nodes around them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from fastcap.cli import main
from fastcap.errors import ModelFileError
from fastcap.export import image_to_text
from fastcap.export.compare import open_graph, open_stepper
from fastcap.export.converters import MANIFEST, convert_all
from fastcap.runtime.bundle import find_model


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The bundled model."""
    (folder,) = convert_all("fastcap-base", tmp_path_factory.mktemp("web"), {"web": "transformers.js"})
    return folder


def test_its_steps_are_those_of_the_model_directory(made):
    directory = find_model("fastcap-base")
    stepper, row = open_stepper(directory), np.arange(1)
    encode, decode = (open_graph(made / "onnx" / f"{name}_quantized.onnx")
                      for name in ("encoder_model", "decoder_model_merged"))  # fmt: skip
    picture = np.random.default_rng(3).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    (hidden,) = encode.run(None, {"pixel_values": np.ascontiguousarray(picture.transpose(0, 3, 1, 2), np.float32)})
    state = stepper.start(stepper.encode(picture), 1)
    past = {each.name: np.zeros((1, each.shape[1], 0, each.shape[3]), np.float32) for each in decode.get_inputs()[2:]}
    for token in (1, 300, 9, 77):
        expected, state = stepper.step(np.array([token]), state, row)
        given = {"input_ids": np.array([[token]]), "encoder_hidden_states": hidden, **past}
        logits, *grown = decode.run(None, given)
        past = dict(zip(past, grown, strict=True))
        assert logits.shape == (1, 1, 4096)
        np.testing.assert_array_equal(logits[:, 0], expected)


def test_the_folder_says_what_it_is(made):
    config, manifest = (json.loads((made / name).read_text()) for name in ("config.json", MANIFEST))
    assert config["model_type"] == "vision-encoder-decoder" and config["transformers.js_config"] == {"dtype": "q8"}
    assert (manifest["class"], manifest["dtypes"]) == ("VisionEncoderDecoderModel", {"q8": "_quantized"})
    assert sum((made / "onnx" / name.name).stat().st_size for name in (made / "onnx").iterdir()) < 10e6
    names = [each.name for each in onnx.load(str(made / "onnx" / "decoder_model_merged_quantized.onnx")).graph.input]
    assert names == ["input_ids", "encoder_hidden_states", *(
        f"past_key_values.{layer}.{part}" for layer in range(config["decoder"]["n_layer"]) for part in ("key", "value")
    )]  # fmt: skip


def test_the_precision_is_that_of_the_graphs_and_another_one_is_refused(tmp_path, capsys):
    line = ["convert", "--model", "fastcap-base", "--platform", "web", "--out", str(tmp_path / "out")]
    for precision in ("int4", "fp32", "all"):
        with pytest.raises(SystemExit, match="2"):
            main([*line, "--precision", precision])
        assert capsys.readouterr().err == (
            f"fastcap: error: precision is '{precision}'; transformers.js takes the graphs of the model directory "
            "'fastcap-base' as they are stored; allowed: int8; see 'fastcap convert --help'\n"
        )
    assert not (tmp_path / "out").exists()
    assert main(line) == 0
    assert capsys.readouterr().err.startswith("transformers.js, int8: ")
    assert json.loads((tmp_path / "out" / "web" / MANIFEST).read_text())["precision"] == "int8"
    assert all(path.stem.endswith("_quantized") for path in (tmp_path / "out" / "web" / "onnx").iterdir())


def test_graphs_that_are_missing_or_differ_are_one_line(made, tmp_path, monkeypatch):
    with pytest.raises(ModelFileError, match=r"has no encode\.onnx; needed: a model directory"):
        image_to_text.wrap(tmp_path, tmp_path, "")
    real = image_to_text.decoder

    def other(*given):
        model = real(*given)
        table = max(model.graph.initializer, key=lambda each: len(each.raw_data))
        table.raw_data = table.raw_data[::-1]
        return model

    monkeypatch.setattr(image_to_text, "decoder", other)
    with pytest.raises(ModelFileError, match=r"its graphs for transformers\.js differ by"):
        convert_all("fastcap-base", tmp_path / "out", {"web": "transformers.js"})
    assert not list((tmp_path / "out").iterdir())


def test_a_directory_of_an_older_version_is_refused_in_one_line(tmp_path):
    """Its graphs do not say how large a picture's state is."""
    shutil.unpack_archive(Path(__file__).parents[1] / "golden" / "0.1.0" / "parallel.zip", tmp_path)
    with pytest.raises(ModelFileError, match=r"encode\.onnx was exported by an older version"):
        convert_all(tmp_path / "model", tmp_path, {"web": "transformers.js"})
    assert not (tmp_path / "web").exists()
