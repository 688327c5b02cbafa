# SPDX-License-Identifier: Apache-2.0
"""The node with an ONNX detector of the user's own; the same parameters in a replay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")
pytest.importorskip("onnx", reason="the detector is written as an ONNX file")
pytest.importorskip("onnxruntime", reason="the detector runs by onnxruntime")

from centertrack_ros.cli.main import main
from centertrack_ros.datasets.bag_tracks import read_tracks
from centertrack_ros.replay.parameters import load_parameters
from support.detector_graphs import fixed_outputs, red_detector
from support.ros_harness import RELIABLE, CameraClock, Probe, ids_of, image_message, launch_node, start_node, stop_node

CLIP = Path(__file__).parents[2] / "demo" / "pets09_s2l1"
ENGINE = "model.engine:=onnxruntime"


def picture(step: int) -> np.ndarray:
    image = np.full((240, 320, 3), 60, np.uint8)
    image[60:140, 30 + 8 * step : 110 + 8 * step] = (0, 0, 255)
    return image


def test_the_node_tracks_what_the_detector_finds(ros, tmp_path: Path) -> None:
    path = red_detector(tmp_path / "red.onnx", (96, 128))
    (tmp_path / "names.yaml").write_text("names: {0: gnome, 1: forklift}")
    model = (f"detector.model:={path}", f"detector.class_names:=[{tmp_path / 'names.yaml'}]", ENGINE)
    process = start_node("model.weights:=none", *model, RELIABLE, name="own")
    probe, clock = Probe("own", outputs=("output/detections_2d",)), CameraClock(rate=10.0)
    try:
        probe.wait_for_node()
        assert process.logged("detector red.onnx (yolo-end-to-end, 2 classes) on onnxruntime")
        for step in range(5):
            stamp = clock.tick()
            probe.images.publish(image_message(picture(step), stamp))
            result = probe.wait_for_message("output/detections_2d", stamp)
            [one] = result.detections
            assert ids_of(result) == {"1"} and one.results[0].hypothesis.class_id == "forklift"
            assert abs(one.bbox.center.position.x - (70 + 8 * step)) < 4
        assert probe.set_parameters(**{"detector.min_score": 0.95})[0].successful
        stamp = clock.tick()
        probe.images.publish(image_message(picture(5), stamp))
        assert not probe.wait_for_message("output/detections_2d", stamp).detections
    finally:
        probe.close()
        stop_node(process)


def test_a_file_that_is_no_detector_is_refused_in_one_line(ros, tmp_path: Path) -> None:
    path = fixed_outputs(tmp_path / "classes.onnx", {"probabilities": np.zeros((1, 1000), np.float32)})
    process = launch_node("model.weights:=none", f"detector.model:={path}", ENGINE, name="wrong")
    try:
        line = process.wait_for_line("cannot load the model")
        assert f"{path} gives probabilities 1x1000: that is a classifier, expected a detector of boxes" in line
    finally:
        stop_node(process)


def test_a_replay_tracks_what_the_detector_finds(tmp_path: Path) -> None:
    rows = np.array([[[10, 10, 40, 40, 0.9, 0], [60, 5, 90, 60, 0.8, 0]]], np.float32)
    path = fixed_outputs(tmp_path / "two.onnx", {"output0": rows}, size=(72, 96))  # an eighth of the images
    values = ("model.weights:=none", f"detector.model:={path}", ENGINE)
    assignments = [word for value in values for word in ("-p", value)]
    assert main(["replay", str(CLIP), "--output", str(tmp_path / "out"), *assignments]) == 0
    [(_, sequence)] = read_tracks(tmp_path / "out" / CLIP.name, "/centertrack/output").items()
    frames = list(sequence)
    assert len(frames) > 5
    boxes = frames[-1].tracks.detections.boxes
    np.testing.assert_allclose(boxes[boxes[:, 0].argsort()], 8 * rows[0, :, :4], atol=0.1)
    assert {tuple(sorted(frame.tracks.ids.tolist())) for frame in frames} == {(1, 2)}


@pytest.mark.parametrize("source", ["both", "public"])
def test_the_parameters_of_a_detector(tmp_path: Path, source: str) -> None:
    """A detector is there to be used: `network`, the default, means `external` then."""
    (tmp_path / "names.txt").write_text("gnome\nforklift\n")
    given = ["detector.model:=red.onnx", f"detector.class_names:=['{tmp_path / 'names.txt'}']", "detector.iou:=0.3"]
    parameters = load_parameters([], given)
    assert parameters.tracker.detector_source == "external" and parameters.detector.names == ("gnome", "forklift")
    assert parameters.session.detector.iou == 0.3
    parameters = load_parameters([], [*given, f"detector.source:={source}"])
    assert parameters.tracker.detector_source == source
    assert load_parameters().tracker.detector_source == "network"
    with pytest.raises(ValueError, match=r"nowhere\.txt: no such file"):
        load_parameters([], ["detector.class_names:=[nowhere.txt]"])
