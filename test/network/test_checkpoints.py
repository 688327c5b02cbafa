# SPDX-License-Identifier: Apache-2.0
"""Weights in files: what is read, what is refused and how, and the command that does it."""

import json
import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from centertrack_ros.cli.main import main
from centertrack_ros.engine import load_engine
from centertrack_ros.network import checkpoints
from centertrack_ros.network.checkpoints import CheckpointError
from centertrack_ros.network.registry import ZOO
from support.network_reference import read, seeded_network, seeded_state

EXPECTED = {
    "dla_34 dcn nuscenes tracking,ddd": (10, "car", (448, 800), (0.1, 0.1, 0.1, 0.3), 633.0),
    "dla_34 dcn mot": (1, "person", (544, 960), (0.4, 0.4, 0.5, 0.4), None),
    "dla_34 dcn coco": (80, "person", (512, 512), (0.3, 0.3, 0.3, 0.3), None),
    "dla_34 dcn kitti": (3, "Pedestrian", (384, 1280), (0.4, 0.4, 0.4, 0.4), None),
    "dla_34 dcn coco pose": (1, "person", (512, 512), (0.3, 0.3, 0.3, 0.3), None),
    "dla_34 dcn coco ctdet (no tracking)": (80, "person", (512, 512), (0.3, 0.3, 0.3, 0.3), None),
    "dla_34 num_head_conv 2": (80, "person", (512, 512), (0.3, 0.3, 0.3, 0.3), None),
    "generic dla34+dlaup": (80, "person", (512, 512), (0.3, 0.3, 0.3, 0.3), None),
    "dla_34 conv nodes": (80, "person", (512, 512), (0.3, 0.3, 0.3, 0.3), None),
}
MOT = "dla_34 dcn mot"


def official_state(variant: str = MOT) -> dict[str, torch.Tensor]:
    return seeded_state(read("state_dicts.json.gz")[variant]["keys"])


@pytest.fixture(scope="module")
def mot_state() -> dict[str, torch.Tensor]:
    return official_state()


@pytest.fixture
def official(tmp_path: Path, mot_state) -> Path:
    path = tmp_path / "mot17_half.pth"
    torch.save({"epoch": 70, "state_dict": mot_state}, path)
    return path


