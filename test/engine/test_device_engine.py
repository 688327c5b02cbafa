# SPDX-License-Identifier: Apache-2.0
"""The path of an engine on a GPU, run on the CPU: the same code, without CUDA graphs."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from centertrack_ros.engine import device_images, verification
from centertrack_ros.engine.cuda_engine import CudaEngine
from centertrack_ros.engine.cuda_graphs import Graphs, shapes_of
from centertrack_ros.engine.torch_engine import TorchEngine
from centertrack_ros.geometry import gaussian
from centertrack_ros.geometry.affine import place
from centertrack_ros.network import checkpoints
from centertrack_ros.network.registry import weights_path
from support.network_reference import seeded_network
from support.small_network import small_network

cv2 = pytest.importorskip("cv2")
CPU = torch.device("cpu")
HEADS = {"hm": 3, "reg": 2, "wh": 2, "tracking": 2, "dep": 1}
SIZE = (96, 160)
IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]])


@cache
def network(make=small_network):
    """Engines copy the network: all tests share it."""
    return make(HEADS, input_height=SIZE[0], input_width=SIZE[1], trained_focal_length=633.0)


@pytest.mark.parametrize("camera", [(180, 320), (90, 170), (96, 160), (400, 300)])
def test_the_warp_equals_opencv_but_for_rounding(camera) -> None:
    image = cv2.GaussianBlur(verification.make_test_image(camera, 1), (0, 0), 2)
    affine = place(camera, SIZE, "fixed").to_input
    expected = cv2.warpAffine(image, affine, (SIZE[1], SIZE[0]), flags=cv2.INTER_LINEAR).astype(np.int64)
    one = device_images.upload(image, affine, SIZE, CPU)
    got = device_images.warp(one.bytes, one.to_image, SIZE).numpy()
    differences = np.abs(got - expected)
    assert differences.max() <= 2 and (differences > 0).mean() < 0.2 and (differences > 1).mean() < 1e-3


def test_black_is_outside_the_image_and_the_same_pixels_come_back_inside() -> None:
    image = verification.make_test_image((64, 64), 3)
    one = device_images.upload(image, np.array([[1.0, 0, 20], [0, 1, 10]]), SIZE, CPU)
    warped = device_images.warp(one.bytes, one.to_image, SIZE).numpy()
    assert np.array_equal(warped[10:74, 20:84], image)
    warped[10:74, 20:84] = 0
    assert not warped.any()


def test_an_upload_keeps_nothing_of_the_message() -> None:
    image = verification.make_test_image((32, 32), 0)
    one = device_images.upload(image, IDENTITY, (32, 32), CPU)
    before = image.copy()
    image[:] = 0
    assert np.array_equal(one.bytes.numpy(), before)


def test_maps_without_an_inverse_and_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="no inverse"):
        device_images.upload(np.zeros((8, 8, 3), np.uint8), np.zeros((2, 3)), SIZE, CPU)
    with pytest.raises(ValueError, match="expected a BGR image"):
        device_images.upload(np.zeros((8, 8), np.uint8), IDENTITY, SIZE, CPU)  # type: ignore[arg-type]


def test_prior_heatmaps_equal_those_of_the_cpu() -> None:
    rng = np.random.default_rng(4)
    priors = [
        np.stack([rng.integers(-20, 200, 40), rng.integers(-20, 120, 40), rng.integers(0, 60, 40)], axis=1),
        np.zeros((0, 3), np.int64),
        np.array([[5, 5, 0], [159, 95, 3], [160, 96, 9], [5, 5, 0]]),
    ]
    got = device_images.prior_heatmaps(priors, SIZE, CPU).numpy()
    for heatmap, one in zip(got[:, 0], priors, strict=True):
        np.testing.assert_allclose(heatmap, gaussian.render(one, SIZE), atol=1e-6)
    assert not device_images.prior_heatmaps([priors[1]], SIZE, CPU).any()


@pytest.mark.parametrize("flip_test", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_its_peaks_equal_those_of_the_reference(batch, flip_test) -> None:
    reference = verification.run_reference(TorchEngine(*network(seeded_network), flip_test=flip_test), SIZE, batch)
    got = verification.run_reference(CudaEngine(*network(seeded_network), "cpu", flip_test=flip_test), SIZE, batch)
    assert verification.compare(reference, got).exact, verification.compare(reference, got)
    for one, other in zip(reference, got, strict=True):
        assert one.class_ids.dtype == other.class_ids.dtype and one.cells.dtype == other.cells.dtype
        assert one.grid == other.grid and set(one.values) == set(other.values)


def test_the_embedded_model_sees_the_same_in_an_image_of_a_camera() -> None:
    model = checkpoints.load(weights_path("mobilenetv3-coco-track"))
    image = cv2.GaussianBlur(verification.make_test_image((270, 480), 5), (0, 0), 1.5)
    found = []
    for engine in (TorchEngine(*model), CudaEngine(*model, "cpu")):
        placement = model[1].place(image.shape[:2])
        frames = [
            engine.prepare(np.roll(image, 8 * i, axis=1), placement.to_input, placement.input_size) for i in (0, 1)
        ]
        none = np.zeros((0, 3), np.int64)
        found.append([engine.infer([frames[0]], [frames[0]], [none]), engine.infer([frames[1]], [frames[0]], [none])])
    for reference, got in zip(*found, strict=True):
        agreement = verification.compare(reference, got)
        assert agreement.near_overlap == 1.0 and agreement.typical_score_error < 1e-3, agreement


def test_float16_finds_the_same_peaks() -> None:
    reference = verification.run_reference(TorchEngine(*network(seeded_network)), SIZE)
    got = verification.run_reference(CudaEngine(*network(seeded_network), "cpu", half=True), SIZE)
    agreement = verification.compare(reference, got)
    assert agreement.near_overlap >= 0.9 and agreement.typical_score_error < 0.01, agreement
    assert got[0].scores.dtype == np.float32


def test_the_next_frame_uses_the_input_that_was_made_on_the_device() -> None:
    engine = CudaEngine(*network(), "cpu")
    none = [np.zeros((0, 3), np.int64)]
    first, second = (engine.prepare(verification.make_test_image(SIZE, seed), IDENTITY, SIZE) for seed in (1, 2))
    assert first.pixels is None
    engine.infer([first], [first], none)
    kept = first.pixels.clone()
    expected = engine.infer([second], [first], none)
    first.bytes = torch.zeros_like(first.bytes)  # not looked at again
    assert torch.equal(first.pixels, kept)
    again = engine.prepare(verification.make_test_image(SIZE, 2), IDENTITY, SIZE)
    assert verification.compare(expected, engine.infer([again], [first], none)).exact


def test_inputs_of_the_torch_engine_are_taken_over() -> None:
    """As when an engine has been made in the background."""
    torch_engine, engine = TorchEngine(*network()), CudaEngine(*network(), "cpu")
    image, before = (verification.make_test_image(SIZE, seed) for seed in (1, 2))
    none = [np.zeros((0, 3), np.int64)]
    old = [torch_engine.prepare(one, IDENTITY, SIZE) for one in (image, before)]
    new = [engine.prepare(one, IDENTITY, SIZE) for one in (image, before)]
    expected = torch_engine.infer(old[:1], old[1:], none)
    for images, previous in ((old[:1], old[1:]), (new[:1], old[1:]), (old[:1], new[1:]), (new[:1], new[1:])):
        assert verification.compare(expected, engine.infer(images, previous, none)).exact


def test_cameras_of_several_sizes_share_a_batch_and_sizes_of_the_input_change() -> None:
    engine, reference = CudaEngine(*network(), "cpu"), TorchEngine(*network())
    none = np.zeros((0, 3), np.int64)
    for size in (SIZE, (32, 32), SIZE):  # 32x32 has fewer cells than there are peaks
        for one in (engine, reference):
            assert len(one.infer([], [], [])) == 0
        images = [verification.make_test_image(shape, 7) for shape in (size, (2 * size[0], 2 * size[1]))]
        maps = [IDENTITY, IDENTITY / 2]
        found = []
        for one in (reference, engine):
            inputs = [one.prepare(image, affine, size) for image, affine in zip(images, maps, strict=True)]
            found.append(one.infer(inputs, inputs, [none, none]))
        assert verification.compare(*found).exact


def test_a_recording_is_valid_for_shapes_types_and_constants() -> None:
    a, b = torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    assert shapes_of([a, None]) == shapes_of([a + 1, None])
    assert len({shapes_of(one) for one in ([a, None], [b, None], [a.half(), None], [a, a])}) == 4


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_where_a_recording_fails_the_function_runs_all_the_same(caplog) -> None:
    graphs = Graphs(lambda inputs, factor: (inputs[0] * factor,))
    (doubled,) = graphs([torch.ones(2)], 2)
    assert doubled.tolist() == [2.0, 2.0] and not graphs.usable and not graphs.recordings
    graphs([torch.ones(2)], 2)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "CUDA graphs are not possible here, kernels are started one by one"
    ]
