# SPDX-License-Identifier: Apache-2.0
"""The official code's options: which of them change a detector's results, and what they are here."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from centertrack_ros.network.profile import ModelProfile, Thresholds
from centertrack_ros.tracking.config import TrackerConfig

# Focal length, px, of the camera that the official code assumes when none is stated.
REST_FOCAL_LENGTH = 1200.0

# dataset -> (classes, default input height, width)
DATASETS = {
    "coco": (80, 512, 512),
    "coco_hp": (1, 512, 512),
    "kitti": (3, 384, 1280),
    "kitti_tracking": (3, 384, 1280),
    "mot": (1, 544, 960),
    "crowdhuman": (1, 512, 512),
    "nuscenes": (10, 448, 800),
    "custom": (1, -1, -1),
}

# Options with a value that this program understands: name -> (type, official default).
VALUED: dict[str, tuple[type, Any]] = {
    "dataset": (str, "coco"),
    "arch": (str, "dla_34"),
    "dla_node": (str, "dcn"),
    "head_conv": (int, -1),
    "num_head_conv": (int, 1),
    "head_kernel": (int, 3),
    "down_ratio": (int, 4),
    "num_classes": (int, -1),
    "input_res": (int, -1),
    "input_h": (int, -1),
    "input_w": (int, -1),
    "K": (int, 100),
    "fix_short": (int, -1),
    "out_thresh": (float, -1.0),
    "pre_thresh": (float, -1.0),
    "track_thresh": (float, 0.3),
    "new_thresh": (float, 0.3),
    "depth_scale": (float, 1.0),
    "test_focal_length": (int, -1),
    "max_age": (int, -1),
    "test_scales": (str, "1"),
}
# A weight of 0 removes the heads: option -> heads.
WEIGHTS = {
    "hm_weight": ("hm",),
    "off_weight": ("reg", "hp_offset"),
    "wh_weight": ("wh",),
    "hp_weight": ("hps",),
    "hm_hp_weight": ("hm_hp",),
    "amodel_offset_weight": ("amodel_offset",),
    "dep_weight": ("dep",),
    "dim_weight": ("dim",),
    "rot_weight": ("rot",),
    "tracking_weight": ("tracking",),
    "ltrb_weight": ("ltrb",),
    "ltrb_amodal_weight": ("ltrb_amodal",),
    "nuscenes_att_weight": ("nuscenes_att",),
    "velocity_weight": ("velocity",),
}
FLAGS = (
    "ltrb", "ltrb_amodal", "nuscenes_att", "velocity", "tracking", "pre_hm", "zero_pre_hm", "no_pre_img",
    "zero_tracking", "hungarian", "public_det", "flip_test", "keep_res",
)  # fmt: skip
# Options that do not change the detector's results: training, logging, drawing, reading.
WITHOUT_EFFECT_FLAGS = (
    "test", "no_pause", "resume", "not_cuda_benchmark", "not_set_cuda_env", "save_all", "eval_val", "save_video",
    "resize_video", "transpose_video", "show_track_color", "not_show_bbox", "not_show_number", "not_show_txt",
    "qualitative", "tango_color", "only_show_dots", "show_trace", "trainval", "reset_hm", "reuse_hm",
    "use_kpt_center", "add_05", "nms", "not_prefetch_test", "map_argoverse_id", "save_results", "non_block_test",
    "not_rand_crop", "not_max_crop", "no_color_aug", "same_aug_pre", "not_idaup",
)  # fmt: skip
WITHOUT_EFFECT_VALUED = (
    "test_dataset", "exp_id", "debug", "demo", "load_model", "gpus", "num_workers", "seed", "print_iter",
    "vis_thresh", "debugger_theme", "save_imgs", "save_img_suffix", "skip_first", "save_framerate", "video_h",
    "video_w", "prior_bias", "dataset_version", "optim", "lr", "lr_step", "save_point", "num_epochs", "batch_size",
    "master_batch_size", "num_iters", "val_intervals", "dense_reg", "ignore_loaded_cats", "vis_gt_bev", "kitti_split",
    "shift", "scale", "aug_rot", "rotate", "flip", "hm_disturb", "lost_disturb", "fp_disturb", "max_frame_dist",
    "reg_loss", "custom_dataset_img_path", "custom_dataset_ann_path", "num_layers", "backbone", "neck",
    "msra_outchannel", "efficient_level",
)  # fmt: skip
# What the reference adds to the options once they are resolved.
DERIVED = ("task", "pre_img", "output_h", "output_w", "fix_res", "pad", "heads", "rest_focal_length", "output_res")
# Options that the official detector has and this project has not.
UNSUPPORTED = ("load_results", "use_loaded_results", "model_output_list")


class UnknownOptionError(ValueError):
    """An option or a value of the reference that is not understood, so that nothing can be said about it."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UnknownOptionError(message)


