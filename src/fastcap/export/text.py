"""`text.onnx`: the text side of the alignment, the same for every family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from fastcap.export.surgery import write_graph
from fastcap.export.trace import changing_axes, trace
from fastcap.model import CaptionModel
from fastcap.runtime.contract import TEXT

__all__ = ["assemble_text", "export_text"]


class EmbedText(nn.Module):
    """`CaptionModel.embed_text` of one text."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, token_ids: Tensor) -> Tensor:
        length: Any = token_ids.shape[1]
        return self.model.embed_text(token_ids, torch.as_tensor(length).reshape(1))


def export_text(model: CaptionModel, path: Path) -> None:
    """Write the part that embeds one text: token ids (1, T) -> a unit vector (1, A)."""
    trace(EmbedText(model), (torch.arange(3)[None],), path, TEXT.inputs, TEXT.outputs, changing_axes(TEXT))


def assemble_text(part: Path, whole: Path) -> None:
    """Write `text.onnx` beside `whole`, the graph that holds the token table, which is read out of that graph's
    file."""
    write_graph(whole.with_name(TEXT.file), onnx.load(str(part)), whole, noted=True)