@pytest.mark.parametrize("variant", EXPECTED)
def test_the_keys_identify_the_model(variant: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pth.tar"
    torch.save({"epoch": 70, "state_dict": official_state(variant)}, path)
    network, profile = checkpoints.load(path)
    classes, first, size, thresholds, focal_length = EXPECTED[variant]
    facts = read("state_dicts.json.gz")[variant]
    assert profile.name == "model" and list(profile.heads.items()) == list(facts["heads"].items())
    assert (len(profile.classes), profile.classes[0]) == (classes, first)
    assert (profile.input_height, profile.input_width) == size
    resolved = profile.thresholds.resolved()
    assert (resolved.track, resolved.out, resolved.pre, resolved.new) == thresholds
    assert profile.trained_focal_length == focal_length
    assert profile.previous_image == profile.prior_heatmap == profile.trained_tracking == ("tracking" in facts["heads"])
    assert sum(parameter.numel() for parameter in network.parameters()) == facts["params"]


def test_other_entries_of_a_file_do_not_change_the_parameters(tmp_path: Path, mot_state) -> None:
    """DataParallel's prefix, ImageNet's classifier, an optimizer, or nothing at all around them."""
    wrapped = {f"module.{key}": value for key, value in mot_state.items()}
    wrapped["module.base.fc.weight"] = torch.zeros(1000, 512, 1, 1)
    optimizer = {"state": {0: {"step": 5, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
    torch.save({"epoch": 3, "state_dict": wrapped, "optimizer": optimizer}, tmp_path / "wrapped.pth")
    torch.save(mot_state, tmp_path / "bare.pth")
    read_wrapped = checkpoints.read_official(tmp_path / "wrapped.pth")
    assert read_wrapped.ignored == ("epoch", "optimizer", "base.fc.weight")
    for state in (read_wrapped.state, checkpoints.read_official(tmp_path / "bare.pth").state):
        assert state.keys() == mot_state.keys() and all(torch.equal(state[key], mot_state[key]) for key in state)


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
def test_safetensors_keep_weights_and_profile(half: bool, tmp_path: Path) -> None:
    network, profile = seeded_network({"hm": 3, "reg": 2, "dep": 1}, head_options={"num_head_conv": 2}, licence="MIT")
    checkpoints.save(tmp_path / "w.safetensors", network, profile, half=half)
    (tmp_path / "plain").touch()
    modes = [(tmp_path / name).stat().st_mode for name in ("w.safetensors", "plain")]
    assert modes[0] == modes[1], "whoever may read other files here may read these"
    loaded, loaded_profile = checkpoints.load(tmp_path / "w.safetensors")
    assert loaded_profile == profile and not loaded.training
    before = network.state_dict()
    for key, value in loaded.state_dict().items():
        assert value.dtype == before[key].dtype
        torch.testing.assert_close(value, before[key], rtol=1e-3 if half else 0, atol=1e-6 if half else 0)


def test_an_engine_runs_an_official_checkpoint_as_it_is(official: Path) -> None:
    engine = load_engine(official, engine="torch", device="cpu")
    assert engine.profile.name == "mot17_half" and "MOT17" in engine.profile.licence


class Malicious:
    """Its pickle makes a folder when it is read by an unpickler that trusts it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def without(state, key):
    return {name: value for name, value in state.items() if name != key}


def bad_files(folder: Path, state) -> dict[str, tuple[Path, str]]:
    """Name -> file, and what its one error must say."""
    cases: dict[str, tuple[object, str]] = {
        "missing": (without(state, "reg.2.bias"), "reg.2.bias is missing"),
        "shape": (state | {"base.level0.0.weight": torch.zeros(16, 5)}, r"base.level0.0.weight is \[16, 5\], expected"),
        "extra": (state | {"base.level9.weight": torch.zeros(3)}, "base.level9.weight is not a part of it"),
        "stranger": (state | {"mask.0.weight": torch.zeros(3)}, "belong to no head of CenterTrack: mask.0.weight"),
        "channels": (
            state | {"reg.2.weight": torch.zeros(3, 256, 1, 1), "reg.2.bias": torch.zeros(3)},
            "head 'reg' has 3 channels, expected 2",
        ),
        "headless": ({k: v for k, v in state.items() if not k.startswith("hm.")}, "no heatmap head"),
        "resnet": ({"layer1.0.conv1.weight": torch.zeros(64, 64, 3, 3)}, "does not have: layer1.0.conv1.weight"),
        "list": ([1, 2, 3], "is not a checkpoint: expected a dictionary of tensors.*got a list"),
        "settings": ({"lr": 0.1}, "got a dictionary with the keys lr"),
    }
    found = {}
    for name, (content, message) in cases.items():
        torch.save(content, folder / f"{name}.pth")
        found[name] = (folder / f"{name}.pth", message)
    torch.save(state, folder / "whole.pth")
    raw = {
        "empty": (b"", "is empty"),
        "truncated": ((folder / "whole.pth").read_bytes()[:500_000], "it is truncated"),
        "text": (b"I am a text file, and a long one at that.\n" * 40, "not usable"),
        "code": (pickle.dumps({"state_dict": Malicious(folder / "was_run")}), "holds Python code or objects"),
        "image": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "not usable"),
    }
    for name, (data, message) in raw.items():
        (folder / f"{name}.pth").write_bytes(data)
        found[name] = (folder / f"{name}.pth", message)
    torch.save({"state_dict": Malicious(folder / "was_run")}, folder / "zipped_code.pth")
    return found | {"zipped_code": (folder / "zipped_code.pth", "holds Python code or objects")}


def test_every_file_that_does_not_fit_gets_one_clear_error(tmp_path: Path, mot_state, official: Path, capsys) -> None:
    for name, (path, message) in bad_files(tmp_path, mot_state).items():
        with pytest.raises(CheckpointError, match=message):
            checkpoints.load(path)
        assert main(["weights", "info", str(path)]) == 1, name
        output = capsys.readouterr()
        assert output.out == "" and output.err.count("\n") == 1 and path.name in output.err, name
    assert not (tmp_path / "was_run").exists()
    assert main(["weights", "info", str(official)]) == 0


def test_safetensors_that_do_not_fit_get_one_clear_error(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    network, profile = seeded_network({"hm": 1, "reg": 2})
    checkpoints.save(tmp_path / "good.safetensors", network, profile)
    whole = (tmp_path / "good.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.safetensors").write_bytes(b"")
    save_file(network.state_dict(), str(tmp_path / "bare.safetensors"))
    save_file(network.state_dict(), str(tmp_path / "odd.safetensors"), metadata={"profile": '{"colour": 1}'})
    other = replace(profile, heads={"hm": 1, "wh": 2})
    save_file(network.state_dict(), str(tmp_path / "other.safetensors"), metadata={"profile": other.to_json()})
    for name, message in {
        "cut": "truncated or not a safetensors file",
        "empty": "is empty",
        "bare": "has no model profile",
        "odd": "model profile has unknown fields: colour",
        "other": "wh.0.weight is missing.*reg.0.weight is not a part of it",
    }.items():
        with pytest.raises(CheckpointError, match=message):
            checkpoints.load(tmp_path / f"{name}.safetensors")
    assert checkpoints.load(tmp_path / "good.safetensors")[1] == profile


def test_weights_that_do_not_fit_into_float16_are_not_stored_so(tmp_path: Path) -> None:
    network, profile = seeded_network({"hm": 1})
    with torch.no_grad():
        network.hm[0].weight[0, 0, 0, 0] = 1e6
    with pytest.raises(CheckpointError, match=r"hm\.0\.weight does not fit into float16"):
        checkpoints.save(tmp_path / "w.safetensors", network, profile, half=True)
    assert not (tmp_path / "w.safetensors").exists()


def test_convert_stores_the_requested_profile(official: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "mine.safetensors"
    options = ["--name", "mine", "--classes", "walker", "--input-size", "896x512", "--thresholds", "track=0.5,pre=0.6",
               "--licence", "MIT"]  # fmt: skip
    assert main(["weights", "convert", str(official), str(out), *options]) == 0
    assert "left out: epoch" in capsys.readouterr().err
    assert main(["weights", "info", "--json", str(out)]) == 0
    profile = json.loads(capsys.readouterr().out)
    assert (profile["name"], profile["classes"], profile["licence"]) == ("mine", ["walker"], "MIT")
    assert (profile["input_height"], profile["input_width"]) == (512, 896)
    assert (profile["thresholds"]["track"], profile["thresholds"]["pre"]) == (0.5, 0.6)
    pixels = ["--input-pixels", "300000"]
    assert main(["weights", "convert", str(out), str(tmp_path / "budget.safetensors"), *pixels]) == 0
    _, budget = checkpoints.load(tmp_path / "budget.safetensors")
    assert (budget.resize, budget.input_pixels) == ("budget", 300_000)
    # And again, from the file that it wrote: only what is stated changes.
    assert main(["weights", "convert", str(out), str(tmp_path / "again.safetensors"), "--name", "again", "--half"]) == 0
    (network, first), (half, second) = checkpoints.load(out), checkpoints.load(tmp_path / "again.safetensors")
    assert second == replace(first, name="again")
    torch.testing.assert_close(half.hm[0].weight, network.hm[0].weight, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--thresholds", "trak=0.5"], "--thresholds knows track, out, pre and new, got trak"),
        (["--thresholds", "track=high"], "--thresholds must be NAME=SCORE"),
        (["--classes", "a,b"], "2 class names for a heatmap of 1 channels"),
        (["--focal-length", "-3"], "--focal-length must be above 0 px"),
    ],
)
def test_convert_names_an_option_that_does_not_fit(official: Path, tmp_path: Path, capsys, option, message) -> None:
    out = tmp_path / "out.safetensors"
    assert main(["weights", "convert", str(official), str(out), *option]) == 1
    assert message in capsys.readouterr().err and not out.exists()


def test_the_zoo_is_listed_and_an_unknown_model_is_an_error(capsys) -> None:
    assert main(["weights", "fetch", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ZOO) and len({model.drive_id for model in ZOO.values()}) == len(ZOO) == 12
    assert main(["weights", "fetch", "mot99"]) == 1
    assert "no official model 'mot99', expected one of coco_tracking" in capsys.readouterr().err


def test_fetching_without_gdown_says_what_to_install(monkeypatch, capsys, tmp_path: Path) -> None:
    """The download itself needs Google Drive and is run by no test; this is all of `fetch` that can be without it."""
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(ImportError, match="needs gdown: pip install"):
        checkpoints.fetch("coco_tracking", tmp_path / "out.safetensors")
    assert main(["weights", "fetch", "coco_tracking", str(tmp_path / "out.safetensors")]) == 1
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "out.safetensors").exists()
