# SPDX-License-Identifier: Apache-2.0
"""Small valid files of the kinds that the package reads. Each function writes them into an empty folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from centertrack_ros.network.profile import ModelProfile
from support import training_sets

ROOT = Path(__file__).resolve().parents[3]


def training_set(kind: str, folder: Path) -> None:
    """A data set as training reads it."""
    training_sets.make(kind, folder)


def nuscenes_info(folder: Path) -> None:
    """An info file with the LiDAR's list of objects."""
    training_set("nuscenes", folder)
    document = json.loads((folder / "sample_info.json").read_text())
    for sample in document["data_list"]:
        sample["lidar_points"] = {"lidar2ego": np.eye(4).tolist()}
        sample["instances"] = [
            {
                "bbox_label_3d": 0, "bbox_3d": [9.0, 1.0, 0.0, 4.0, 1.7, 1.5, 0.3], "velocity": [1.0, 0.0],
                "num_lidar_pts": 5, "num_radar_pts": 1,
            }
        ]  # fmt: skip
    (folder / "sample_info.json").write_text(json.dumps(document))


def nuscenes_results(folder: Path) -> None:
    """truth.json and results.json of the tracking benchmark, two samples of two objects."""
    box = {"size": [1.9, 4.5, 1.6], "rotation": [1.0, 0.0, 0.0, 0.0], "velocity": [1.0, 0.0], "tracking_name": "car"}
    results: dict[str, list[dict[str, Any]]] = {}
    for sample in ("a", "b"):
        results[sample] = [
            {
                "sample_token": sample, "translation": [float(n), 2.0, 0.5], **box, "tracking_id": str(n),
                "tracking_score": 0.5 + n / 4, "ego_translation": [float(n), 2.0, 0.5], "num_pts": 9,
            }
            for n in (0, 1)
        ]  # fmt: skip
    samples = {"a": {"scene": "s", "timestamp": 1_000_000}, "b": {"scene": "s", "timestamp": 1_500_000}}
    meta = {"use_camera": True, "use_lidar": False, "use_radar": False, "use_map": False, "use_external": False}
    (folder / "results.json").write_text(json.dumps({"meta": meta, "results": results}))
    (folder / "truth.json").write_text(json.dumps({"meta": meta, "samples": samples, "results": results}))


def nuscenes_database(folder: Path) -> None:
    """Two samples with a car before one camera, as the devkit reads them."""
    turn, none = [0.5, -0.5, 0.5, -0.5], [1.0, 0.0, 0.0, 0.0]
    matrix = [[1200.0, 0.0, 800.0], [0.0, 1200.0, 450.0], [0.0, 0.0, 1.0]]
    near = [{"prev": "", "next": "{}1"}, {"prev": "{}0", "next": ""}]
    around = {kind: [{k: v.format(kind) for k, v in one.items()} for one in near] for kind in "pa"}
    tables: dict[str, Any] = {
        "log": [], "attribute": [], "map": [{"token": "m", "log_tokens": [], "category": "x", "filename": "map.png"}],
        "category": [{"token": "c", "name": "vehicle.car", "description": ""}],
        "visibility": [{"token": "4", "level": "v80-100", "description": ""}],
        "instance": [{"token": "i", "category_token": "c", "nbr_annotations": 2}],
        "sensor": [{"token": "s", "channel": "CAM_FRONT", "modality": "camera"}],
        "calibrated_sensor": [{
            "token": "k", "sensor_token": "s", "translation": [1.5, 0, 1.5], "rotation": turn,
            "camera_intrinsic": matrix,
        }],
        "scene": [{
            "token": "scene", "name": "scene-0103", "description": "", "log_token": "l", "nbr_samples": 2,
            "first_sample_token": "p0", "last_sample_token": "p1",
        }],
        "sample": [{"token": f"p{n}", "timestamp": n, "scene_token": "scene", **around["p"][n]} for n in (0, 1)],
        "ego_pose": [{"token": f"e{n}", "timestamp": n, "rotation": none, "translation": [n, 5, 0]} for n in (0, 1)],
        "sample_data": [{
            "token": f"d{n}", "sample_token": f"p{n}", "ego_pose_token": f"e{n}", "calibrated_sensor_token": "k",
            "timestamp": 500_000 * n, "fileformat": "jpg", "is_key_frame": True, "height": 900, "width": 1600,
            "filename": f"samples/{n}.jpg", "prev": "", "next": "",
        } for n in (0, 1)],
        "sample_annotation": [{
            "token": f"a{n}", "sample_token": f"p{n}", "instance_token": "i", "visibility_token": "4",
            "attribute_tokens": [], "translation": [20.0, 5.0, 0.8], "size": [1.9, 4.5, 1.6], "rotation": none,
            "num_lidar_pts": 9, "num_radar_pts": 1, **around["a"][n],
        } for n in (0, 1)],
    }  # fmt: skip
    (folder / "v1.0-mini").mkdir()
    (folder / "map.png").touch()
    for name, rows in tables.items():
        (folder / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows))


