"""The files beside the graphs of `fastcap.export.llava` that transformers.js reads: what the model is, how a picture
and a text are fed, where a caption ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from fastcap.export.llava import cache_sizes
from fastcap.model import CaptionModel
from fastcap.runtime.contract import Manifest
from fastcap.runtime.conversation import IMAGE_MARK, PLACE
from fastcap.vocabulary import Vocabulary

__all__ = ["chat_template", "marks_of", "spelled_marks", "write_files", "write_json"]

MARKS = ("bos", "eos", "pad")

ELSEWHERE = 10**6  # pixels of a patch, of which no picture has one: `num_additional_image_tokens` are all there are


def write_files(folder: Path, model: CaptionModel, tokenizer: Tokenizer, manifest: Manifest, dtype: str) -> int:
    """Write them for the graphs in `onnx/` of a folder; returns how many places of the text a picture takes.

    Args:
        dtype: which of the graphs are loaded where nothing else is asked for, as transformers.js calls it.
    """
    vocabulary, decoding = model.vocabulary, manifest.decoding
    content = json.loads(tokenizer.to_str())
    mark = tokenizer.token_to_id(IMAGE_MARK)
    if mark is None:
        mark = max(vocabulary.size, tokenizer.get_vocab_size())
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        content["added_tokens"].append({"id": mark, "content": IMAGE_MARK, **flags, "special": True})
    content["post_processor"] = None  # whose marks stand in the picture's features already
    marks = marks_of(vocabulary)
    layers, heads, width = cache_sizes(next(folder.glob("onnx/decoder_model_merged*.onnx")))
    text = {  # of transformers.js, which makes the empty cache by them; whatever the language model is
        "model_type": "llama",
        "num_hidden_layers": layers,
        "num_key_value_heads": heads,
        "num_attention_heads": heads,
        "head_dim": width,
        "hidden_size": model.decoder.d_model,
        "vocab_size": vocabulary.size,
    }
    places = model.decoder.projection.n_tokens + len(model.decoder.prompt_ids) + 1
    spelled = spelled_marks(vocabulary, tokenizer)
    files: dict[str, Any] = {
        "config.json": {
            "architectures": ["LlavaForConditionalGeneration"],
            "model_type": "llava",
            "image_token_id": mark,
            "image_token_index": mark,
            "image_seq_length": places,
            "text_config": text,
            **marks,
            "transformers.js_config": {"dtype": dtype},
        },
        "generation_config.json": {
            **marks,
            "do_sample": False,
            "min_new_tokens": decoding.lengths["normal"][0],
            "max_new_tokens": decoding.max_length,
            "suppress_tokens": list(vocabulary.barred_in_search),
            "bad_words_ids": [[token, token] for token in range(vocabulary.size)],  # none comes twice in a row
        },
        "preprocessor_config.json": {
            "processor_class": "LlavaProcessor",
            "do_resize": False,  # the graph resizes, and scales
            "do_rescale": False,
            "do_normalize": False,
            "do_convert_rgb": True,
        },
        "processor_config.json": {
            "processor_class": "LlavaProcessor",
            "image_token": IMAGE_MARK,
            "patch_size": ELSEWHERE,
            "num_additional_image_tokens": places,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizer",
            "clean_up_tokenization_spaces": False,
            "padding_side": "left",
            **spelled,
            "chat_template": chat_template(manifest, spelled["eos_token"]),
        },
        "tokenizer.json": content,
    }
    write_json(folder, files)
    return places


def marks_of(vocabulary: Vocabulary) -> dict[str, int]:
    """The ids of marks, as configurations of transformers have them."""
    return {f"{name}_token_id": getattr(vocabulary, f"{name}_id") for name in MARKS}


def spelled_marks(vocabulary: Vocabulary, tokenizer: Tokenizer) -> dict[str, str]:
    """The marks as a tokenizer spells them."""
    return {f"{name}_token": str(tokenizer.id_to_token(getattr(vocabulary, f"{name}_id"))) for name in MARKS}


def write_json(folder: Path, files: Mapping[str, Any]) -> None:
    """Write files by name, those that people read with a line for each key."""
    for name, values in files.items():
        is_long = name in ("tokenizer.json", "generation_config.json")
        form: dict[str, Any] = {"separators": (",", ":")} if is_long else {"indent": 1}
        (folder / name).write_text(json.dumps(values, ensure_ascii=False, **form) + "\n", encoding="utf-8")


def chat_template(manifest: Manifest, end: str) -> str:
    """What `apply_chat_template` makes of messages, in Jinja: the picture's mark, then questions and answers as the
    model was trained to read them (`fastcap.runtime.conversation`); in one text, in lower case.

    A model that was not trained to answer raises an error if a message has a text.
    """
    if manifest.questions is None:
        told = "this model writes captions and was not trained to answer"
        return (
            IMAGE_MARK + "{% for m in messages %}{% if m.content is string or m.content | selectattr('text') | list %}"
            "{{ raise_exception(" + json.dumps(told) + ") }}{% endif %}{% endfor %}"
        )
    before, after = (json.dumps(part) for part in manifest.questions.template.split(PLACE))
    return (
        IMAGE_MARK + "{% for m in messages %}{% set text = m.content if m.content is string else "
        "m.content | selectattr('text') | map(attribute='text') | join(' ') %}"
        "{% set text = text | lower | trim %}"
        "{% if m.role == 'user' %}{{ " + before + " + text + " + after + " }}"
        "{% else %}{{ ' ' + text + " + json.dumps(end) + " }}{% endif %}{% endfor %}"
    )
