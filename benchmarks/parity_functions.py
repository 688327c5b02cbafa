# SPDX-License-Identifier: Apache-2.0
"""The reference's single functions: each file of its functions/ against the function here that does the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from benchmarks.parity_compare import Errors
from benchmarks.parity_objects import check_objects
from benchmarks.parity_options import REST_FOCAL_LENGTH
from centertrack_ros.engine.preprocess import normalisation_table, warp_and_normalise
from centertrack_ros.geometry import boxes3d, gaussian
from centertrack_ros.geometry.affine import Placement, centered_affine, place, transform
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.network.decode import decode_peaks, to_peaks
from centertrack_ros.network.deform_conv import DeformConv
from centertrack_ros.network.heads import gather_cells
from centertrack_ros.network.peaks import Peaks
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.tracking.detections import boxes_on_grid, decode, keypoints_on_grid, observation_angles
from centertrack_ros.tracking.lifting import lift_heads
from centertrack_ros.tracking.prior_heatmap import box_points
from centertrack_ros.training import losses


class Fields(Mapping[str, Any]):
    """A mapping that notes which of its values were read, those of inner mappings included."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = {key: Fields(value) if isinstance(value, dict) else value for key, value in values.items()}
        self._read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        value = self._values[key]
        self._read.add(key)
        return value

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def unread(self) -> list[str]:
        """The names of the values that nothing has read, 'outer.inner' for those of inner mappings."""
        names = []
        for key, value in self._values.items():
            if key not in self._read:
                names.append(key)
            elif isinstance(value, Fields):
                names += [f"{key}.{name}" for name in value.unread()]
        return names