def mot_evaluation(folder: Path) -> None:
    """A folder with ground truth as `mot` writes it, and results beside it that are equal to it."""
    training_set("mot", folder)
    text = (folder / "MOT17-99" / "gt" / "gt.txt").read_text()
    rows = [line.split(",")[:6] for line in text.splitlines()]
    (folder / "results").mkdir()
    (folder / "results" / "MOT17-99.txt").write_text("".join(f"{','.join(row)},0.9,-1,-1,-1\n" for row in rows))


def kitti_evaluation(folder: Path) -> None:
    """Labels with a sequence map, and results."""
    training_set("kitti", folder)
    text = (folder / "label_02" / "0007.txt").read_text()
    (folder / "evaluate_tracking.seqmap.training").write_text("0007 empty 000000 000004\n")
    (folder / "results").mkdir()
    (folder / "results" / "0007.txt").write_text("".join(f"{line} 0.9\n" for line in text.splitlines()))
    shutil.rmtree(folder / "image_02")


def kitti_raw(folder: Path) -> None:
    """A raw recording: an image and its calibration."""
    (folder / "image_02" / "data").mkdir(parents=True)
    cv2.imwrite(str(folder / "image_02" / "data" / "0000000000.png"), _picture())
    numbers = " ".join(map(str, training_sets.CAMERA.projection.ravel().tolist()))
    text = f"calib_time: 09-Jan-2012 13:57:47\nS_02: 1.392e+03 5.12e+02\nP_rect_02: {numbers}\n"
    (folder / "calib_cam_to_cam.txt").write_text(text)


def evaluation_documents(folder: Path) -> None:
    """a.json and b.json of `evaluate mot --json`, with the scores that `--finished` keeps."""
    from centertrack_ros.cli.main import main

    mot_evaluation(folder)
    common = ["evaluate", "mot", "--truth", str(folder / "MOT17-99"), "--results", str(folder / "results")]
    main([*common, "--json", str(folder / "a.json"), "--finished", str(folder / "finished")])
    shutil.copy(folder / "a.json", folder / "b.json")


def image(name: str, folder: Path) -> None:
    """An image file; its name says what it is."""
    path, picture = folder / name, Image.fromarray(_picture()[..., ::-1])
    exif = Image.Exif()
    exif[0x0112] = 6
    ways: dict[str, Any] = {
        "turned.jpg": lambda: picture.save(path, exif=exif.tobytes()),
        "progressive.jpg": lambda: picture.save(path, progressive=True),
        "grey.jpg": lambda: picture.convert("L").save(path),
        "cmyk.jpg": lambda: picture.convert("CMYK").save(path),
        "palette.png": lambda: picture.convert("P").save(path),
        "deep.png": lambda: cv2.imwrite(str(path), _picture().astype(np.uint16) * 257),
        "alpha.png": lambda: picture.convert("RGBA").save(path),
        "animated.webp": lambda: picture.save(path, save_all=True, append_images=[picture.rotate(90)]),
        "animated.gif": lambda: picture.save(path, save_all=True, append_images=[picture.rotate(90)]),
        "pages.tiff": lambda: picture.save(path, save_all=True, append_images=[picture.rotate(90)]),
        "deflate.tif": lambda: picture.save(path, compression="tiff_adobe_deflate"),
        "text.ppm": lambda: path.write_text(f"P3\n# grey\n2 1\n255\n{'90 ' * 6}\n"),
    }
    ways.get(name, lambda: picture.save(path))()


