# SPDX-License-Identifier: Apache-2.0
"""DLA-34: official names, official numbers, and heads that may be read at the peaks only."""

import numpy as np
import pytest
import torch
from torch import nn

from centertrack_ros.engine.preprocess import normalisation_table, warp_and_normalise
from centertrack_ros.geometry import gaussian
from centertrack_ros.network import registry
from centertrack_ros.network.heads import SparseHeads, gather_cells, make_head
from centertrack_ros.network.profile import ModelProfile, Thresholds
from centertrack_ros.network.registry import build
from support.network_reference import frames, profile_for, read, seeded_network, seeded_state

VARIANTS = {
    "dla_34 dcn nuscenes tracking,ddd": {},
    "dla_34 dcn mot": {},
    "dla_34 dcn coco": {},
    "dla_34 dcn kitti": {},
    "dla_34 dcn coco pose": {},
    "dla_34 dcn coco ctdet (no tracking)": {"previous_image": False, "prior_heatmap": False},
    "dla_34 num_head_conv 2": {"head_options": {"num_head_conv": 2}},
    "dla_34 conv nodes": {"architecture": "dla_34_conv"},
}
CONFIGS = ("coco_tracking_256x256", "kitti_tracking_192x640", "mot17_288x480", "nuscenes_3dtracking_224x416")


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_are_those_of_the_official_model(variant: str) -> None:
    official = read("state_dicts.json.gz")[variant]
    network = build(profile_for(official["heads"], **VARIANTS[variant]))
    ours = {key: list(value.shape) for key, value in network.state_dict().items()}
    assert ours == {key: shape for key, shape in official["keys"]}
    assert sum(parameter.numel() for parameter in network.parameters()) == official["params"]


def prior_heatmap(frame: dict, size: tuple[int, int], threshold: float) -> np.ndarray:
    """The official prior heatmap of a frame's tracks, for the frame after it (same camera, same affine)."""
    scale, shift = np.array(frame["affine"])[:, :2], np.array(frame["affine"])[:, 2]
    rows = []
    for track in frame["tracks"]:
        if track["score"] < threshold or track["active"] == 0:
            continue
        corners = np.float32(np.float32(track["bbox"]).reshape(2, 2) @ scale.T + shift)
        (x1, y1), (x2, y2) = corners.clip(0, (size[1] - 1, size[0] - 1))
        if x2 > x1 and y2 > y1:
            radius = max(0, int(gaussian.gaussian_radius(np.ceil(y2 - y1), np.ceil(x2 - x1))))
            rows.append((int((x1 + x2) / 2), int((y1 + y2) / 2), radius))
    return gaussian.render(np.array(rows, int).reshape(-1, 3), size)


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("config", CONFIGS)
def test_raw_heads_are_the_official_ones(config: str, fused: bool) -> None:
    """Frame 0 sees itself as its previous frame and no tracks; frame 1 sees frame 0 and the tracks found there."""
    reference = read("raw_heads.json.gz")[config]
    clip, options = reference["clip"], reference["options"]
    size = (options["input_h"], options["input_w"])
    profile = profile_for(options["heads"])
    network = build(profile)
    network.load_state_dict(seeded_state(reference["state_dict"], reference["head_scale"]))
    network = network.fused() if fused else network
    inputs, previous_frame = [], None
    images = frames(clip["h"], clip["w"], clip["n"], clip["seed"])
    for image, frame in zip(images, reference["per_frame"], strict=False):
        pixels = warp_and_normalise(image, np.array(frame["affine"]), size, normalisation_table(profile))
        inputs.append(torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()))
        np.testing.assert_allclose(inputs[-1].flatten()[frame["input"]["idx"]], frame["input"]["val"], atol=1e-6)
        prior = np.zeros(size, np.float32)
        if previous_frame is not None:
            prior = prior_heatmap(previous_frame, size, options["pre_thresh"])
        assert np.count_nonzero(prior) == frame["prior"]["nonzero"]
        with torch.no_grad():
            raw = network(inputs[-1], inputs[max(0, len(inputs) - 2)], torch.from_numpy(prior)[None, None])
        assert list(raw) == list(options["heads"])
        for head, expected in frame["raw"].items():
            np.testing.assert_allclose(raw[head].flatten()[expected["idx"]], expected["val"], 1e-3, 1e-3, err_msg=head)
        previous_frame = frame