class FunctionFiles:
    """The files of a functions/ folder; it notes what was read of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.read: dict[str, list[Fields]] = {}

    def arrays(self, name: str) -> Fields:
        """The arrays of a .npz file."""
        with np.load(self.folder / name) as stored:
            self.read[name] = [Fields({key: stored[key] for key in stored.files})]
        return self.read[name][0]

    def case(self, name: str) -> Fields:
        """The only case of a .json file."""
        self.read[name] = [Fields(json.loads((self.folder / name).read_text()))]
        return self.read[name][0]

    def cases(self, name: str) -> list[Fields]:
        """All cases of a .json file."""
        self.read[name] = [Fields(case) for case in json.loads((self.folder / name).read_text())]
        return self.read[name]

    def unread(self, name: str) -> list[str]:
        """The values of a file that no check has read in at least one of its cases."""
        return sorted({key for fields in self.read[name] for key in fields.unread()})


def check_functions(folder: Path, inputs: ModuleType) -> Errors:
    """Checks every file, and prints a line for each.

    A file, or a value of a file, that no check reads is a failure.

    Args:
        folder: The reference's functions/.
        inputs: Its module that makes images from seeds.

    Returns:
        The errors of all files together.
    """
    files, total = FunctionFiles(folder), Errors()
    names = sorted(path.name for path in folder.iterdir())
    results = {name: _check_file(name, files, inputs) for name in names if _check_of(name) is not None}
    for name in names:
        if name not in results and name not in files.read:
            results[name] = Errors(messages=["nothing here reads this file"])
    for name, errors in sorted(results.items()):
        errors.report(f"{folder.name}/{name}")
        total.include(errors)
    return total


def _check_file(name: str, files: FunctionFiles, inputs: ModuleType) -> Errors:
    """Runs the check of one file; one that cannot be checked is a failure."""
    errors, known, check = Errors(), set(files.read), _check_of(name)
    assert check is not None
    try:
        check(errors, files, inputs)
    except Exception as error:
        errors.messages.append(f"{type(error).__name__}: {error}")
        return errors
    for opened in sorted(files.read.keys() - known):
        if unread := files.unread(opened):
            errors.messages.append(f"nothing here reads {', '.join(unread)} of {opened}")
    return errors


def check_affine(errors: Errors, files: FunctionFiles, _: ModuleType) -> None:
    """Upstream `utils/image.py:get_affine_transform`, `affine_transform`, `transform_preds_with_trans`."""
    for case in files.cases("affine.json"):
        width, height = case["output_size"]
        matrix = centered_affine(
            case["center"], case["scale"], (height, width), bool(case["inv"]), case["rot"], case["shift"]
        )
        errors.compare("input", "matrix", matrix, case["trans"])
        points = np.asarray(case["pts"], np.float32)
        errors.compare("box", "points", transform(matrix, points), case["affine_transform"])
        errors.compare(
            "box",
            "points in float32",
            transform(matrix.astype(np.float32), points),
            case["transform_preds_with_trans_f32"],
        )


def check_radius(errors: Errors, files: FunctionFiles, _: ModuleType) -> None:
    """Upstream `utils/image.py:gaussian_radius`."""
    for case in files.cases("gaussian_radius.json"):
        radius = gaussian.gaussian_radius(case["h"], case["w"], case["min_overlap"])
        errors.compare("input", "radius", radius, case["radius"])
        errors.equal("whole radius", max(0, int(radius)), case["radius_int"])


def check_gaussian(errors: Errors, files: FunctionFiles, _: ModuleType) -> None:
    """Upstream `utils/image.py:draw_umich_gaussian` and `gaussian2D`."""
    stored = files.arrays("draw_umich_gaussian.npz")
    heatmap = np.zeros(stored["heatmap"].shape, np.float32)
    for x, y, radius, strength in stored["seq_x_y_radius_k"].tolist():
        gaussian.draw(heatmap, int(x), int(y), int(radius), strength)
    errors.compare("input", "heatmap", heatmap, stored["heatmap"])
    for name in stored:
        if match := re.fullmatch(r"g(\d+)", name):
            errors.compare("input", f"kernel {name}", gaussian.kernel(int(match[1])), stored[name])


def check_3d(errors: Errors, files: FunctionFiles, _: ModuleType) -> None:
    """Upstream `utils/ddd_utils.py`: from a projected centre and a depth to a 3D box, and back."""
    for case in files.cases("ddd.json"):
        camera = Camera.from_matrix(1, 1, case["calib"])
        center, dimensions = np.array([case["ct"]]), np.array([case["dim_hwl"]])
        alpha = observation_angles(np.array([case["rot8"]], np.float32))
        errors.angle("alpha", alpha[0], case["alpha"])
        middle = camera.unproject(center, np.array(case["depth"]))
        errors.compare("3D", "unprojected", middle[0], case["unproject"])
        location = middle + [0, case["dim_hwl"][0] / 2, 0]
        errors.compare("3D", "location", location[0], case["loc"])
        cx, fx = camera.projection[0, 2], camera.projection[0, 0]
        rotation = boxes3d.rotations_from_alpha(np.array([case["alpha"]]), center[:, 0], cx, fx)
        errors.angle("rot_y", rotation[0], case["rot_y"])
        back = boxes3d.alphas_from_rotation(np.array([case["rot_y"]]), center[:, 0], cx, fx)
        errors.angle("alpha from rot_y", back[0], case["alpha_back"])
        corners = boxes3d.corners(dimensions, np.array([case["loc"]]), np.array([case["rot_y"]]))[0]
        errors.compare("3D", "corners", corners, case["corners"])
        errors.compare("3D", "projected corners", camera.project(corners), case["box_2d"])


def check_decode(errors: Errors, files: FunctionFiles, stem: str) -> None:
    """Decoding from dense maps (heatmap after the sigmoid, depth in m) to rows on the grid, then to image px and 3D.

    Source: upstream `model/decode.py:generic_decode` and `utils/post_process.py:generic_post_process`.
    """
    stored, post = files.arrays(f"{stem}.npz"), files.case(f"{stem}_post.json")
    maps = {name[3:]: torch.from_numpy(stored[name]) for name in stored if name.startswith("in_")}
    placement = centered_affine(post["c"], post["s"], (post["h"], post["w"]), inverse=True).astype(np.float32)
    camera = Camera.from_matrix(1, 1, post["calib"])
    for image, peaks in enumerate(_decode_maps(maps, post["K"])):
        _check_rows(errors, peaks, stored, image)
        detections = decode(peaks, placement, post["out_thresh"])
        if detections.depths is not None:
            detections = lift_heads(detections, camera)
        items = [item for item in post["post"][image] if item["score"] > post["out_thresh"]]
        check_objects(errors, detections, items)


def _decode_maps(maps: dict[str, torch.Tensor], count: int) -> list[Peaks]:
    """The `count` strongest peaks of each image from the reference's dense maps."""
    heatmaps: dict[str, torch.Tensor] = {name: maps.pop(name) for name in ("hm", "hm_hp") if name in maps}
    if "dep" in maps:  # our decoding takes the raw depth
        maps["dep"] = torch.logit(1.0 / (maps["dep"].double() + 1.0) - 1e-6).float()
    refine = next((name for name in ("hp_offset", "reg") if name in maps), None)

    def values(cells: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: gather_cells(dense, cells) for name, dense in maps.items() if name != "hp_offset"}

    def offsets(cells: torch.Tensor) -> dict[str, torch.Tensor]:
        assert refine is not None
        return {refine: gather_cells(maps[refine], cells)}

    height, width = heatmaps["hm"].shape[2:]
    peaks = decode_peaks(heatmaps, values, None if refine is None else offsets, count, None)
    return to_peaks(peaks, (height, width))