def _picture() -> np.ndarray:
    rows, columns = np.mgrid[:48, :64]
    return np.stack([rows * 5, columns * 3, (rows + columns) * 2], axis=2).astype(np.uint8)


VIDEO_CODES = {".avi": "MJPG", ".mp4": "mp4v", ".webm": "VP80", ".mkv": "mp4v"}


def video(suffix: str, folder: Path) -> None:
    """Eight frames."""
    code = cv2.VideoWriter.fourcc(*VIDEO_CODES[suffix])
    writer = cv2.VideoWriter(str(folder / f"clip{suffix}"), code, 10.0, (64, 48))
    for shift in range(8):
        writer.write(np.roll(_picture(), 5 * shift, axis=1))
    writer.release()


def bag(folder: Path, storage: str = "mcap", raw: bool = False) -> None:
    """Images with calibration, tf, and boxes in 2D and 3D: `drive`."""
    from dataclasses import replace

    from centertrack_ros.datasets.bag_writer import write_bag

    scene = training_sets.truth(folder / "images")
    frames = tuple(replace(frame, pose=np.eye(4), token=f"t{frame.index}") for frame in scene)
    write_bag(folder / "drive", {"front": replace(scene, frames=frames)}, storage=storage, raw=raw)
    shutil.rmtree(folder / "images")


def compressed_bag(folder: Path, mode: str) -> None:
    """The same in an sqlite3 file, compressed by file or by message."""
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, Writer

    from centertrack_ros.io.rosbag import BagReader, message_types

    bag(folder, "sqlite3")
    (folder / "drive").rename(folder / "plain")
    writer = Writer(folder / "drive", version=8)
    writer.set_compression(CompressionMode[mode], CompressionFormat.ZSTD)
    with writer, BagReader(folder / "plain") as reader:
        topics = {
            name: writer.add_connection(name, topic.type, typestore=message_types())
            for name, topic in reader.topics.items()
        }
        for record in reader.records():
            writer.write(topics[record.topic], record.time_ns, record.data)
    shutil.rmtree(folder / "plain")


def extracted_bag(folder: Path) -> None:
    """A bag whose images training has written as files."""
    from centertrack_ros.training.bag_images import extract

    bag(folder)
    extract(folder / "drive", folder / "extracted")


def small_weights(folder: Path) -> None:
    """weights.safetensors: the profile of an embedded model, and two tensors that are none of its."""
    import torch
    from safetensors.torch import save

    from centertrack_ros.network import checkpoints
    from centertrack_ros.network.registry import weights_path

    profile = checkpoints.read(weights_path("default")).profile
    tensors = {"a": torch.ones(3), "b": torch.zeros(2, 2).half()}
    metadata = {"format": "centertrack_ros 1", "profile": json.dumps(asdict(profile))}
    (folder / "weights.safetensors").write_bytes(save(tensors, metadata=metadata))


def embedded_weights(folder: Path) -> None:
    """A whole model, which can be loaded."""
    from centertrack_ros.network.registry import weights_path

    shutil.copy(weights_path("default"), folder / "weights.safetensors")


def checkpoint(folder: Path, zipped: bool = True) -> None:
    """coco.pth: keys and heads of an official checkpoint; the tensors of its backbone are small."""
    import torch

    shapes = {"hm": 80, "reg": 2, "wh": 2, "tracking": 2}
    state = {
        "base.level5.root.conv.weight": torch.zeros(2),
        "ida_up.proj_1.conv.conv_offset_mask.weight": torch.zeros(2),
    }
    for head, channels in shapes.items():
        state |= {f"{head}.0.weight": torch.zeros(4, 2, 3, 3), f"{head}.0.bias": torch.zeros(4)}
        state |= {f"{head}.2.weight": torch.zeros(channels, 4, 1, 1), f"{head}.2.bias": torch.zeros(channels)}
    content = {"epoch": 7, "state_dict": {f"module.{key}": value for key, value in state.items()}}
    torch.save(content, folder / "coco.pth", _use_new_zipfile_serialization=zipped)


