"""The Spatial-Mamba backbone: its scans, its state fusion, and the ImageNet network that it can begin as."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from fastcap.backbone.convolutional import load_trunk, named_convolutions
from fastcap.backbone.resnet_vit import ResNetViTBackbone
from fastcap.backbone.spatial_mamba import SpatialMambaBackbone, SpatialMambaBlock
from fastcap.config import BackboneConfig, ModelConfig, keywords
from fastcap.errors import DataError
from fastcap.scan import selective_scan_reference

SCANS = ("state_fusion", "cross_scan")
TINY = {
    "d_model": 16,
    "stem_width": 8,
    "widths": (8, 8, 12, 12, 16, 16, 24),
    "depths": (1, 1, 2, 1, 1, 1, 1),
    "expansion": 2,
    "head_width": 32,
    "mamba_depths": (1, 1),
    "n_heads": 4,
    "scan": "state_fusion",
}


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """Every weight random, so that nothing is hidden by a 0 or a 1 that training begins with."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return module.double().eval()


def block_of(scan: str) -> SpatialMambaBlock:
    return randomised(SpatialMambaBlock(8, 4, scan))


@pytest.fixture(params=SCANS)
def scan(request) -> str:
    return request.param


@pytest.fixture
def backbone(scan) -> SpatialMambaBackbone:
    torch.manual_seed(0)
    return SpatialMambaBackbone(**{**TINY, "scan": scan}).eval()


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (96, 160), (224, 224)])
def test_any_multiple_of_32_becomes_one_token_for_each_32_pixels(backbone, size):
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    with torch.no_grad():
        tokens, pooled = backbone(images)
    assert tokens.shape == (2, size[0] * size[1] // backbone.stride**2, 16)
    assert pooled.shape == (2, 16)


def test_one_changed_pixel_reaches_every_token(scan):
    """Double precision and seven tokens a side: the convolutions alone reach but a few tokens around."""
    backbone = randomised(SpatialMambaBackbone(**{**TINY, "scan": scan}))
    images = torch.randint(0, 256, (1, 3, 224, 224), generator=torch.Generator().manual_seed(0)).double()
    changed = images.clone()
    changed[0, :, 112, 112] = 255 - changed[0, :, 112, 112]
    with torch.no_grad():
        difference = (backbone(changed).tokens - backbone(images).tokens).abs().amax(dim=-1)
    assert (difference > 0).all()


def test_convolutions_alone_would_not_reach_every_token():
    backbone = randomised(SpatialMambaBackbone(**{**TINY, "mamba_depths": (0, 0)}))
    images = torch.zeros(1, 3, 224, 224, dtype=torch.float64)
    changed = images.clone()
    changed[0, :, 112, 112] = 255
    with torch.no_grad():
        difference = (backbone(changed).tokens - backbone(images).tokens).abs().amax(dim=-1)
    assert not difference.all()


def test_a_new_block_changes_nothing(scan):
    block = SpatialMambaBlock(16, 4, scan)
    x = torch.randn(2, 16, 5, 7)
    assert torch.equal(block(x), x)


def test_a_new_block_learns_all_the_same(scan):
    """One step moves the output projection away from 0; from then on every weight has a gradient."""
    torch.manual_seed(0)
    block = SpatialMambaBlock(16, 4, scan)
    x, target = torch.randn(2, 16, 5, 7), torch.randn(2, 16, 5, 7)
    for _ in range(2):
        block.zero_grad()
        F.mse_loss(block(x), target).backward()
        with torch.no_grad():
            for parameter in block.parameters():
                parameter -= 0.1 * parameter.grad
    assert all(parameter.grad.abs().sum() > 0 for parameter in block.parameters())


def gates(block: SpatialMambaBlock, y: Tensor, direction: int) -> tuple[Tensor, Tensor, Tensor]:
    """Δ, B and C of a direction, (B, H, rows, columns) each: channels come as direction, then Δ B C, then head."""
    selected = block.select(y)
    first = direction * 3 * block.n_heads
    step, b, c = selected[:, first : first + 3 * block.n_heads].split(block.n_heads, dim=1)
    return F.softplus(step), b, c


def scan_along(block: SpatialMambaBlock, y: Tensor, direction: int, order: list[tuple[int, int]]) -> Tensor:
    """States (B, D, rows, columns) of one scan that visits the places in `order`, head by head, in plain loops."""
    step, b, _ = gates(block, y, direction)
    rate = block.log_rate.exp()
    states = torch.zeros_like(y)
    width = y.shape[1] // block.n_heads
    for head in range(block.n_heads):
        channels = slice(head * width, (head + 1) * width)
        state = torch.zeros_like(y[:, channels, 0, 0])
        for row, column in order:
            delta = step[:, head, row, column, None]
            state = torch.exp(-rate[head] * delta) * state + (
                delta * b[:, head, row, column, None] * y[:, channels, row, column]
            )
            states[:, channels, row, column] = state
    return states


def weighted_by_c(block: SpatialMambaBlock, y: Tensor, direction: int, states: Tensor) -> Tensor:
    c = gates(block, y, direction)[2]
    return states * c.repeat_interleave(y.shape[1] // block.n_heads, dim=1)


@torch.no_grad()
def test_the_cross_scan_is_four_scans_merged_in_place():
    block = block_of("cross_scan")
    y = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    rows = [(row, column) for row in range(3) for column in range(5)]
    columns = [(row, column) for column in range(5) for row in range(3)]
    orders = [rows, rows[::-1], columns, columns[::-1]]
    expected = sum(
        weighted_by_c(block, y, direction, scan_along(block, y, direction, order))
        for direction, order in enumerate(orders)
    )
    torch.testing.assert_close(block.crossed(y), expected)


@torch.no_grad()
def test_state_fusion_mixes_the_states_of_neighbours_at_three_distances():
    block = block_of("state_fusion")
    y = torch.randn(2, 8, 4, 6, dtype=torch.float64)
    states = scan_along(block, y, 0, [(row, column) for row in range(4) for column in range(6)])
    fused = torch.zeros_like(states)
    for convolution, dilation in zip(block.fusion, (1, 3, 5), strict=True):
        for row in range(4):
            for column in range(6):
                for i in range(3):
                    for j in range(3):
                        r, c = row + (i - 1) * dilation, column + (j - 1) * dilation
                        if 0 <= r < 4 and 0 <= c < 6:
                            fused[:, :, row, column] += convolution.weight[:, 0, i, j] * states[:, :, r, c]
    torch.testing.assert_close(block.fused(y), weighted_by_c(block, y, 0, fused))


@torch.no_grad()
def test_a_block_adds_the_mixed_and_the_skipped_input(scan):
    block = block_of(scan)
    x = torch.randn(1, 8, 4, 4, dtype=torch.float64)
    y = F.relu(block.local(block.project_in(x)))
    mixed = block.fused(y) if scan == "state_fusion" else block.crossed(y)
    expected = x + block.project_out(mixed + block.skip.view(1, -1, 1, 1) * y)
    torch.testing.assert_close(block(x), expected)


def test_decay_never_lets_a_state_grow(scan):
    log_decay, _, _ = block_of(scan).selected(torch.randn(2, 8, 5, 5, dtype=torch.float64) * 100)
    assert (log_decay <= 0).all()


def test_the_blocks_scan_is_the_reference_scan():
    """`fused` and `crossed` go through `selective_scan`; here with its slow twin in place."""
    block = block_of("state_fusion")
    y = torch.randn(1, 8, 9, 9, dtype=torch.float64)
    log_decay, b, _ = (part[:, 0] for part in block.selected(y))
    inputs = y.reshape(1, 4, 2, 81).transpose(2, 3) * b[..., None]
    states = selective_scan_reference(log_decay, inputs).transpose(2, 3).reshape(1, 8, 9, 9)
    raster = [(row, column) for row in range(9) for column in range(9)]
    torch.testing.assert_close(states, scan_along(block, y, 0, raster))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scan": "zigzag"}, "'zigzag'; allowed: 'state_fusion', 'cross_scan'"),
        ({"n_heads": 3}, "not a multiple of n_heads 3"),
        ({"widths": (8, 8)}, "need 7 numbers each, got 2, 7 and 7"),
    ],
)
def test_settings_that_cannot_be_built_say_what_is_allowed(settings, message):
    with pytest.raises(ValueError, match=message):
        SpatialMambaBackbone(**{**TINY, **settings})


