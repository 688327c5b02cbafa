# SPDX-License-Identifier: Apache-2.0
"""The torch engine: official pre-processing, and the same answer whichever way it is computed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from centertrack_ros.engine import load_engine
from centertrack_ros.engine.preprocess import normalisation_table, warp_and_normalise, warp_to_planes
from centertrack_ros.engine.torch_engine import TorchEngine
from centertrack_ros.network.profile import OFFICIAL_MEAN, OFFICIAL_STD
from support.network_reference import DATA, frames, profile_for, read, seeded_network

cv2 = pytest.importorskip("cv2")

HEADS = {"hm": 3, "reg": 2, "wh": 2, "tracking": 2, "dep": 1, "amodel_offset": 2}
IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]])
NO_TRACKS = np.zeros((0, 3), np.int64)
SIZE = (64, 96)


@pytest.fixture(scope="module")
def model():
    return seeded_network(HEADS)


@pytest.fixture(scope="module")
def engine(model) -> TorchEngine:
    """An engine remembers nothing from one call to the next, so that many tests share this one."""
    return TorchEngine(*model)


def test_inputs_are_the_official_ones() -> None:
    table = normalisation_table(profile_for({"hm": 1}))
    arrays = np.load(DATA / "network" / "preprocess.npz")
    for i, entry in read("preprocess.json.gz").items():
        (image,) = parity_image(entry)
        got = warp_and_normalise(image, np.array(entry["affine"]), tuple(entry["size"]), table)
        np.testing.assert_allclose(got.transpose(2, 0, 1)[None, :, ::2, ::2], arrays[f"input_{i}"], atol=1e-6)


def parity_image(entry: dict) -> list[np.ndarray]:
    from support.network_reference import parity_inputs

    return parity_inputs.make_frames(entry["h"], entry["w"], 1, entry["seed"], entry["n_obj"])


def official_formula(image: np.ndarray, affine: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    warped = cv2.warpAffine(image, affine, (size[1], size[0]), flags=cv2.INTER_LINEAR)
    mean, std = np.array(OFFICIAL_MEAN, np.float32), np.array(OFFICIAL_STD, np.float32)
    return ((warped / 255.0 - mean) / std).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    scale=st.floats(0.1, 5),
    shift=st.tuples(st.floats(-50, 50), st.floats(-50, 50)),
)
def test_the_table_equals_the_official_formula(seed, height, width, scale, shift) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    affine = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    got = warp_and_normalise(image, affine, (32, 64), normalisation_table(profile_for({"hm": 1})))
    np.testing.assert_allclose(got, official_formula(image, affine, (32, 64)), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    divisors=st.tuples(st.sampled_from([1, 2, 3, 4]), st.sampled_from([1, 2, 0.75])),
    shift=st.tuples(st.integers(-50, 50), st.integers(-50, 50)),
    turned=st.booleans(),
    size=st.sampled_from([(32, 64), (32, 32), (192, 160)]),
    color_order=st.sampled_from(["bgr", "rgb"]),
)
def test_shortcuts_of_the_warp_do_not_change_its_result(
    seed, height, width, divisors, shift, turned, size, color_order
) -> None:
    """Sampling without interpolation, a fourth channel, planes: each is the bilinear warp to the last bit."""
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    affine = np.array([[1 / divisors[0], 0.2 * turned, shift[0]], [0, 1 / divisors[1], shift[1]]])
    expected = cv2.warpAffine(image, affine, (size[1], size[0]), flags=cv2.INTER_LINEAR)
    table = np.arange(256, dtype=np.float32)[None, :, None] + np.array([0, 1000, 2000], np.float32)
    expected = (expected[..., ::-1] if color_order == "rgb" else expected) + table[0, 0]
    np.testing.assert_array_equal(warp_and_normalise(image, affine, size, table, color_order), expected)
    planes = warp_to_planes(image, affine, size, table, color_order)
    np.testing.assert_array_equal(planes, expected.transpose(2, 0, 1))


def test_colour_order_and_scale_are_the_profiles() -> None:
    profile = profile_for({"hm": 1}, color_order="rgb", pixel_scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 2.0))
    image = np.zeros((32, 32, 3), np.uint8) + np.array([10, 20, 30], np.uint8)
    got = warp_and_normalise(image, IDENTITY, (32, 32), normalisation_table(profile), profile.color_order)
    np.testing.assert_array_equal(got[5, 7], [30.0, 20.0, 5.0])


def test_a_read_only_view_of_a_padded_message_is_enough(engine) -> None:
    """Camera drivers pad rows, and messages are not writable."""
    (image,) = frames(64, 90, 1, 5)
    buffer = np.zeros((64, 300), np.uint8)
    buffer[:, :270] = image.reshape(64, 270)
    view = buffer[:, :270].reshape(64, 90, 3)
    view.flags.writeable = False
    assert torch.equal(engine.prepare(view, IDENTITY, SIZE), engine.prepare(image, IDENTITY, SIZE))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 10, 3), np.uint8), "no pixels: 10x0"),
        (np.zeros((10, 10), np.uint8), r"got uint8 \(10, 10\)"),
        (np.zeros((10, 10, 4), np.uint8), r"got uint8 \(10, 10, 4\)"),
        (np.zeros((10, 10, 3), np.float32), "got float32"),
        (None, "got NoneType"),
    ],
)
def test_an_invalid_image_is_an_error_and_the_next_image_works(engine, image, message) -> None:
    with pytest.raises(ValueError, match=message):
        engine.prepare(image, IDENTITY, SIZE)
    good = engine.prepare(frames(*SIZE, 1, 5)[0], IDENTITY, SIZE)
    assert len(engine.infer([good], [good], [NO_TRACKS])) == 1


def run(engine: TorchEngine, count: int = 1, priors: np.ndarray = NO_TRACKS):
    clip = [engine.prepare(image, IDENTITY, SIZE) for image in frames(*SIZE, count + 1, 5)]
    return engine.infer(clip[1:], clip[:-1], [priors] * count)


def assert_same(first, second) -> None:
    np.testing.assert_array_equal(first.cells, second.cells)
    np.testing.assert_array_equal(first.class_ids, second.class_ids)
    np.testing.assert_allclose(first.scores, second.scores, atol=1e-5)
    for name, value in first.values.items():
        np.testing.assert_allclose(value, second.values[name], rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("flip_test", [False, True], ids=["plain", "flip"])
def test_sparse_fused_equals_dense_unfused(model, flip_test: bool) -> None:
    network, profile = model
    (reference,) = run(TorchEngine(network, profile, flip_test=flip_test, dense=True, fuse=False))
    (got,) = run(TorchEngine(network, profile, flip_test=flip_test))
    assert_same(reference, got)
    assert len(got.scores) == 100 and got.grid == (16, 24)


def test_pose_models_give_the_same_joints_sparse_and_dense() -> None:
    network, profile = seeded_network({"hm": 1, "reg": 2, "hps": 34, "hm_hp": 17, "hp_offset": 2})
    (dense,) = run(TorchEngine(network, profile, dense=True, fuse=False))
    (sparse,) = run(TorchEngine(network, profile))
    assert_same(dense, sparse)
    assert sorted(sparse.values) == ["hps", "reg"]
    np.testing.assert_allclose(dense.joints.points, sparse.joints.points, atol=1e-4)


def test_a_batch_gives_what_its_images_give_alone(engine) -> None:
    both = run(engine, 2)
    clip = [engine.prepare(image, IDENTITY, SIZE) for image in frames(*SIZE, 3, 5)]
    for i, together in enumerate(both):
        (alone,) = engine.infer([clip[i + 1]], [clip[i]], [NO_TRACKS])
        assert_same(alone, together)


def test_the_network_sees_the_tracks(engine) -> None:
    (without,), (with_track,) = run(engine), run(engine, priors=np.array([[48, 32, 10]]))
    assert not np.allclose(without.scores, with_track.scores)


def test_a_network_without_stems_ignores_previous_image_and_tracks() -> None:
    engine = TorchEngine(*seeded_network(HEADS, previous_image=False, prior_heatmap=False))
    (without,), (with_track,) = run(engine), run(engine, priors=np.array([[48, 32, 10]]))
    assert_same(without, with_track)


def test_fusing_does_not_change_the_network(model) -> None:
    network, profile = model
    before = {key: value.clone() for key, value in network.state_dict().items()}
    TorchEngine(network, profile)
    after = network.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


def test_inputs_that_do_not_fit_together_are_an_error(engine) -> None:
    small = engine.prepare(frames(64, 64, 1, 5)[0], IDENTITY, (64, 64))
    large = engine.prepare(frames(64, 96, 1, 5)[0], IDENTITY, SIZE)
    with pytest.raises(ValueError, match=r"one size, got \[\(64, 64\), \(64, 96\)\]"):
        engine.infer([large], [small], [NO_TRACKS])
    with pytest.raises(ValueError, match="1 images with 0 previous images"):
        engine.infer([large], [], [NO_TRACKS])
    assert engine.infer([], [], []) == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"engine": "warp-drive"}, ValueError, "engine must be one of auto, torch"),
        ({"weights": "/nowhere/at/all.pth"}, FileNotFoundError, "no weights file at /nowhere/at/all.pth"),
    ],
)
def test_an_impossible_engine_is_an_error_that_names_it(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        load_engine(**arguments)


def test_the_embedded_model_is_the_default() -> None:
    engine = load_engine(engine="torch", device="cpu")
    assert engine.profile.name == "mobilenetv3-coco-track" and engine.name == "torch"
    image = np.zeros((*SIZE, 3), np.uint8)
    prepared = engine.prepare(image, IDENTITY, SIZE)
    (peaks,) = engine.infer([prepared], [prepared], [NO_TRACKS])
    assert peaks.scores.max() < 0.3, "there is nothing to see in a black image"


def test_a_number_of_threads_is_not_left_to_the_next_engine(model) -> None:
    network, profile = model
    TorchEngine(network, profile)
    before = torch.get_num_threads()
    for threads in (1, 3, None):
        TorchEngine(network, profile, threads=threads)
        assert torch.get_num_threads() == (threads or before)
