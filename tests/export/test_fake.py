"""Fake quantisation rounds as the graph does, and learns as if it did not."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from fastcap.quantization.fake import rounded, rounded_weights, weight_range


@pytest.mark.parametrize("largest", [7, 64, 127])
def test_a_rounded_weight_is_one_of_few_values_and_near(largest):
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[2] = 0
    found = rounded(weight, largest)
    step = weight.abs().amax(dim=(1, 2, 3)) / largest
    for channel in range(6):
        assert (found[channel] - weight[channel]).abs().max() <= step[channel] / 2 + 1e-7
        assert len(found[channel].unique()) <= 2 * largest + 1
    assert not found[2].any()
    torch.testing.assert_close(rounded(found, largest), found)


def test_the_gradient_is_that_of_the_rounded_weight():
    weight = torch.randn(3, 2, 1, 1, requires_grad=True)
    (rounded(weight, 64) ** 2).sum().backward()
    torch.testing.assert_close(weight.grad, 2 * rounded(weight.detach(), 64))


def test_only_convolutions_are_rounded():
    module = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 6, 1), nn.Linear(6, 6))
    assert set(rounded_weights(module)) == {"0.weight", "1.weight"}
    assert [weight_range(part.groups) for part in module[:2]] == [127, 64]


def test_the_int8_graph_holds_the_rounded_weights(model, quantised):
    """Folding and merging aside: the stem's weights stand in the graph as training rounds them."""
    graph = onnx.load(str(quantised.encode)).graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    (name,) = (name for name in weights if name.endswith("stem.weight_quantized"))
    scale = weights[name.removesuffix("_quantized") + "_scale"]
    expected = rounded_weights(model.backbone)["stem.weight"].detach().numpy()
    np.testing.assert_allclose(weights[name] * scale[:, None, None, None], expected, atol=1e-6)