# The teacher


def same_padding_forward(tensors: dict[str, np.ndarray], images: Tensor) -> Tensor:
    """MobileNetV2 from its tensors alone, up to `conv_last`, written without a line of ours."""
    strides = {0: 1, 1: 2, 3: 2, 6: 2, 13: 2}  # the blocks that begin a stage of another resolution

    def convolution(x: Tensor, name: str, stride: int = 1, relu: bool = True) -> Tensor:
        weight, bias = (torch.from_numpy(tensors[f"{name}.{part}"]) for part in ("weight", "bias"))
        kernel, size = weight.shape[-1], x.shape[-1]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)  # TensorFlow's SAME
        x = F.pad(x, (total // 2, total - total // 2) * 2)
        groups = x.shape[1] // weight.shape[1]
        x = F.conv2d(x, weight, bias, stride=stride, groups=groups)
        return F.relu6(x) if relu else x

    x = convolution(images.float() / 127.5 - 1, "conv0", 2)
    for block in range(17):
        y = convolution(x, f"b{block}.expand") if f"b{block}.expand.weight" in tensors else x
        y = convolution(y, f"b{block}.dw", strides.get(block, 1))
        y = convolution(y, f"b{block}.project", relu=False)
        x = x + y if x.shape == y.shape else y
    return convolution(x, "conv_last")


@pytest.fixture(scope="module")
def teacher(data_root):
    path = data_root / "teachers" / "mobilenetv2_imagenet.npz"
    if not path.is_file():
        pytest.skip(f"no teacher at {path}")
    return path


def resnet_vit() -> ResNetViTBackbone:
    """Of ImageNet's convolutions, and small beyond them."""
    mobilenetv2 = ModelConfig().backbone
    return ResNetViTBackbone(32, "inverted", mobilenetv2.widths, mobilenetv2.depths, 1, 4, 32, 0.1)


@pytest.mark.parametrize("family", ["spatial_mamba", "resnet_vit"])
@torch.no_grad()
def test_the_convolutional_stages_reproduce_the_teacher_and_see_a_dog(teacher, data_root, family):
    backbone = (
        SpatialMambaBackbone(256, **keywords(BackboneConfig(mamba_depths=(1, 1))))
        if family == "spatial_mamba"
        else resnet_vit()
    ).eval()
    load_trunk(backbone, teacher)
    tensors = dict(np.load(teacher))
    lines = (data_root / "flickr8k" / "captions.txt").read_text("utf-8").splitlines()
    names = list(dict.fromkeys(line.split(",")[0] for line in lines if "dog" in line and "dogs" not in line))
    files = [path for path in map((data_root / "flickr8k" / "images").joinpath, names) if path.is_file()]
    files = files or sorted((data_root / "flickr8k" / "images").glob(names[0].rsplit(".", 1)[0] + ".*"))
    pixels = np.stack([np.array(Image.open(file).convert("RGB").resize((224, 224))) for file in files[:6]])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    features = backbone.convolve(images)
    if family == "spatial_mamba":
        features = backbone.mamba_14(features)  # new blocks change nothing
    ours = backbone.head(backbone.to_stride_32(features))
    torch.testing.assert_close(ours, same_padding_forward(tensors, images), rtol=1e-4, atol=1e-4)
    weight = torch.from_numpy(tensors["classifier.weight"]).flatten(1)
    logits = ours.mean(dim=(2, 3)) @ weight.t() + torch.from_numpy(tensors["classifier.bias"])
    dogs = slice(152, 270)  # ImageNet's breeds, counted after the background class
    seen = logits.softmax(dim=1)[:, dogs].sum(dim=1)
    assert (seen > 0.5).float().mean() >= 0.5, seen


@pytest.fixture
def small_teacher(tmp_path):
    """A teacher of the tiny backbone, and the tensors it holds."""
    torch.manual_seed(3)
    source = SpatialMambaBackbone(**TINY)
    tensors = {
        f"{name}.{part}": getattr(module, part).detach().numpy()
        for name, module in named_convolutions(source).items()
        for part in ("weight", "bias")
    }
    np.savez(tmp_path / "teacher.npz", **tensors)
    return tmp_path / "teacher.npz", tensors


def test_a_teacher_overwrites_the_convolutions_and_nothing_else(small_teacher):
    path, tensors = small_teacher
    backbone = SpatialMambaBackbone(**TINY)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    load_trunk(backbone, path)
    assert np.array_equal(backbone.stem.weight.detach().numpy(), tensors["conv0.weight"])
    assert np.array_equal(backbone.head.bias.detach().numpy(), tensors["conv_last.bias"])
    for name, value in backbone.state_dict().items():
        if name.startswith(("mamba", "project.", "norm", "pool")):
            assert torch.equal(value, before[name]), name


def test_a_teacher_without_a_tensor_or_with_another_shape_is_named(small_teacher):
    path, tensors = small_teacher
    np.savez(path, **{name: value for name, value in tensors.items() if name != "b3.dw.weight"})
    with pytest.raises(DataError, match=r"teacher\.npz has no tensor b3\.dw\.weight"):
        load_trunk(SpatialMambaBackbone(**TINY), path)
    np.savez(path, **tensors | {"b3.dw.bias": np.zeros(5, np.float32)})
    with pytest.raises(DataError, match=r"b3\.dw\.bias is \(5,\), the model needs \(24,\)"):
        load_trunk(SpatialMambaBackbone(**TINY), path)


@pytest.mark.parametrize("content", [None, b"", b"not numpy", b"PK\x03\x04 a zip cut short", b"\x93NUMPY"])
def test_a_teacher_that_cannot_be_read_is_named_with_its_setting(tmp_path, content):
    path = tmp_path / "teacher.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"teacher\.npz cannot be read .*setting data\.teacher"):
        load_trunk(SpatialMambaBackbone(**TINY), path, "data.teacher")


def test_a_teacher_that_is_one_array_is_named_too(tmp_path):
    with (tmp_path / "teacher.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match=r"teacher\.npz cannot be read .*setting data\.teacher"):
        load_trunk(SpatialMambaBackbone(**TINY), tmp_path / "teacher.npz", "data.teacher")
