"""The reference's single functions: each file of its functions/ folder against the function here that does the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from benchmarks.parity_compare import Errors, pair_nearest
from centertrack_ros.engine.preprocess import normalisation_table, warp_and_normalise
from centertrack_ros.geometry import boxes3d, gaussian
from centertrack_ros.geometry.affine import centered_affine, place, transform
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.network.decode import decode_peaks, to_peaks
from centertrack_ros.network.deform_conv import DeformConv
from centertrack_ros.network.heads import gather_cells
from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.tracking.detections import boxes_on_grid, decode, observation_angles
from centertrack_ros.tracking.lifting import lift_heads
from centertrack_ros.tracking.prior_heatmap import box_points
from centertrack_ros.training import losses


def check_functions(folder: Path, inputs: ModuleType) -> bool:
    """Check every file and print a line for each; a file that nothing here can check is a failure."""
    passed = True
    for path in sorted(folder.iterdir()):
        if path.name in COMPANIONS:
            continue
        errors = Errors()
        name = f"functions/{path.name}"
        if path.name not in CHECKS:
            print(f"FAIL  {name:<32} nothing here checks this file")
            passed = False
            continue
        CHECKS[path.name](errors, folder, inputs)
        print(errors.line(name), flush=True)
        for message in errors.messages[:5]:
            print(f"        {message}")
        passed &= errors.passed
    return passed


def _json(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def check_affine(errors: Errors, folder: Path, _: ModuleType) -> None:
    for case in _json(folder, "affine.json"):
        width, height = case["output_size"]
        got = centered_affine(
            case["center"], case["scale"], (height, width), bool(case["inv"]), case["rot"], case["shift"]
        )
        errors.compare("input", "matrix", got, case["trans"])
        points = np.asarray(case["pts"], np.float32)
        errors.compare("box", "points", transform(got, points), case["affine_transform"])
        errors.compare(
            "box",
            "points in float32",
            transform(got.astype(np.float32), points),
            case["transform_preds_with_trans_f32"],
        )


def check_radius(errors: Errors, folder: Path, _: ModuleType) -> None:
    cases = _json(folder, "gaussian_radius.json")
    for case in cases:
        radius = gaussian.gaussian_radius(case["h"], case["w"], case["min_overlap"])
        errors.compare("input", "radius", radius, case["radius"])
        errors.equal("whole radius", max(0, int(radius)), case["radius_int"])


def check_gaussian(errors: Errors, folder: Path, _: ModuleType) -> None:
    stored = np.load(folder / "draw_umich_gaussian.npz")
    heatmap = np.zeros(stored["heatmap"].shape, np.float32)
    for x, y, radius, strength in stored["seq_x_y_radius_k"].tolist():
        gaussian.draw(heatmap, int(x), int(y), int(radius), strength)
    errors.compare("input", "heatmap", heatmap, stored["heatmap"])
    for radius in (0, 3):
        errors.compare("input", f"kernel {radius}", gaussian.kernel(radius), stored[f"g{radius}"])


def check_3d(errors: Errors, folder: Path, _: ModuleType) -> None:
    for case in _json(folder, "ddd.json"):
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


def check_decode(errors: Errors, folder: Path, stem: str) -> None:
    """Decoding from dense maps (heatmap after the sigmoid, depth in m) to rows on the grid, then to image px and 3D."""
    stored = np.load(folder / f"{stem}.npz")
    post = _json(folder, f"{stem}_post.json")
    maps = {name[3:]: torch.from_numpy(stored[name]) for name in stored if name.startswith("in_")}
    heatmaps = {name: maps.pop(name) for name in ("hm", "hm_hp") if name in maps}
    if "dep" in maps:  # our decoding takes the raw depth
        maps["dep"] = torch.logit(1.0 / (maps["dep"].double() + 1.0) - 1e-6).float()
    refine = next((name for name in ("hp_offset", "reg") if name in maps), None)
    reader = lambda cells: {n: gather_cells(m, cells) for n, m in maps.items() if n != "hp_offset"}  # noqa: E731
    offsets = None if refine is None else (lambda cells: {refine: gather_cells(maps[refine], cells)})
    grid = tuple(heatmaps["hm"].shape[2:])
    batch = to_peaks(decode_peaks(heatmaps, reader, offsets, post["K"], None), grid)
    placement = centered_affine(post["c"], post["s"], (post["h"], post["w"]), inverse=True).astype(np.float32)
    camera = Camera.from_matrix(1, 1, post["calib"])
    for image, peaks in enumerate(batch):
        cells = peaks.cells.astype(np.float32)
        errors.compare("score", "scores", peaks.scores, stored["out_scores"][image])
        errors.equal("classes", peaks.class_ids.tolist(), stored["out_clses"][image].astype(int).tolist())
        errors.compare("box", "cells", cells, stored["out_cts"][image])
        errors.compare("box", "boxes", boxes_on_grid(cells, peaks.values), stored["out_bboxes"][image])
        for name, value in peaks.values.items():
            if f"out_{name}" in stored:
                errors.compare("3D" if name == "dep" else "raw", name, value, stored[f"out_{name}"][image])
        detections = decode(peaks, placement, post["out_thresh"])
        if detections.depths is not None:
            detections = lift_heads(detections, camera)
        _check_post(errors, detections, [item for item in post["post"][image] if item["score"] > post["out_thresh"]])


def _check_post(errors: Errors, detections: Any, items: list[dict[str, Any]]) -> None:
    from benchmarks.parity import check_item

    errors.equal("number of objects", len(detections), len(items))
    for item, row in zip(items, pair_nearest(detections.class_ids, detections.boxes, items), strict=True):
        check_item(errors, detections, row, item)


def check_preprocess(errors: Errors, folder: Path, inputs: ModuleType) -> None:
    arrays = np.load(folder / "preprocess_arrays.npz")
    known = {"fix_res", "fix_short", "flip_test"}
    for index, case in enumerate(_json(folder, "preprocess.json")):
        options, meta = case["opts"], case["meta"]
        if unknown := sorted(set(options) - known):
            errors.equal("options of preprocess.json", unknown, [])
            continue
        resize = (
            "fix_short"
            if options.get("fix_short", -1) > 0
            else "fixed"
            if options.get("fix_res", True)
            else "keep_resolution"
        )
        nominal = (options["fix_short"],) * 2 if resize == "fix_short" else (128, 192)
        placement = place((case["h"], case["w"]), nominal, resize)
        errors.equal("input size", placement.input_size, (meta["inp_height"], meta["inp_width"]))
        errors.compare("input", "trans_input", placement.to_input, meta["trans_input"])
        errors.compare("input", "trans_output", placement.to_grid, meta["trans_output"])
        frame = inputs.make_frames(case["h"], case["w"], 1, case["seed"], n_obj=case["n_obj"])[0]
        table = normalisation_table(ModelProfile("official", "dla_34", ("object",), {"hm": 1}))
        image = warp_and_normalise(frame, placement.to_input, placement.input_size, table).transpose(2, 0, 1)[None]
        errors.compare("input", "network input", _flipped(image, options)[:, :, ::2, ::2], arrays[f"input_{index}"])
        prior = _prior(case["tracks"], placement)
        errors.compare("input", "prior heatmap", _flipped(prior, options), arrays[f"pre_hm_{index}"])


def _flipped(array: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    return np.concatenate((array, array[..., ::-1])) if options.get("flip_test") else array


def _prior(tracks: list[dict[str, Any]], placement: Any, threshold: float = 0.3) -> np.ndarray:
    shown = [track["bbox"] for track in tracks if track["score"] >= threshold and track["active"]]
    points = box_points(np.array(shown, np.float32).reshape(-1, 4), placement.to_input, placement.input_size)
    return gaussian.render(points, placement.input_size)[None, None]


def check_deform_conv(errors: Errors, folder: Path, _: ModuleType) -> None:
    stored = np.load(folder / "dcn.npz")
    x = torch.from_numpy(stored["x"])
    layer = DeformConv(x.shape[1], stored["y"].shape[1])
    weights = {name[2:]: torch.from_numpy(stored[name]) for name in stored if name.startswith("w_")}
    layer.load_state_dict(weights, strict=True)
    with torch.inference_mode():
        errors.compare("raw", "output", layer(x).numpy(), stored["y"])


def check_losses(errors: Errors, folder: Path, _: ModuleType) -> None:
    stored = np.load(folder / "losses.npz")
    values = {name[3:]: torch.from_numpy(stored[name]) for name in stored if name.startswith("in_")}
    logits, cells, mask = values["logit"], values["ind"], values["mask"].float()
    nothing = (torch.zeros_like(logits), cells, values["cat"], torch.zeros_like(mask))
    at = {head: gather_cells(values[head], cells) for head in ("reg", "att", "rot")}
    got = {
        "focal": losses.focal_loss(logits, values["gt"], cells, values["cat"], mask),
        "focal_nopos": losses.focal_loss(logits, *nothing),
        "regl1": losses.l1_loss(at["reg"], values["reg_target"], values["reg_mask"].float()),
        "bce": losses.attribute_loss(at["att"], values["att_target"], values["att_mask"].float()),
        "binrot": losses.rotation_loss(at["rot"], values["rotbin"].long(), values["rotres"], mask),
    }
    for name, value in got.items():
        errors.compare("raw", name, value.item(), stored[name])


CHECKS: dict[str, Callable[[Errors, Path, ModuleType], None]] = {
    "affine.json": check_affine,
    "gaussian_radius.json": check_radius,
    "draw_umich_gaussian.npz": check_gaussian,
    "ddd.json": check_3d,
    "decode_2d.npz": lambda errors, folder, _: check_decode(errors, folder, "decode_2d"),
    "decode_3d_all.npz": lambda errors, folder, _: check_decode(errors, folder, "decode_3d_all"),
    "preprocess.json": check_preprocess,
    "dcn.npz": check_deform_conv,
    "losses.npz": check_losses,
}
# Read together with another file.
COMPANIONS = ("decode_2d_post.json", "decode_3d_all_post.json", "preprocess_arrays.npz")