def cached_export(folder: Path) -> None:
    """Weights with an export beside them, as the engines' cache has it."""
    from centertrack_ros.engine import export_cache

    small_weights(folder)
    weights = folder / "weights.safetensors"
    key = export_cache.cache_key(weights)
    with export_cache.writing(weights, key) as new:
        (new / "model.onnx").write_bytes(b"onnx")
        export_cache.write_manifest(new, key, {"engines": {}})


def openvino_file(folder: Path) -> None:
    """model.xml and model.bin: the same for OpenVINO."""
    import openvino
    from openvino import opset13

    from centertrack_ros.engine.openvino_engine import OUTPUT_KEYS, PROFILE_KEYS

    image = opset13.parameter([1, 3, 32, 32], np.float32, name="image")
    model = openvino.Model([opset13.multiply(image, np.full((1, 3, 1, 1), 2.0, np.float32))], [image], "tiny")
    model.set_rt_info(_tiny_profile().to_json(), PROFILE_KEYS)
    model.set_rt_info("hm", OUTPUT_KEYS)
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)


def _tiny_profile() -> ModelProfile:
    return ModelProfile("tiny", "none", ("car",), {"hm": 1, "wh": 2}, input_height=32, input_width=32)


def exported_file(folder: Path) -> None:
    """model.onnx: one operation, with a model profile in its metadata."""
    import onnx
    from onnx import TensorProto, helper

    from centertrack_ros.engine.export import PROFILE_KEY

    float_type = TensorProto.FLOAT
    one = helper.make_tensor_value_info("image", float_type, [1, 3, 32, 32])
    other = helper.make_tensor_value_info("hm", float_type, [1, 3, 32, 32])
    graph = helper.make_graph([helper.make_node("Relu", ["image"], ["hm"])], "tiny", [one], [other])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {PROFILE_KEY: _tiny_profile().to_json()})
    onnx.save(model, folder / "model.onnx")


def own_detector(folder: Path) -> None:
    """detector.onnx: of YOLOv8's layout, with names in its metadata; it gives the same boxes for every image."""
    from support.detector_graphs import fixed_outputs

    values = np.random.default_rng(1).uniform(0.0, 0.3, (1, 4 + 3, 126)).astype(np.float32)
    values[:, :4] *= 100
    fixed_outputs(folder / "detector.onnx", {"output0": values}, metadata={"names": "{0: 'a', 1: 'b', 2: 'c'}"})


def copied(source: str, name: str, folder: Path) -> None:
    """A file of the source tree."""
    shutil.copy(ROOT / source, folder / name)


def class_limits(folder: Path) -> None:
    """limits.yaml: limits of two classes."""
    text = "person: {new_threshold: 0.5, min_size: 12, max_range: 40}\ncar:\n  track_threshold: 0.2\n  rebirth: 3.5\n"
    (folder / "limits.yaml").write_text(text)


def tfjs_model(folder: Path) -> None:
    """model.json with a shard: a TensorFlow.js graph of two nodes."""
    nodes = [
        {"name": "x", "op": "Placeholder", "attr": {}},
        {"name": "w", "op": "Const", "attr": {}},
        {"name": "y", "op": "Mul", "input": ["x", "w"], "attr": {}},
    ]
    entries = [
        {"name": "w", "shape": [2, 3], "dtype": "float32"},
        {"name": "q", "shape": [4], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.0}},
    ]
    manifest = [{"paths": ["group.bin"], "weights": entries}]
    document = {"format": "graph-model", "modelTopology": {"node": nodes}, "weightsManifest": manifest}
    (folder / "model.json").write_text(json.dumps(document))
    (folder / "group.bin").write_bytes(np.ones(6, np.float32).tobytes() + bytes(4))