def test_stems_take_part_only_when_given() -> None:
    network, _ = seeded_network({"hm": 1, "reg": 2})
    image, other = torch.randn(1, 3, 64, 64), torch.randn(1, 3, 64, 64)
    prior = torch.zeros(1, 1, 64, 64)
    with torch.no_grad():
        alone = network(image)["hm"]
        assert not torch.allclose(alone, network(image, other)["hm"])
        assert not torch.allclose(alone, network(image, None, prior)["hm"])
        stemless, _ = seeded_network({"hm": 1, "reg": 2}, previous_image=False, prior_heatmap=False)
        assert torch.equal(stemless(image)["hm"], stemless(image, other, prior)["hm"])


@pytest.mark.parametrize("size", [(48, 64), (64, 100), (0, 64)])
def test_sizes_that_are_no_multiples_of_32_are_an_error(size: tuple[int, int]) -> None:
    network = build(profile_for({"hm": 1}))
    with pytest.raises(ValueError, match=f"multiples of 32, got {size[0]}x{size[1]}"):
        network(torch.zeros(1, 3, *size))


def test_an_untrained_heatmap_is_almost_empty() -> None:
    network = build(profile_for({"hm": 3, "reg": 2, "hm_hp": 17}))
    with torch.no_grad():
        raw = network(torch.randn(1, 3, 64, 64))
    assert abs(float(raw["hm"].sigmoid().mean()) - 0.01) < 0.01
    for head in (network.hm, network.hm_hp):
        assert head[-1].bias.detach().tolist() == pytest.approx([-4.6] * len(head[-1].bias))


class SeparableHead(nn.Module):
    """A head whose first layer is a depthwise convolution, as light networks have."""

    patch_kernel = 3

    def __init__(self) -> None:
        super().__init__()
        self.depthwise, self.pointwise = nn.Conv2d(64, 64, 3, padding=1, groups=64), nn.Conv2d(64, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pointwise(torch.relu(self.depthwise(x)))


class WideHead(SeparableHead):
    """A head that only its own forward can tell."""

    patch_kernel = None  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(64, 64, 5, padding=2, groups=64)


def test_sparse_heads_equal_dense_heads_everywhere() -> None:
    torch.manual_seed(0)
    heads = {
        "wh": make_head("wh", 64, 2),
        "rot": make_head("rot", 64, 8, head_conv=32, num_head_conv=3),
        "reg": make_head("reg", 64, 2, head_conv=32, num_head_conv=3),
        "dep": make_head("dep", 64, 1, head_conv=0),
        "dim": make_head("dim", 64, 3, head_conv=16, head_kernel=5),
        "tracking": SeparableHead(),
        "velocity": WideHead(),
    }
    features = torch.randn(2, 64, 6, 9)
    cells = torch.stack((torch.arange(54), torch.randperm(54)))
    with torch.no_grad():
        sparse = SparseHeads(heads)(features, cells)
        for name, head in heads.items():
            torch.testing.assert_close(sparse[name], gather_cells(head(features), cells), atol=1e-5, rtol=1e-5)


def test_profiles_survive_their_json() -> None:
    profile = profile_for({"hm": 3, "dep": 1}, thresholds=Thresholds(0.4, 0.1, 0.5), trained_focal_length=633.0)
    assert ModelProfile.from_json(profile.to_json()) == profile


def test_the_track_threshold_is_the_minimum_of_the_others() -> None:
    assert Thresholds(track=0.1, new=0.3).resolved() == Thresholds(0.1, 0.1, 0.1, 0.3)
    assert Thresholds(track=0.4, out=0.2, pre=0.5, new=0.3).resolved() == Thresholds(0.4, 0.4, 0.5, 0.4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "resnet_1000"}, "unknown architecture 'resnet_1000', expected one of dla_34"),
        ({"head_options": {"head_cnv": 3}}, "head options do not fit dla_34"),
        (
            {"architecture": "mobilenetv3_centernet", "head_options": {"hidden": {"depth": [64]}}},
            "hidden: 'depth' is not an added head",
        ),
    ],
)
def test_an_unknown_network_is_an_error_that_names_it(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(profile_for({"hm": 1}, **change))


def test_an_architecture_is_registered_in_one_place(monkeypatch) -> None:
    monkeypatch.setattr(registry, "ARCHITECTURES", dict(registry.ARCHITECTURES))

    @registry.register_architecture("mine")
    def _mine(profile: ModelProfile):
        return registry.ARCHITECTURES["dla_34_conv"](profile)

    profile = ModelProfile("model", "mine", ("car",), {"hm": 1})
    assert list(build(profile).heads) == ["hm"]
    with pytest.raises(ValueError, match="'mine' is registered already"):
        registry.register_architecture("mine")(_mine)
