"""The vision part of a model with early exits: graphs that run in turn until one of them is sure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcap.errors import ModelFileError
from fastcap.runtime.contract import IMAGE_VECTORS, SCALED, VISION_ENCODER, scale_file

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from fastcap.runtime.bundle import Bundle

__all__ = ["BEFORE", "Scales"]


BEFORE = {"tokens_before": "image_tokens", "map_before": "carry"}
"""What a scale may read beside `images`, and the outputs of the scale before that these are."""


class Scales:
    """As a session of `VISION_ENCODER`, made of one for each scale.

    Attributes:
        thresholds: for each exit but the last, the confidence from which nothing further is computed.
        taken: how many pictures left at each exit so far.

    Raises:
        ModelFileError: the graphs are not as many as there are exits, or do not fit one another.
    """

    def __init__(self, sessions: Sequence[InferenceSession], thresholds: Sequence[float]) -> None:
        self.thresholds = tuple(thresholds)
        self.taken = [0] * len(sessions)
        self._sessions = list(sessions)
        self._outputs = [*VISION_ENCODER.outputs, *IMAGE_VECTORS, *SCALED]
        self._inputs = [[node.name for node in session.get_inputs()] for session in sessions]
        known = {"images"}
        for index, session in enumerate(sessions):
            got = [node.name for node in session.get_outputs()]
            if not set(self._inputs[index]) <= known or got != self._outputs:
                raise ModelFileError(
                    f"{scale_file(index)}: from {', '.join(self._inputs[index])} to {', '.join(got)}; expected: from "
                    f"some of {', '.join(sorted(known))} to {', '.join(self._outputs)}"
                )
            known = {"images", *BEFORE}

    @classmethod
    def open(cls, bundle: Bundle, first: InferenceSession, threads: int) -> Scales:
        """The graphs of a model directory; raises as `Bundle.open_graph`."""
        assert bundle.exits is not None
        others = [bundle.open_file(scale_file(index), threads) for index in range(1, len(bundle.exits.thresholds) + 1)]
        return cls([first, *others], bundle.exits.thresholds)

    def get_inputs(self) -> list[Any]:
        """Those of the first graph."""
        return self._sessions[0].get_inputs()

    def get_outputs(self) -> list[Any]:
        """Those that a graph without exits has."""
        wanted = {*VISION_ENCODER.outputs, *IMAGE_VECTORS}
        return [node for node in self._sessions[0].get_outputs() if node.name in wanted]

    def run(self, names: Sequence[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs of the first exit that is sure, or of the last; scales after it are not computed."""
        values = dict(feeds)
        for index, session in enumerate(self._sessions):
            outputs = session.run(None, {name: values[BEFORE.get(name, name)] for name in self._inputs[index]})
            values |= dict(zip(self._outputs, outputs, strict=True))
            if index == len(self._sessions) - 1 or float(values["sure"][0]) >= self.thresholds[index]:
                self.taken[index] += 1
                break
        return [values[name] for name in names]
