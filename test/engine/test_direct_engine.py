# SPDX-License-Identifier: Apache-2.0
"""OpenVINO runs files of weights without torch: the reference's answers, and one sentence where torch is needed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from centertrack_ros.engine import verification
from centertrack_ros.engine.registry import EngineOptions
from centertrack_ros.engine.torch_engine import TorchEngine
from centertrack_ros.network import checkpoints
from centertrack_ros.network.registry import build, embedded_models, weights_path
from centertrack_ros.network.weights_file import CheckpointError
from support.network_reference import seeded_network

pytest.importorskip("openvino")
direct_engine = pytest.importorskip("centertrack_ros.engine.direct_engine")
DirectEngine, open_without_torch = direct_engine.DirectEngine, direct_engine.open_without_torch

OPTIONS = {
    "stems": {},
    "stems of another kernel, plain heads": {"stem_kernel": 7, "head_conv": 0},
    "batch norms": {"batch_norm": True},
    "a branch that says all it can": {
        "motion": True, "motion_strides": [4, 32], "conditioned_heatmap": True, "coordinates": True,
        "hidden": {"dep": [32, 16, 8]},
    },
}  # fmt: skip


def agreement(path: Path, size: tuple[int, int]) -> verification.Agreement:
    network, profile = checkpoints.load(path)
    reference = TorchEngine(network, profile, dense=True, fuse=False, threads=1)
    engine = DirectEngine(path, EngineOptions(threads=1))
    assert engine.profile == profile
    return verification.compare(
        verification.run_reference(reference, size, 2), verification.run_reference(engine, size, 2)
    )


@pytest.mark.parametrize("size", [(64, 96), (160, 128)])
@pytest.mark.parametrize("name", embedded_models())
def test_embedded_models_give_the_answers_of_the_reference(name: str, size: tuple[int, int]) -> None:
    result = agreement(weights_path(name), size)
    assert result.exact, str(result)


def saved(path: Path, options: dict[str, object], **changes: object) -> Path:
    """A network of this form in which every parameter says something, as a file."""
    torch.manual_seed(4)
    embedded, known = checkpoints.load(weights_path("mobilenetv3-coco"))
    profile = replace(known, heads={**known.heads, "dep": 1}, head_options=options, **changes)
    network = build(profile)
    ours, theirs = network.state_dict(), embedded.state_dict()
    network.load_state_dict({**ours, **{n: v for n, v in theirs.items() if n in ours and ours[n].shape == v.shape}})
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.05)
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
            elif name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
    checkpoints.save(path, network, profile)
    return path


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_form_of_the_network_gives_the_answers_of_the_reference(options, tmp_path: Path) -> None:
    result = agreement(saved(tmp_path / "weights.safetensors", options), (64, 96))
    assert result.exact, str(result)


@pytest.mark.parametrize("missing", ["previous_image", "prior_heatmap"])
def test_a_network_that_does_not_read_an_input(missing: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "weights.safetensors", {"motion": True}, **{missing: False})
    assert agreement(path, (64, 96)).exact


def test_fewer_cells_than_peaks(tmp_path: Path) -> None:
    """One class on 16 x 16 cells: rows are fewer than the 100 peaks, cells are not."""
    network, known = checkpoints.load(weights_path("mobilenetv3-coco"))
    profile = replace(known, classes=("person",), heads={**known.heads, "hm": 1})
    state = network.state_dict()
    for key in ("hm.pointwise.conv.weight", "hm.pointwise.conv.bias"):
        state[key] = state[key][:1]
    path = tmp_path / "weights.safetensors"
    checkpoints.save(path, state, profile)
    assert agreement(path, (64, 64)).exact


def test_equal_scores_keep_the_order_of_the_cells(tmp_path: Path) -> None:
    """With a heatmap that says the same everywhere, all cells tie: the first ones of the first class are the peaks."""
    network, profile = checkpoints.load(weights_path("mobilenetv3-coco"))
    state = network.state_dict()
    state["hm.pointwise.conv.weight"].zero_()
    state["hm.pointwise.conv.bias"].fill_(0.5)
    path = tmp_path / "weights.safetensors"
    checkpoints.save(path, state, profile)
    (peaks,) = verification.run_reference(DirectEngine(path), (64, 96))
    assert not peaks.class_ids.any()
    assert (peaks.cells[:, 1] * 24 + peaks.cells[:, 0]).tolist() == list(range(100))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("last.conv.weight"), "last.conv.weight is missing"),
        (lambda state: state.update(extra=np.zeros(1, np.float32)), "extra is not a part of it"),
    ],
)
def test_parameters_that_do_not_fit_are_named(change, words: str, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    path = tmp_path / "weights.safetensors"
    with safe_open(str(weights_path("mobilenetv3-coco")), framework="numpy") as file:
        state, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    change(state)
    save_file(state, path, metadata=metadata)
    with pytest.raises(CheckpointError, match=words):
        DirectEngine(path)


def test_what_needs_torch_says_so_in_one_sentence(tmp_path: Path) -> None:
    network, profile = seeded_network({"hm": 3, "reg": 2, "wh": 2})
    dla = tmp_path / "dla.safetensors"
    checkpoints.save(dla, network, profile)
    official = tmp_path / "official.pth"
    torch.save({"state_dict": network.state_dict()}, official)
    embedded = weights_path("mobilenetv3-coco")
    for path, options, words in (
        (dla, {}, "dla_34 is run by torch"),
        (official, {}, "a checkpoint is read by torch"),
        (embedded, {"flip_test": True}, "the flip test needs torch"),
        (embedded, {"device": "cuda"}, "device 'cuda' needs torch"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            open_without_torch(path, EngineOptions(**options))
        assert "pip install 'centertrack_ros[torch]'" in str(error.value) and "\n" not in str(error.value)


def test_a_truncated_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(weights_path("mobilenetv3-coco").read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="truncated or not a safetensors file"):
        open_without_torch(path, EngineOptions())


def test_heads_are_read_at_cells_that_are_asked_for() -> None:
    path = weights_path("mobilenetv3-street-3d")
    network, profile = checkpoints.load(path)
    size, asked = (64, 96), [np.array([[3, 4], [23, 15]])]
    image = verification.make_test_image(size, 1)
    found = []
    for engine in (TorchEngine(network, profile, threads=1), DirectEngine(path, EngineOptions(threads=1))):
        inputs = [engine.prepare(image, np.eye(2, 3), size)]
        found.append(engine.infer(inputs, inputs, [np.zeros((0, 3), np.int64)], asked)[0].asked)
    reference, direct = found
    assert direct.keys() == reference.keys() >= {"dep", "tracking", "ltrb"}
    for name, values in reference.items():
        np.testing.assert_allclose(direct[name], values, atol=2e-3)