def _check_rows(errors: Errors, peaks: Peaks, stored: Fields, image: int) -> None:
    """The decoded rows of one image, on the output grid."""
    cells = peaks.cells.astype(np.float32)
    errors.compare("score", "scores", peaks.scores, stored["out_scores"][image])
    errors.equal("classes", peaks.class_ids.tolist(), stored["out_clses"][image].astype(int).tolist())
    errors.compare("box", "cells", cells, stored["out_cts"][image])
    for axis, name in enumerate(("out_xs", "out_ys")):
        errors.compare("box", name, cells[:, axis], stored[name][image].reshape(-1))
    for name in ("out_bboxes", "out_bboxes_amodal"):
        if name in stored:
            errors.compare("box", name, boxes_on_grid(cells, peaks.values), stored[name][image])
    if "out_hps" in stored:
        points, scores, _ = keypoints_on_grid(cells, peaks.scores, peaks.values, peaks.joints)
        errors.compare("box", "joints", points.reshape(len(cells), -1), stored["out_hps"][image])
        if "out_kps_score" in stored:
            errors.compare("score", "joint scores", scores, stored["out_kps_score"][image])
    for name, value in peaks.values.items():
        if f"out_{name}" in stored and name != "hps":
            errors.compare("3D" if name == "dep" else "raw", name, value, stored[f"out_{name}"][image])


def check_preprocess(errors: Errors, files: FunctionFiles, inputs: ModuleType) -> None:
    """From an image and tracks to the network's input and prior heatmap, with every way of resizing.

    Source: upstream `detector.py:Detector.pre_process` and `_get_additional_inputs`. Inputs are stored
    [:, :, ::2, ::2].
    """
    arrays = files.arrays("preprocess_arrays.npz")
    for index, case in enumerate(files.cases("preprocess.json")):
        options = case["opts"]
        if unknown := sorted(set(options) - {"fix_res", "fix_short", "flip_test"}):
            errors.equal("options of preprocess.json", unknown, [])
            continue
        placement = _placement(case, options)
        _check_meta(errors, case, placement)
        image = inputs.make_frames(case["h"], case["w"], 1, case["seed"], n_obj=case["n_obj"])[0]
        table = normalisation_table(ModelProfile("official", "dla_34", ("object",), {"hm": 1}))
        planes = warp_and_normalise(image, placement.to_input, placement.input_size, table).transpose(2, 0, 1)[None]
        errors.compare("input", "network input", _flipped(planes, options)[:, :, ::2, ::2], arrays[f"input_{index}"])
        boxes = _shown_boxes(case["tracks"])
        prior = gaussian.render(box_points(boxes, placement.to_input, placement.input_size), placement.input_size)
        errors.compare("input", "prior heatmap", _flipped(prior[None, None], options), arrays[f"pre_hm_{index}"])
        cells = _output_cells(boxes, placement)
        errors.equal("output cells of the tracks", [cells] * len(case["pre_inds"]), case["pre_inds"])


def _placement(case: Fields, options: Fields) -> Placement:
    if options.get("fix_short", -1) > 0:
        return place((case["h"], case["w"]), (options["fix_short"],) * 2, "fix_short")
    return place((case["h"], case["w"]), (128, 192), "fixed" if options.get("fix_res", True) else "keep_resolution")


