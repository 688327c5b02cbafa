# SPDX-License-Identifier: Apache-2.0
"""Checks one <config>.json of the parity reference: the whole detector and tracker, frame by frame."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from benchmarks.parity_compare import Errors, compare_samples
from benchmarks.parity_objects import check_objects, check_tracks, detections_from_items
from benchmarks.parity_options import Options, UnknownOptionError, resolve
from centertrack_ros.engine.torch_engine import TorchEngine
from centertrack_ros.geometry import gaussian
from centertrack_ros.geometry.affine import place
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.network.peaks import Peaks
from centertrack_ros.network.registry import build
from centertrack_ros.tracking.detections import boxes_on_grid, keypoints_on_grid
from centertrack_ros.tracking.pipeline import Tracker
from centertrack_ros.types import ForeignDetections, FrameResult

FRAME_KEYS = {"h", "w", "n", "seed", "blank", "n_obj"}
KNOWN_KEYS = {
    "name", "upstream", "argv", "frames", "calib", "head_scale", "opt", "rest_focal_length", "mean", "std",
    "state_dict", "per_frame", "margins",
}  # fmt: skip


class RecordingEngine:
    """An engine that also keeps the network's inputs, its peaks, and the raw maps of every head."""

    def __init__(self, engine: TorchEngine, network: torch.nn.Module, flip_test: bool) -> None:
        self.engine, self.profile, self.name, self.device = engine, engine.profile, engine.name, engine.device
        self._network, self._flip = network, flip_test
        self.image: Any = None
        self.previous_is_image = False
        self.prior: np.ndarray | None = None
        self.raw: dict[str, np.ndarray] = {}
        self.peaks: Peaks | None = None

    def prepare(self, image: np.ndarray, affine: np.ndarray, size: tuple[int, int]) -> Any:
        """See `Engine.prepare`."""
        return self.engine.prepare(image, affine, size)

    def infer(
        self, images: Sequence[Any], previous: Sequence[Any], priors: Sequence[np.ndarray], cells: Any = None
    ) -> list[Peaks]:
        """See `Engine.infer`."""
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
        peaks = self.engine.infer(images, previous, priors)
        self.peaks = peaks[0]
        return peaks


def make_engine(golden: Mapping[str, Any], options: Options, inputs: ModuleType) -> RecordingEngine:
    """The network of a configuration with its seeded weights, strictly loaded."""
    profile = options.profile
    shapes = {key: tuple(shape) for key, shape in golden["state_dict"]}
    state = inputs.make_state_dict(shapes, head_scale=golden.get("head_scale"))
    if not profile.prior_heatmap:  # the options make this stem, but it never gets an input
        state = {key: value for key, value in state.items() if not key.startswith("base.pre_hm_layer.")}
    network = build(profile)
    network.load_state_dict({key: torch.from_numpy(np.asarray(value)) for key, value in state.items()}, strict=True)
    return RecordingEngine(TorchEngine(network, profile, flip_test=options.flip_test), network, options.flip_test)


def make_frames(golden: Mapping[str, Any], inputs: ModuleType) -> list[np.ndarray]:
    """The images of a configuration, uint8 BGR; blanked ones are grey.

    Raises:
        UnknownOptionError: 'frames' has a key that is not understood.
    """
    spec = golden["frames"]
    if unknown := sorted(set(spec) - FRAME_KEYS):
        raise UnknownOptionError(f"unknown keys in 'frames': {', '.join(unknown)}")
    extra = {"n_obj": spec["n_obj"]} if "n_obj" in spec else {}
    frames = inputs.make_frames(spec["h"], spec["w"], spec["n"], spec["seed"], **extra)
    for index in spec.get("blank", []):
        frames[index][:] = 114
    return list(frames)


def check_config(path: Path, inputs: ModuleType) -> Errors:
    """Runs one configuration frame by frame and compares everything that the reference stores of it.

    Raises:
        UnknownOptionError: The configuration has a key or an option that is not understood.
        ValueError: An image is not the reference's.
    """
    golden = json.loads(path.read_text())
    if unknown := sorted(set(golden) - KNOWN_KEYS):
        raise UnknownOptionError(f"unknown keys: {', '.join(unknown)}")
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
    """The tracker's result for one image, with the public detections that the configuration states."""
    height, width = image.shape[:2]
    camera = None
    if golden.get("calib") is not None:
        camera = Camera.from_matrix(width, height, np.asarray(golden["calib"], np.float32))
    public = initial = None
    if options.public_detections:
        found = detections_from_items(entry["cur_dets"])
        names = np.array(options.profile.classes)[found.class_ids]
        public = ForeignDetections(found.boxes, found.scores, names)
        if first and "pre_dets" in entry:
            initial = detections_from_items(entry["pre_dets"])
    return tracker.step(image, camera, initial=initial, foreign=public)


