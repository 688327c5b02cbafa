# SPDX-License-Identifier: Apache-2.0
"""The same numbers as the official code, frame by frame: weights and images from seeds, results from the reference."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import parity
from benchmarks import parity_options as options

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "test" / "data" / "parity"
CONFIGS = sorted(path.name.removesuffix(".json.gz") for path in DATA.glob("*.json.gz"))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def unpack(name: str, folder: Path) -> dict:
    golden = json.loads(gzip.decompress((DATA / f"{name}.json.gz").read_bytes()))
    (folder / f"{name}.json").write_text(json.dumps(golden))
    return golden


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_gives_the_official_numbers(name, tmp_path, capsys):
    unpack(name, tmp_path)
    assert parity.main([str(tmp_path)]) == 0, capsys.readouterr().out
    assert f"ok    {name}" in capsys.readouterr().out


def test_single_functions_give_the_official_numbers(tmp_path, capsys):
    shutil.copytree(DATA / "functions", tmp_path / "functions")
    assert parity.main([str(tmp_path)]) == 0, capsys.readouterr().out


def _another_box(frame: dict) -> None:
    frame["results"][0]["bbox"][0] += 0.05


def _another_id(frame: dict) -> None:
    frame["results"][0]["tracking_id"] = 99


def _another_score(frame: dict) -> None:
    frame["decoded_top40"]["scores"][0] += 0.001


def _another_raw_value(frame: dict) -> None:
    frame["raw_heads"]["wh"]["val"][0] += 0.1


def _one_object_less(frame: dict) -> None:
    frame["post"].pop()


@pytest.mark.parametrize("change", [_another_box, _another_id, _another_score, _another_raw_value, _one_object_less])
def test_a_wrong_number_is_found(change, tmp_path, capsys):
    golden = unpack("keep_res", tmp_path)
    golden["per_frame"] = golden["per_frame"][:2]
    change(golden["per_frame"][1])
    (tmp_path / "keep_res.json").write_text(json.dumps(golden))
    assert parity.main([str(tmp_path)]) == 1
    assert "FAIL  keep_res" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        {"argv": "tracking --dataset kitti_tracking --warp_speed"},
        {"argv": "tracking --dataset mars"},
        {"opt": {"soft_nms": True}},
        {"argv": "tracking --test_scales 0.5,1"},
        {"argv": "tracking --load_results found.json"},
        {"argv": "tracking --arch hourglass"},
        {"surprise": 1},
    ],
)
def test_what_is_not_understood_is_a_failure(change, tmp_path, capsys):
    golden = unpack("keep_res", tmp_path)
    golden["per_frame"] = golden["per_frame"][:1]
    for key, value in change.items():
        golden[key] = {**golden[key], **value} if isinstance(value, dict) else value
    (tmp_path / "keep_res.json").write_text(json.dumps(golden))
    assert parity.main([str(tmp_path)]) == 1
    assert "FAIL  keep_res" in capsys.readouterr().out


@pytest.fixture
def functions(tmp_path):
    """A reference that holds functions/ alone."""
    return Path(shutil.copytree(DATA / "functions", tmp_path / "functions"))


def test_an_unknown_file_of_functions_is_a_failure(functions, capsys):
    (functions / "soft_nms.json").write_text("[]")
    assert parity.main([str(functions.parent)]) == 1
    assert "FAIL  functions/soft_nms.json" in capsys.readouterr().out


def test_a_file_whose_partner_is_missing_is_a_failure(functions, capsys):
    (functions / "decode_2d_post.json").write_text("{}")
    (functions / "preprocess.json").write_text("[]")
    assert parity.main([str(functions.parent)]) == 1
    output = capsys.readouterr().out
    assert "FAIL  functions/decode_2d_post.json" in output and "FAIL  functions/preprocess.json" in output


def test_a_value_of_functions_that_nothing_reads_is_a_failure(functions, capsys):
    cases = json.loads((functions / "affine.json").read_text())
    (functions / "affine.json").write_text(json.dumps([{**case, "homography": 1} for case in cases]))
    assert parity.main([str(functions.parent)]) == 1
    assert "nothing here reads homography of affine.json" in capsys.readouterr().out


def test_a_wrong_number_of_functions_is_a_failure(functions, capsys):
    with np.load(functions / "draw_umich_gaussian.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["heatmap"] = arrays["heatmap"] + 0.01
    np.savez(functions / "draw_umich_gaussian.npz", **arrays)
    assert parity.main([str(functions.parent)]) == 1
    output = capsys.readouterr().out
    assert "FAIL  functions/draw_umich_gaussian.npz" in output and "ok    functions/affine.json" in output


def test_files_without_results_are_skipped_and_a_folder_parity_is_entered(functions, capsys):
    outer = functions.parent.parent / "reference"
    shutil.copytree(functions, outer / "parity" / "functions")
    (outer / "state_dicts.json").write_text("{}")
    (outer / "parity" / "stability.json").write_text("{}")
    assert parity.main([str(outer)]) == 0
    output = capsys.readouterr().out
    assert "skip  state_dicts" in output and "skip  stability" in output
    assert output.endswith("1 of 1 within tolerance\n")


@pytest.mark.parametrize("name", CONFIGS)
def test_the_command_line_alone_means_the_same_as_the_resolved_options(name, tmp_path):
    golden = unpack(name, tmp_path)
    arguments = (golden["mean"], golden["std"])
    stated = options.resolve(name, golden["argv"], golden["opt"], *arguments)
    assert options.resolve(name, golden["argv"], {}, *arguments) == stated


@pytest.mark.slow
def test_the_whole_reference(shared_data, capsys):
    folder = shared_data / "reference" / "parity"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    assert parity.main([str(folder)]) == 0, capsys.readouterr().out
