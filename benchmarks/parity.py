#!/usr/bin/env python3
"""Checks this project against numbers that the official CenterTrack code gave.

    benchmarks/parity.py DIR [--config NAME ...]

DIR holds <config>.json files (weights and frames are made from seeds by its parity_inputs.py) and functions/. A line
for each says how far the worst number of each kind is off; the exit status is 1 if one is out of tolerance. An official
option that is not understood is a failure.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from benchmarks.parity_compare import Errors, compare_samples, pair_nearest
from benchmarks.parity_options import Options, UnknownOption, resolve
from centertrack_ros.engine.torch_engine import TorchEngine
from centertrack_ros.geometry import gaussian
from centertrack_ros.geometry.affine import place
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.network.peaks import Peaks
from centertrack_ros.network.registry import build
from centertrack_ros.tracking.detections import boxes_on_grid, keypoints_on_grid
from centertrack_ros.tracking.pipeline import Tracker
from centertrack_ros.types import Detections, FrameResult

BUNDLED_INPUTS = Path(__file__).resolve().parent.parent / "test" / "data" / "parity" / "parity_inputs.py"
FRAME_KEYS = {"h", "w", "n", "seed", "blank", "n_obj"}
KNOWN_KEYS = {
    "name", "upstream", "argv", "frames", "calib", "head_scale", "opt", "rest_focal_length", "mean", "std",
    "state_dict", "per_frame", "margins",
}  # fmt: skip


def load_inputs(folder: Path) -> ModuleType:
    """The module that makes weights and frames from seeds: the folder's own, else the bundled one."""
    path = next((p for p in (folder / "parity_inputs.py", BUNDLED_INPUTS) if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"no parity_inputs.py in {folder}: weights and frames cannot be made")
    spec = importlib.util.spec_from_file_location("parity_inputs", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class RecordingEngine:
    """An engine that also keeps what went into the network, what came out, and the raw maps of every head."""

    def __init__(self, engine: TorchEngine, network: torch.nn.Module, flip_test: bool) -> None:
        self.engine, self.profile, self.name, self.device = engine, engine.profile, engine.name, engine.device
        self._network, self._flip = network, flip_test
        self.image: Any = None
        self.previous_is_image = False
        self.prior: np.ndarray | None = None
        self.raw: dict[str, np.ndarray] = {}
        self.peaks: Peaks | None = None

    def prepare(self, image: np.ndarray, affine: np.ndarray, size: tuple[int, int]) -> Any:
        return self.engine.prepare(image, affine, size)

    def infer(self, images: Sequence[Any], previous: Sequence[Any], priors: Sequence[np.ndarray]) -> list[Peaks]:
        image, before = images[0], previous[0]
        self.previous_is_image = before is image
        heat = torch.from_numpy(gaussian.render(priors[0], tuple(image.shape[-2:])))[None, None]
        inputs = [
            image,
            before if self.profile.previous_image else None,
            heat if self.profile.prior_heatmap else None,
        ]
        if self._flip:
            inputs = [None if x is None else torch.cat((x, x.flip(3))) for x in inputs]
        with torch.inference_mode():
            self.raw = {head: value.numpy() for head, value in self._network(*inputs).items()}
        self.image = inputs[0].numpy()
        self.prior = None if inputs[2] is None else inputs[2].numpy()
        found = self.engine.infer(images, previous, priors)
        self.peaks = found[0]
        return found


def make_engine(golden: Mapping[str, Any], options: Options, inputs: ModuleType) -> RecordingEngine:
    """The network of a configuration with its seeded weights, strictly loaded."""
    profile = options.profile
    shapes = {key: tuple(shape) for key, shape in golden["state_dict"]}
    state = inputs.make_state_dict(shapes, head_scale=golden.get("head_scale"))
    if not profile.prior_heatmap:  # a stem that the options make but that nothing is ever put into
        state = {key: value for key, value in state.items() if not key.startswith("base.pre_hm_layer.")}
    network = build(profile)
    network.load_state_dict({key: torch.from_numpy(np.asarray(value)) for key, value in state.items()}, strict=True)
    return RecordingEngine(TorchEngine(network, profile, flip_test=options.flip_test), network, options.flip_test)


def make_frames(golden: Mapping[str, Any], inputs: ModuleType) -> list[np.ndarray]:
    spec = golden["frames"]
    if unknown := sorted(set(spec) - FRAME_KEYS):
        raise UnknownOption(f"unknown keys in 'frames': {', '.join(unknown)}")
    extra = {"n_obj": spec["n_obj"]} if "n_obj" in spec else {}
    frames = inputs.make_frames(spec["h"], spec["w"], spec["n"], spec["seed"], **extra)
    for index in spec.get("blank", []):
        frames[index][:] = 114
    return list(frames)


def check_config(path: Path, inputs: ModuleType) -> Errors:
    """Run one configuration frame by frame and compare everything that the reference keeps of it."""
    golden = json.loads(path.read_text())
    if unknown := sorted(set(golden) - KNOWN_KEYS):
        raise UnknownOption(f"unknown keys: {', '.join(unknown)}")
    options = resolve(path.stem, golden["argv"], golden["opt"], golden["mean"], golden["std"])
    engine = make_engine(golden, options, inputs)
    tracker = Tracker(engine, options.config)
    errors = Errors()
    for index, (image, entry) in enumerate(zip(make_frames(golden, inputs), golden["per_frame"], strict=False)):
        if hashlib.sha256(image.tobytes()).hexdigest() != entry["frame_sha256"]:
            raise ValueError(f"frame {index} is not the reference's: its inputs are made differently")
        before = len(errors.messages)
        result = step(tracker, options, golden, entry, image, first=index == 0)
        check_frame(errors, engine, tracker, options, result, image, entry)
        errors.messages[before:] = [f"frame {index}: {message}" for message in errors.messages[before:]]
    return errors


def step(
    tracker: Tracker,
    options: Options,
    golden: Mapping[str, Any],
    entry: Mapping[str, Any],
    image: np.ndarray,
    first: bool,
) -> FrameResult:
    height, width = image.shape[:2]
    camera = None
    if golden.get("calib") is not None:
        camera = Camera.from_matrix(width, height, np.asarray(golden["calib"], np.float32))
    public = initial = None
    if options.public_detections:
        public = np.array([item["ct"] for item in entry["cur_dets"]], np.float32).reshape(-1, 2)
        if first:
            initial = given_detections(entry.get("pre_dets", entry["cur_dets"]))
    return tracker.step(image, camera, public_centers=public, initial=initial)


def given_detections(items: Sequence[Mapping[str, Any]]) -> Detections:
    """Objects as the official code's 'pre_dets' give them: box, score, 1-based class, and the centre if it is known."""
    boxes = np.array([item["bbox"] for item in items], np.float32).reshape(-1, 4)
    found = Detections.from_boxes(boxes, [item["score"] for item in items], [item["class"] - 1 for item in items])
    for row, item in enumerate(items):
        if "ct" in item:
            found.centers[row] = item["ct"]
    return found


def check_frame(
    errors: Errors,
    engine: RecordingEngine,
    tracker: Tracker,
    options: Options,
    result: FrameResult,
    image: np.ndarray,
    entry: Mapping[str, Any],
) -> None:
    check_inputs(errors, engine, options, result, image, entry)
    errors.equal("heads", sorted(engine.raw), sorted(entry["raw_heads"]))
    for head, stored in entry["raw_heads"].items():
        if head in engine.raw:
            compare_samples(errors, "raw", head, engine.raw[head], stored)
    assert engine.peaks is not None and result.detections is not None
    check_decoded(errors, engine.peaks, entry["decoded_top40"], options)
    check_post(errors, result.detections, entry["post"])
    if options.tracking:
        check_tracks(errors, result, entry["results"])
        errors.equal("ids given so far", tracker.state.next_id - 1, entry["id_count"])
    else:
        check_post(errors, result.detections, entry["results"])


def check_inputs(
    errors: Errors,
    engine: RecordingEngine,
    options: Options,
    result: FrameResult,
    image: np.ndarray,
    entry: Mapping[str, Any],
) -> None:
    profile = options.profile
    placement = place(image.shape[:2], (profile.input_height, profile.input_width), profile.resize)
    errors.compare("input", "trans_input", result.affine, entry["trans_input"])
    errors.compare("input", "trans_output", placement.to_grid, entry["trans_output"])
    compare_samples(errors, "input", "network input", engine.image, entry["input"])
    if options.tracking:
        errors.equal("previous image is this one", engine.previous_is_image, entry["pre_image_is_current_image"])
    errors.equal("prior heatmap is there", engine.prior is not None, entry["pre_hm"] is not None)
    if engine.prior is not None and entry["pre_hm"] is not None:
        compare_samples(errors, "input", "prior heatmap", engine.prior, entry["pre_hm"])


# Column of decoded rows -> (head, kind); the others are compared below.
DECODED_HEADS = {
    "tracking": "box",
    "rot": "raw",
    "dim": "raw",
    "amodel_offset": "box",
    "nuscenes_att": "raw",
    "velocity": "raw",
}


def check_decoded(errors: Errors, peaks: Peaks, rows: Mapping[str, Any], options: Options) -> None:
    """Compare the strongest rows on the output grid, found again by class and cell: equal scores have no order."""
    place_of = {key: row for row, key in enumerate(zip(peaks.class_ids.tolist(), *peaks.cells.T.tolist(), strict=True))}
    keys = [(int(c), int(x), int(y)) for c, x, y in zip(rows["clses"], rows["xs"], rows["ys"], strict=True)]
    lowest = float(peaks.scores[-1])
    known = [row for row, key in enumerate(keys) if key in place_of]
    for row, key in enumerate(keys):
        if key not in place_of and rows["scores"][row] > lowest + 1e-4:
            errors.equal(f"peak {key} with score {rows['scores'][row]:.4f}", "missing", "found")
    index = np.array([place_of[keys[row]] for row in known], np.int64)

    def expected(name: str) -> np.ndarray:
        return np.asarray(rows[name], np.float64)[known]

    cells = peaks.cells[index].astype(np.float32)
    values = {head: value[index] for head, value in peaks.values.items()}
    if options.config.zero_tracking and "tracking" in values:
        values["tracking"] = np.zeros_like(values["tracking"])
    errors.compare("score", "decoded scores", peaks.scores[index], expected("scores"))
    if "bboxes" in rows:
        errors.compare("box", "decoded boxes", boxes_on_grid(cells, values), expected("bboxes"))
    if "dep" in rows:
        errors.compare("3D", "decoded depths", values["dep"] * options.config.depth_scale, expected("dep"))
    if "hps" in rows:
        points, scores = keypoints_on_grid(cells, peaks.scores[index], values, peaks.joints)
        errors.compare("box", "decoded joints", points.reshape(len(index), -1), expected("hps"))
        if peaks.joints is not None:
            errors.compare("score", "decoded joint scores", scores, expected("kps_score"))
    for name, kind in DECODED_HEADS.items():
        if name in rows:
            errors.compare(kind, f"decoded {name}", values[name], expected(name))
    understood = {
        "scores", "clses", "xs", "ys", "cts", "bboxes", "bboxes_amodal", "dep", "hps", "kps_score", "pre_cts",
        *DECODED_HEADS,
    }  # fmt: skip
    if unknown := sorted(set(rows) - understood):
        raise UnknownOption(f"unknown decoded values: {', '.join(unknown)}")


def check_post(errors: Errors, detections: Detections, items: Sequence[Mapping[str, Any]]) -> None:
    """Compare detections in image px with items in the official form, each with the nearest of its class."""
    errors.equal("number of detections", len(detections), len(items))
    key = "bbox" if items and "bbox" in items[0] else "ct"
    pairs = pair_nearest(detections.class_ids, detections.boxes if key == "bbox" else detections.centers, items, key)
    for item, row in zip(items, pairs, strict=True):
        if row < 0:
            errors.equal(f"detection of class {item['class']} at {item[key]}", "missing", "found")
        else:
            check_item(errors, detections, row, item)


def check_tracks(errors: Errors, result: FrameResult, items: Sequence[Mapping[str, Any]]) -> None:
    """Compare tracks with items in the official form, by their ids."""
    tracks = result.tracks
    expected = {item["tracking_id"]: item for item in items}
    errors.equal("track ids", sorted(tracks.ids.tolist()), sorted(expected))
    for row, track_id in enumerate(tracks.ids.tolist()):
        if track_id in expected:
            item = expected[track_id]
            state = (tracks.detections.class_ids[row] + 1, tracks.ages[row], tracks.hits[row])
            errors.equal(f"class, age, hits of {track_id}", state, (item["class"], item["age"], item["active"]))
            check_item(errors, tracks.detections, row, item)


ITEM_KEYS = {
    "score", "class", "ct", "tracking", "bbox", "tracking_id", "age", "active", "dep", "dim", "alpha", "loc", "rot_y",
    "hps", "nuscenes_att", "velocity",
}  # fmt: skip


def check_item(errors: Errors, detections: Detections, row: int, item: Mapping[str, Any]) -> None:
    if unknown := sorted(set(item) - ITEM_KEYS):
        raise UnknownOption(f"unknown values of an object: {', '.join(unknown)}")
    errors.compare("score", "score", detections.scores[row], item["score"])
    arrays = (
        ("bbox", "box", detections.boxes),
        ("ct", "box", detections.centers),
        ("tracking", "box", detections.displacements),
        ("dim", "3D", detections.dimensions),
        ("loc", "3D", detections.locations),
        ("nuscenes_att", "raw", detections.attributes),
        ("velocity", "raw", detections.velocities),
    )
    for name, kind, values in arrays:
        if name in item:
            errors.compare(kind, name, np.zeros(0) if values is None else values[row], item[name])
    if "dep" in item:
        errors.compare(
            "3D", "dep", np.zeros(0) if detections.depths is None else detections.depths[row : row + 1], item["dep"]
        )
    if "hps" in item:
        points = np.zeros(0) if detections.keypoints is None else detections.keypoints[row].reshape(-1)
        errors.compare("box", "hps", points, item["hps"])
    for name, values in (("alpha", detections.alphas), ("rot_y", detections.rotations_y)):
        if name in item:
            errors.angle(name, np.nan if values is None else values[row], item[name])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument(
        "--config", nargs="+", metavar="NAME", help="only these; 'functions' stands for the folder of that name"
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch (default 1)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if not options.directory.is_dir():
        parser.error(f"{options.directory} is not a folder")
    available = {path.stem: path for path in sorted(options.directory.glob("*.json"))}
    functions = options.directory / "functions"
    names = options.config or [*available, *(["functions"] if functions.is_dir() else [])]
    if missing := [
        name for name in names if name not in available and not (name == "functions" and functions.is_dir())
    ]:
        parser.error(
            f"{options.directory} has no {', '.join(missing)}; it has {', '.join(available) or 'no configuration'}"
        )
    if not names:
        parser.error(f"{options.directory} holds neither a <config>.json nor functions/")
    passed = [_report(name, available.get(name), options.directory) for name in names]
    print(f"{sum(passed)} of {len(passed)} within tolerance")
    return 0 if all(passed) else 1


def _report(name: str, path: Path | None, folder: Path) -> bool:
    """Check one configuration, or all functions, and print what came of it."""
    try:
        if path is None:
            from benchmarks.parity_functions import check_functions

            return check_functions(folder / "functions", load_inputs(folder))
        errors = check_config(path, load_inputs(folder))
    except Exception as error:  # a configuration that cannot be checked is one failure among the others
        print(f"FAIL  {name:<32} {type(error).__name__}: {error}", flush=True)
        return False
    print(errors.line(name), flush=True)
    for message in errors.messages[:5]:
        print(f"        {message}")
    return errors.passed


if __name__ == "__main__":
    sys.exit(main())