@dataclass(frozen=True)
class Options:
    """A configuration of the reference in this project's terms."""

    profile: ModelProfile
    config: TrackerConfig
    tracking: bool
    flip_test: bool
    public_detections: bool


def parse(argv: str | Sequence[str]) -> argparse.Namespace:
    """The official command line, abbreviations as argparse allows them.

    Raises:
        UnknownOptionError: The command line has an option that the official code does not have.
    """
    parser = _Parser(add_help=False)
    parser.add_argument("task")
    for name, (kind, default) in VALUED.items():
        parser.add_argument(f"--{name}", type=kind, default=default)
    for name in WEIGHTS:
        parser.add_argument(f"--{name}", type=float, default=1.0)
    for name in WITHOUT_EFFECT_VALUED:
        parser.add_argument(f"--{name}")
    for name in (*FLAGS, *WITHOUT_EFFECT_FLAGS, "use_loaded_results", "model_output_list"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--load_results", default="")
    return parser.parse_args(shlex.split(argv) if isinstance(argv, str) else list(argv))


def resolve(name: str, argv: str | Sequence[str], stated: Mapping[str, Any], mean: Any, std: Any) -> Options:
    """The model profile and tracker configuration of official options.

    Args:
        name: Name of the configuration.
        argv: The command line.
        stated: The options as the official code resolved them; they win over the command line.
        mean: Of the normalisation, one value per channel.
        std: Of the normalisation, one value per channel.

    Raises:
        UnknownOptionError: An option that would change the results is not understood.
    """
    values = vars(parse(argv))
    known = {*values, *DERIVED}
    if unknown := sorted(set(stated) - known):
        raise UnknownOptionError(f"unknown options in 'opt': {', '.join(unknown)}")
    _derive(values)
    resolved = {**values, **stated}
    _check_supported(resolved)
    tracking = bool(resolved["tracking"])
    profile = ModelProfile(
        name=name,
        architecture=resolved["arch"]
        if resolved["dla_node"] == "dcn"
        else f"{resolved['arch']}_{resolved['dla_node']}",
        classes=tuple(str(index) for index in range(resolved["heads"]["hm"])),
        heads=dict(resolved["heads"]),
        previous_image=tracking and bool(resolved["pre_img"]),
        prior_heatmap=tracking and bool(resolved["pre_hm"]),
        **_input_size(resolved),
        mean=tuple(mean),
        std=tuple(std),
        max_detections=resolved["K"],
        head_options=_head_options(resolved),
        thresholds=_thresholds(resolved, tracking),
    )
    focal = resolved["test_focal_length"]
    config = TrackerConfig.official(
        association="hungarian" if resolved["hungarian"] else "greedy",
        max_age=resolved["max_age"],
        zero_tracking=bool(resolved["zero_tracking"]),
        depth_scale=resolved["depth_scale"],
        zero_prior_heatmap=bool(resolved["zero_pre_hm"]),
        default_focal_length=REST_FOCAL_LENGTH if focal < 0 else float(focal),
        lift="auto" if all(head in resolved["heads"] for head in ("dep", "rot", "dim")) else "none",
        detector_source="public" if resolved["public_det"] else "network",
    )
    return Options(profile, config, tracking, bool(resolved["flip_test"]), bool(resolved["public_det"]))


def _derive(values: dict[str, Any]) -> None:
    """What the official code makes of the command line, in place: thresholds, sizes, heads."""
    if values["dataset"] not in DATASETS:
        raise UnknownOptionError(f"unknown dataset '{values['dataset']}'")
    classes, height, width = DATASETS[values["dataset"]]
    task = values["task"]
    if "tracking" in task:
        values["tracking"] = True
        for threshold in ("out_thresh", "pre_thresh", "new_thresh"):
            values[threshold] = max(values["track_thresh"], values[threshold])
    values["pre_img"] = "tracking" in task and not values["no_pre_img"]
    values["fix_res"] = not values["keep_res"]
    if values["num_classes"] < 0:
        values["num_classes"] = classes
    for key, default in (("input_h", height), ("input_w", width)):
        if values[key] <= 0:
            values[key] = values["input_res"] if values["input_res"] > 0 else default
    if values["head_conv"] == -1:
        values["head_conv"] = 256 if "dla" in values["arch"] else 64
    heads = _heads(task, values)
    removed = {head for option, names in WEIGHTS.items() if values[option] == 0 for head in names}
    values["heads"] = {head: channels for head, channels in heads.items() if head not in removed}


def _heads(task: str, values: Mapping[str, Any]) -> dict[str, int]:
    heads = {"hm": values["num_classes"], "reg": 2, "wh": 2}
    if "tracking" in task:
        heads["tracking"] = 2
    if "ddd" in task:
        heads.update(dep=1, rot=8, dim=3, amodel_offset=2)
    if "multi_pose" in task:
        heads.update(hps=34, hm_hp=17, hp_offset=2)
    for flag, channels in (("ltrb", 4), ("ltrb_amodal", 4), ("nuscenes_att", 8), ("velocity", 3)):
        if values[flag]:
            heads[flag] = channels
    return heads


def _check_supported(resolved: Mapping[str, Any]) -> None:
    """Checks that no option is set that only the official detector has.

    Raises:
        UnknownOptionError: One is set.
    """
    for option in UNSUPPORTED:
        if resolved.get(option):
            raise UnknownOptionError(f"option --{option} is not supported")
    scales = resolved["test_scales"]
    if [float(scale) for scale in (scales.split(",") if isinstance(scales, str) else scales)] != [1.0]:
        raise UnknownOptionError(f"option --test_scales {scales} is not supported")
    if resolved["down_ratio"] != 4:
        raise UnknownOptionError(f"option --down_ratio {resolved['down_ratio']} is not supported")
    if resolved.get("pad", 31) != 31:
        raise UnknownOptionError(f"a padding of {resolved['pad']} is not supported")


def _input_size(resolved: Mapping[str, Any]) -> dict[str, Any]:
    if resolved["fix_short"] > 0:
        return {"resize": "fix_short", "input_height": resolved["fix_short"], "input_width": resolved["fix_short"]}
    mode = "fixed" if resolved["fix_res"] else "keep_resolution"
    return {"resize": mode, "input_height": resolved["input_h"], "input_width": resolved["input_w"]}


def _head_options(resolved: Mapping[str, Any]) -> dict[str, int]:
    widths = resolved["head_conv"]
    if isinstance(widths, Mapping):  # as resolved: head -> width of each hidden convolution
        flat = {width for row in widths.values() for width in row}
        if len(flat) > 1:
            raise UnknownOptionError(f"heads of different widths are not supported: {sorted(flat)}")
        rows = [row for head, row in widths.items() if head != "reg"] or list(widths.values())
        return {
            "head_conv": flat.pop() if flat else 0,
            "num_head_conv": len(rows[0]),
            "head_kernel": resolved["head_kernel"],
        }
    return {"head_conv": widths, "num_head_conv": resolved["num_head_conv"], "head_kernel": resolved["head_kernel"]}


def _thresholds(resolved: Mapping[str, Any], tracking: bool) -> Thresholds:
    floor = resolved["track_thresh"] if tracking else -1.0  # without tracking the official code has no such floor
    return Thresholds(floor, resolved["out_thresh"], resolved["pre_thresh"], resolved["new_thresh"])