def _check_meta(errors: Errors, case: Fields, placement: Placement) -> None:
    """What the official code keeps about an image: sizes, camera, and the maps to the input and the output grid."""
    meta = case["meta"]
    errors.equal("image size", placement.image_size, (meta["height"], meta["width"]))
    errors.equal("input size", placement.input_size, (meta["inp_height"], meta["inp_width"]))
    errors.equal("grid size", placement.grid_size, (meta["out_height"], meta["out_width"]))
    camera = Camera.from_focal(meta["width"], meta["height"], REST_FOCAL_LENGTH)
    errors.compare("input", "default camera", camera.projection, meta["calib"])
    errors.compare("input", "trans_input", placement.to_input, meta["trans_input"])
    errors.compare("input", "trans_output", placement.to_grid, meta["trans_output"])
    again = centered_affine(meta["c"], meta["s"], placement.input_size)
    errors.compare("input", "trans_input of c and s", again, meta["trans_input"])


def _flipped(array: np.ndarray, options: Fields) -> np.ndarray:
    return np.concatenate((array, array[..., ::-1])) if options.get("flip_test") else array


def _shown_boxes(tracks: list[dict[str, Any]], threshold: float = 0.3) -> np.ndarray:
    """(N, 4) boxes of the tracks that enter the prior heatmap."""
    boxes = [track["bbox"] for track in tracks if track["score"] >= threshold and track["active"]]
    return np.array(boxes, np.float32).reshape(-1, 4)


def _output_cells(boxes: np.ndarray, placement: Placement) -> list[int]:
    """The flat index of the grid cell of each box's centre; boxes that are empty in the input are left out."""
    corners = []
    for matrix, size in ((placement.to_input, placement.input_size), (placement.to_grid, placement.grid_size)):
        limit = np.array([size[1] - 1, size[0] - 1], np.float32)
        corners.append(np.clip(transform(matrix, boxes.reshape(-1, 2, 2)).astype(np.float32), 0, limit))
    is_inside = (corners[0][:, 1] > corners[0][:, 0]).all(axis=1)
    centers = ((corners[1][:, 0] + corners[1][:, 1]) / 2).astype(np.int64)[is_inside]
    return (centers[:, 1] * placement.grid_size[1] + centers[:, 0]).tolist()


def check_deform_conv(errors: Errors, files: FunctionFiles, _: ModuleType) -> None:
    """Upstream's deformable convolution, version 2."""
    stored = files.arrays("dcn.npz")
    x = torch.from_numpy(stored["x"])
    layer = DeformConv(x.shape[1], stored["y"].shape[1])
    weights = {name[2:]: torch.from_numpy(stored[name]) for name in stored if name.startswith("w_")}
    layer.load_state_dict(weights, strict=True)
    with torch.inference_mode():
        errors.compare("raw", "offsets and mask", layer.conv_offset_mask(x).numpy(), stored["offset_mask_raw"])
        errors.compare("raw", "output", layer(x).numpy(), stored["y"])


def check_losses(errors: Errors, files: FunctionFiles, _: ModuleType) -> None:
    """Upstream `model/losses.py`; `focal_nopos` is the focal loss without any object."""
    stored = files.arrays("losses.npz")
    values = {name[3:]: torch.from_numpy(stored[name]) for name in stored if name.startswith("in_")}
    logits, cells, mask = values["logit"], values["ind"], values["mask"].float()
    nothing = (torch.zeros_like(logits), cells, values["cat"], torch.zeros_like(mask))
    at = {head: gather_cells(values[head], cells) for head in ("reg", "att", "rot")}
    computed = {
        "focal": losses.focal_loss(logits, values["gt"], cells, values["cat"], mask),
        "focal_nopos": losses.focal_loss(logits, *nothing),
        "regl1": losses.l1_loss(at["reg"], values["reg_target"], values["reg_mask"].float()),
        "bce": losses.attribute_loss(at["att"], values["att_target"], values["att_mask"].float()),
        "binrot": losses.rotation_loss(at["rot"], values["rotbin"].long(), values["rotres"], mask),
    }
    for name, value in computed.items():
        errors.compare("raw", name, value.item(), stored[name])


Check = Callable[[Errors, FunctionFiles, ModuleType], None]
CHECKS: dict[str, Check] = {
    "affine.json": check_affine,
    "gaussian_radius.json": check_radius,
    "draw_umich_gaussian.npz": check_gaussian,
    "ddd.json": check_3d,
    "preprocess.json": check_preprocess,
    "dcn.npz": check_deform_conv,
    "losses.npz": check_losses,
}


def _check_of(name: str) -> Check | None:
    """The check of a file; None for one that is read together with another, and for an unknown one."""
    if match := re.fullmatch(r"(decode_.*)\.npz", name):
        return lambda errors, files, _: check_decode(errors, files, match[1])
    return CHECKS.get(name)