def check_frame(
    errors: Errors,
    engine: RecordingEngine,
    tracker: Tracker,
    options: Options,
    result: FrameResult,
    image: np.ndarray,
    entry: Mapping[str, Any],
) -> None:
    """Compares everything of one frame: inputs, raw heads, peaks, detections, tracks."""
    check_inputs(errors, engine, options, result, image, entry)
    errors.equal("heads", sorted(engine.raw), sorted(entry["raw_heads"]))
    for head, stored in entry["raw_heads"].items():
        if head in engine.raw:
            compare_samples(errors, "raw", head, engine.raw[head], stored)
    assert engine.peaks is not None and result.detections is not None
    check_decoded(errors, engine.peaks, entry["decoded_top40"], options)
    check_objects(errors, result.detections, entry["post"])
    if options.tracking:
        check_tracks(errors, result, entry["results"])
        errors.equal("number of ids so far", tracker.state.next_id - 1, entry["id_count"])
    else:
        check_objects(errors, result.detections, entry["results"])


def check_inputs(
    errors: Errors,
    engine: RecordingEngine,
    options: Options,
    result: FrameResult,
    image: np.ndarray,
    entry: Mapping[str, Any],
) -> None:
    """Compares the transforms and the network's inputs."""
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


# Column of decoded rows -> the kind of its tolerance. The other columns are compared one by one.
DECODED_HEADS = {
    "tracking": "box",
    "rot": "raw",
    "dim": "raw",
    "amodel_offset": "box",
    "nuscenes_att": "raw",
    "velocity": "raw",
}
DECODED_COLUMNS = {
    "scores", "clses", "xs", "ys", "cts", "bboxes", "bboxes_amodal", "dep", "hps", "kps_score", "pre_cts",
    *DECODED_HEADS,
}  # fmt: skip


def check_decoded(errors: Errors, peaks: Peaks, columns: Mapping[str, Any], options: Options) -> None:
    """Compares the strongest peaks on the output grid.

    Peaks are matched by class and cell, since equal scores have no order.

    Raises:
        UnknownOptionError: The reference has a column that is not understood.
    """
    if unknown := sorted(set(columns) - DECODED_COLUMNS):
        raise UnknownOptionError(f"unknown decoded values: {', '.join(unknown)}")
    rows, index = _match_peaks(errors, peaks, columns)

    def expected(name: str) -> np.ndarray:
        return np.asarray(columns[name], np.float64)[rows]

    cells = peaks.cells[index].astype(np.float32)
    values = {head: value[index] for head, value in peaks.values.items()}
    if options.config.zero_tracking and "tracking" in values:
        values["tracking"] = np.zeros_like(values["tracking"])
    errors.compare("score", "decoded scores", peaks.scores[index], expected("scores"))
    if "bboxes" in columns:
        errors.compare("box", "decoded boxes", boxes_on_grid(cells, values), expected("bboxes"))
    if "dep" in columns:
        errors.compare("3D", "decoded depths", values["dep"] * options.config.depth_scale, expected("dep"))
    if "hps" in columns:
        points, scores, _ = keypoints_on_grid(cells, peaks.scores[index], values, peaks.joints)
        errors.compare("box", "decoded joints", points.reshape(len(index), -1), expected("hps"))
        if peaks.joints is not None:
            errors.compare("score", "decoded joint scores", scores, expected("kps_score"))
    for name in DECODED_HEADS.keys() & columns.keys():
        errors.compare(DECODED_HEADS[name], f"decoded {name}", values[name], expected(name))


def _match_peaks(errors: Errors, peaks: Peaks, columns: Mapping[str, Any]) -> tuple[list[int], np.ndarray]:
    """The rows of the reference whose peak was found, and the peaks' indices; a strong one that was not is an error."""
    index_of = {key: row for row, key in enumerate(zip(peaks.class_ids.tolist(), *peaks.cells.T.tolist(), strict=True))}
    keys = [(int(c), int(x), int(y)) for c, x, y in zip(columns["clses"], columns["xs"], columns["ys"], strict=True)]
    lowest = float(peaks.scores[-1])
    for row, key in enumerate(keys):
        if key not in index_of and columns["scores"][row] > lowest + 1e-4:
            errors.equal(f"peak {key} with score {columns['scores'][row]:.4f}", "missing", "present")
    rows = [row for row, key in enumerate(keys) if key in index_of]
    return rows, np.array([index_of[keys[row]] for row in rows], np.int64)
