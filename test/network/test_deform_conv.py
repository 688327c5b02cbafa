# SPDX-License-Identifier: Apache-2.0
"""Deformable convolution against its definition."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from centertrack_ros.network import deform_conv
from centertrack_ros.network.deform_conv import DeformConv, deform_conv2d
from support.network_reference import DATA


def by_definition(x, offset, mask, weight, bias, stride, padding, dilation):
    """Loops over every output value, in float64; a corner outside of the image is 0."""
    batch, channels, height, width = x.shape
    out_channels, _, kernel_h, kernel_w = weight.shape
    out_h, out_w = offset.shape[2:]
    y = np.zeros((batch, out_channels, out_h, out_w)) + bias[None, :, None, None]
    for b, i, j, tap in np.ndindex(batch, out_h, out_w, kernel_h * kernel_w):
        py = i * stride - padding + (tap // kernel_w) * dilation + offset[b, 2 * tap, i, j]
        px = j * stride - padding + (tap % kernel_w) * dilation + offset[b, 2 * tap + 1, i, j]
        if not (-1 < py < height and -1 < px < width):
            continue
        top, left = int(np.floor(py)), int(np.floor(px))
        sample = np.zeros(channels)
        for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
            if 0 <= row < height and 0 <= column < width:
                sample += (1 - abs(py - row)) * (1 - abs(px - column)) * x[b, :, row, column]
        y[b, :, i, j] += mask[b, tap, i, j] * weight[:, :, tap // kernel_w, tap % kernel_w] @ sample
    return y


def random_case(seed, batch, channels, out_channels, size, kernel, stride, padding, dilation, reach):
    rng = np.random.default_rng(seed)
    out = [(n + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for n, k in zip(size, kernel, strict=True)]
    taps = kernel[0] * kernel[1]
    return (
        rng.normal(size=(batch, channels, *size)),
        rng.normal(size=(batch, 2 * taps, *out)) * reach,
        rng.uniform(size=(batch, taps, *out)),
        rng.normal(size=(out_channels, channels, *kernel)),
        rng.normal(size=out_channels),
    )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 2),
    channels=st.integers(1, 4),
    out_channels=st.integers(1, 3),
    size=st.tuples(st.integers(5, 8), st.integers(5, 8)),
    kernel=st.tuples(st.sampled_from([1, 2, 3]), st.sampled_from([1, 3])),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    reach=st.sampled_from([0.0, 0.5, 3.0, 1000.0]),
)
def test_equals_its_definition(
    seed, batch, channels, out_channels, size, kernel, stride, padding, dilation, reach
) -> None:
    case = random_case(seed, batch, channels, out_channels, size, kernel, stride, padding, dilation, reach)
    single = [array.astype(np.float32) for array in case]
    expected = by_definition(*[array.astype(np.float64) for array in single], stride, padding, dilation)
    tensors = [torch.from_numpy(array) for array in single]
    for form in (deform_conv2d, deform_conv.by_gather, deform_conv.by_bags):
        got = form(*tensors, stride, padding, dilation).numpy()
        assert got.shape == expected.shape
        # Coordinates far outside of the image carry float32's rounding, but nothing is sampled there.
        np.testing.assert_allclose(got, expected, atol=1e-4, err_msg=form.__name__)


def test_equals_the_official_layer() -> None:
    reference = np.load(DATA / "network" / "dcn.npz")
    layer = DeformConv(6, 5)
    names = {key: f"w_{key}" for key in layer.state_dict()}
    layer.load_state_dict({key: torch.from_numpy(reference[name]) for key, name in names.items()})
    with torch.no_grad():
        np.testing.assert_allclose(layer(torch.from_numpy(reference["x"])), reference["y"], atol=1e-5)


def test_without_offsets_is_an_ordinary_convolution() -> None:
    x, weight, bias = torch.randn(2, 4, 9, 7), torch.randn(5, 4, 3, 3), torch.randn(5)
    got = deform_conv2d(x, torch.zeros(2, 18, 9, 7), torch.ones(2, 9, 9, 7), weight, bias)
    torch.testing.assert_close(got, F.conv2d(x, weight, bias, padding=1), atol=1e-5, rtol=1e-5)


def test_tiles_of_inference_join_seamlessly() -> None:
    """A map of several tiles gives what the one pass under autograd gives."""
    torch.manual_seed(0)
    size = (60, 70)  # two images of 4200 pixels: tiles end inside of rows, and one spans both images
    x, weight, bias = torch.randn(2, 4, *size), torch.randn(5, 4, 3, 3), torch.randn(5)
    offset, mask = torch.randn(2, 18, *size), torch.rand(2, 9, *size)
    at_once = deform_conv2d(x, offset, mask, weight, bias)
    with torch.no_grad():
        tiled = deform_conv2d(x, offset, mask, weight, bias)
    torch.testing.assert_close(tiled, at_once, atol=1e-5, rtol=1e-5)


def test_an_untrained_layer_is_half_a_convolution() -> None:
    layer, x = DeformConv(4, 3), torch.randn(1, 4, 8, 8)
    expected = F.conv2d(x, layer.weight, layer.bias, padding=1) / 2
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


def test_gradients_of_every_input() -> None:
    case = random_case(3, 1, 2, 2, (4, 5), (3, 3), 1, 1, 1, 0.7)
    inputs = [torch.from_numpy(array).requires_grad_() for array in case]
    assert torch.autograd.gradcheck(deform_conv2d, inputs, atol=1e-6)


@pytest.mark.parametrize("wanted", [(0,), (1, 2), (3, 4), ()])
def test_gradients_of_some_inputs_only(wanted: tuple[int, ...]) -> None:
    case = random_case(4, 1, 2, 3, (4, 5), (3, 3), 1, 1, 1, 0.7)
    inputs = [torch.from_numpy(array).requires_grad_(i in wanted) for i, array in enumerate(case)]
    through = deform_conv2d(*inputs)
    assert through.requires_grad == bool(wanted)
    if wanted:
        chosen = [inputs[i] for i in wanted]
        direct = deform_conv.by_bags(*inputs, 1, 1, 1)
        for got, expected in zip(
            torch.autograd.grad(through.square().sum(), chosen),
            torch.autograd.grad(direct.square().sum(), chosen),
            strict=True,
        ):
            torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("form", ["by_bags", "by_gather"])
def test_autocast_in_training(kind: torch.dtype, form: str, monkeypatch) -> None:
    """Features, offsets and masks in 16 bits (features also in float32), parameters in float32, as Lightning has it."""
    if form == "by_gather":  # as on a GPU without torchvision
        monkeypatch.setattr(deform_conv, "_form", lambda device, in_float32: deform_conv.by_gather)
    case = random_case(6, 2, 4, 3, (9, 8), (3, 3), 1, 1, 1, 0.7)
    kinds = (kind, torch.bfloat16, torch.bfloat16, torch.float32, torch.float32)
    mixed = [torch.from_numpy(array).to(k).requires_grad_() for array, k in zip(case, kinds, strict=True)]
    plain = [tensor.detach().float().requires_grad_() for tensor in mixed]
    with torch.autocast("cpu", torch.bfloat16):
        output = deform_conv2d(*mixed)
    expected = deform_conv2d(*plain)
    assert output.dtype == kind
    torch.testing.assert_close(output.float(), expected, atol=0.1, rtol=0.02)
    got = torch.autograd.grad(output.float().square().sum(), mixed)
    wanted = torch.autograd.grad(expected.square().sum(), plain)
    for value, reference, tensor in zip(got, wanted, mixed, strict=True):
        assert value.dtype == tensor.dtype and value.isfinite().all()
        torch.testing.assert_close(value.float(), reference, atol=0.02 * float(reference.abs().max()), rtol=0.03)


def test_a_layer_trains_under_autocast() -> None:
    torch.manual_seed(0)
    layer, x = DeformConv(4, 3), torch.randn(1, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
    output.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in layer.parameters())
    assert all(p.grad.isfinite().all() for p in layer.parameters())
    assert layer.conv_offset_mask.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_torchvisions_kernel_is_the_same_convolution(with_bias: bool, kind: torch.dtype) -> None:
    """What GPUs run; it has a CPU version, too."""
    if deform_conv._torchvision_kernel() is None:
        pytest.skip("torchvision is not installed")
    *case, bias = [torch.from_numpy(a).to(kind) for a in random_case(7, 2, 4, 3, (9, 8), (3, 3), 2, 1, 1, 3.0)]
    arguments = (*case, bias if with_bias else None, 2, 1, 1)
    got, expected = deform_conv.by_kernel(*arguments), deform_conv.by_gather(*arguments)
    assert got.dtype == kind
    tolerance = 1e-4 if kind == torch.float32 else 0.1
    torch.testing.assert_close(got, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("with_bias", [True, False])
def test_the_operator_keeps_torchs_rules(with_bias: bool) -> None:
    """Schema, fake kernel and autograd registration, as torch itself checks them."""
    case = random_case(5, 2, 2, 3, (6, 5), (3, 3), 2, 1, 1, 0.7)
    *inputs, bias = [torch.from_numpy(array).float().requires_grad_() for array in case]
    arguments = (*inputs, bias if with_bias else None, 2, 1, 1)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    assert set(torch.library.opcheck(deform_conv.operator, arguments, test_utils=checks).values()) == {"SUCCESS"}


@pytest.mark.parametrize("absurd", [1e30, -1e30, float("inf")])
def test_extreme_offsets_sample_nothing(absurd: float) -> None:
    bias = torch.tensor([2.0])
    offset = torch.full((1, 18, 4, 4), absurd)
    got = deform_conv2d(torch.ones(1, 1, 4, 4), offset, torch.ones(1, 9, 4, 4), torch.ones(1, 1, 3, 3), bias)
    assert (got == 2.0).all()


def test_half_precision_keeps_exact_coordinates() -> None:
    """Column 2049 does not exist in float16: samples there must not move to a neighbour."""
    x = torch.arange(2100, dtype=torch.float32).remainder(2)[None, None, None].bfloat16()
    offset = torch.zeros(1, 2, 1, 2100, dtype=torch.bfloat16)
    mask, weight = torch.ones(1, 1, 1, 2100, dtype=torch.bfloat16), torch.ones(1, 1, 1, 1, dtype=torch.bfloat16)
    assert torch.equal(deform_conv2d(x, offset, mask, weight, padding=0), x)


@pytest.mark.parametrize(
    ("offset", "mask"), [((1, 9, 8, 8), (1, 9, 8, 8)), ((1, 18, 8, 8), (1, 18, 8, 8)), ((1, 18, 6, 8), (1, 9, 6, 8))]
)
def test_shapes_that_do_not_fit_are_an_error(offset, mask) -> None:
    with pytest.raises(ValueError, match=r"need an offset of \(1, 18, 8, 8\)"):
        deform_conv2d(torch.zeros(1, 2, 8, 8), torch.zeros(offset), torch.zeros(mask), torch.zeros(3, 2, 3, 3))
