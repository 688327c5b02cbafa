# SPDX-License-Identifier: Apache-2.0
"""Several cameras in one node: each with its own tracks, or all as one view of the vehicle's surroundings."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes2d import iou
from centertrack_ros.geometry.transform import Transform
from support.ros_harness import (
    CAMERA_MOUNT,
    RELIABLE,
    TORCH,
    CameraClock,
    Probe,
    Process,
    TransformPublisher,
    camera_info_message,
    ids_of,
    image_message,
    stamp_of,
    start_node,
    stop_node,
    wait_until,
)

SIDES = ("left", "right")


@pytest.fixture(scope="module")
def node(ros) -> Iterator[Process]:
    """With two cameras."""
    parameters = (f"cameras:=[{','.join(SIDES)}]", "diagnostics.period_s:=0.2", "detector.classes:=[person]")
    process = start_node(RELIABLE, TORCH, *parameters, name="pair")
    yield process
    stop_node(process)


@pytest.fixture(scope="module")
def probes(node) -> Iterator[dict[str, Probe]]:
    """A camera driver and subscriber for each side."""
    topics = ("output/{}/detections_2d", "output/{}/detections_3d", "debug/{}/image")
    probes = {side: Probe("pair", side, [topic.format(side) for topic in topics]) for side in SIDES}
    for probe in probes.values():
        probe.wait_for_node()
    yield probes
    for probe in probes.values():
        probe.close()


def test_without_a_target_frame_each_camera_has_tracks_of_its_own(probes, frames) -> None:
    """The second camera sees the mirrored image; the first continues when the second stops."""
    clock = CameraClock()
    for index, frame in enumerate(frames):
        stamp = clock.tick()
        sides = SIDES if index < 6 else SIDES[:1]
        for side in sides:
            probes[side].images.publish(image_message(frame if side == "left" else frame[:, ::-1], stamp))
        for side in sides:
            result = probes[side].wait_for_message(f"output/{side}/detections_2d", stamp)
            assert len(result.detections) >= 2 and result.header.frame_id == "camera_optical"
    left, right = (probes[side].received[f"output/{side}/detections_2d"] for side in SIDES)
    assert len(ids_of(left[0]) & ids_of(left[-1])) >= 3
    assert ids_of(right[0]) >= {"1", "2", "3"}
    assert len(right) == 6


class MergedView:
    """The merged view of two cameras that look at the same scene from the same place: both see the same objects."""

    def __init__(self, probes: dict[str, Probe]) -> None:
        self.cameras = probes
        self.probe = Probe("pair", "unused", outputs=("output/detections_3d", "output/markers", "/diagnostics"))
        with contextlib.suppress(ImportError):  # where the interfaces are not built
            self.probe.subscribe("output/tracks")
        for camera in probes.values():
            camera.calibrate()
        frames = {"output.target_frame": "base_link", "output.fixed_frame": "odom"}
        assert all(result.successful for result in self.probe.set_parameters(**frames))
        tf = TransformPublisher(self.probe)
        tf.wait_for_node()
        tf.publish("base_link", "camera_optical", CAMERA_MOUNT)
        tf.publish("odom", "base_link", Transform.identity())
        time.sleep(0.3)

    def show(self, frame: NDArray[np.uint8], clock: CameraClock, sides: Sequence[str]) -> tuple[Any, dict[str, Any]]:
        """Publishes a frame on these cameras; returns the merged view that contains all, and the cameras' results."""
        stamp = clock.tick()
        for side in sides:
            self.cameras[side].show(frame, stamp)
        results = {side: self.cameras[side].wait_for_message(f"output/{side}/detections_3d", stamp) for side in sides}
        # Simultaneous images are processed together or one after the other.
        count = max(len(result.detections) for result in results.values())

        def merged() -> Any:
            views = [m for m in list(self.probe.received["output/detections_3d"]) if stamp_of(m) == stamp]
            return views[-1] if views and len(views[-1].detections) >= count else None

        return wait_until(merged, 20.0, f"a view of {count} objects"), results

    def close(self) -> None:
        self.probe.close()


@pytest.fixture
def view(probes) -> Iterator[MergedView]:
    pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not installed (make builds it from compat/tf2_msgs)")
    view = MergedView(probes)
    yield view
    view.close()


def test_several_cameras_are_one_view_with_every_person_once(node, view, frames) -> None:
    """Two cameras see the same people; then only the first does, then only the second: ids stay, nobody is doubled."""
    clock, seen = CameraClock(time.time() + 3600.0), []
    for index, frame in enumerate(frames):
        sides = SIDES if index < 4 else SIDES[:1] if index < 8 else SIDES[1:]
        merged, results = view.show(frame, clock, sides)
        assert merged.header.frame_id == "base_link" and len(ids_of(merged)) == len(merged.detections)
        assert all(ids_of(result) <= ids_of(merged) for result in results.values())
        seen.append(ids_of(next(iter(results.values()))))
        if index in (3, 7):  # the view keeps for half a second what another camera saw last
            both = [ids_of(result) for result in results.values()]
            assert len(both[0] & both[-1]) == len(both[0]) == len(merged.detections) >= 3
        for detection in merged.detections:
            assert detection.header == merged.header and detection.bbox.center.position.x > 3.0
    print(f"\nids by frame: {', '.join('/'.join(sorted(ids, key=int)) for ids in seen)}")
    assert len(seen[0] & seen[-1]) >= 3
    assert len(seen[7] & seen[8]) >= 3  # from the left camera to the right one
    _, values = wait_until(lambda: view.probe.status("pair: left"), 10.0, "diagnostics of a camera")
    assert values["TF failures"] == "0"
    markers = wait_until(lambda: view.probe.received["output/markers"], 5.0, "markers")[-1]
    assert {m.header.frame_id for m in markers.markers} == {"base_link"}
    for message in view.probe.received["output/tracks"]:
        same = [m for m in view.probe.received["output/detections_3d"] if m.header == message.header]
        assert {str(t.id) for t in message.tracks} in [ids_of(m) for m in same]
        assert all(t.class_name == "person" and t.bbox_3d.center.position.x > 3.0 for t in message.tracks)

    [result] = view.probe.set_parameters(**{"surround.cross_camera_ids": False})
    assert result.successful
    merged, results = view.show(frames[0], clock, SIDES)
    own = [ids_of(result) for result in results.values()]
    assert not own[0] & own[1] and len(own[0]) == len(own[1]) == len(merged.detections) >= 3

    # Without a target frame there is no view, and each camera counts its own tracks from 1.
    view.probe.set_parameters(**{"output.fixed_frame": "", "output.target_frame": ""})
    before, stamp = len(view.probe.received["output/detections_3d"]), clock.tick()
    for side in SIDES:
        view.cameras[side].show(frames[1], stamp)
    for side in SIDES:
        result = view.cameras[side].wait_for_message(f"output/{side}/detections_3d", stamp)
        assert result.header.frame_id == "camera_optical" and ids_of(result) >= {"1", "2"}
    assert len(view.probe.received["output/detections_3d"]) == before
    assert not node.logged("a frame failed")


# Six cameras of a driving vehicle

# The body frame (x ahead, y left, z up) in the optical frame of a camera that looks ahead.
BODY_IN_OPTICAL = Transform(np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]), np.array([0.0, 1.5, -0.8]))
STEPS, RATE = 16, 5.0


def drive() -> dict[int, list[Any]]:
    """The frames of a synthetic street by time step."""
    pytest.importorskip("panda3d", reason="panda3d, which renders the street, is not installed")
    from centertrack_ros.synthetic import Street, StreetConfig

    steps: dict[int, list[Any]] = defaultdict(list)
    for frame in Street(StreetConfig(seed=5, frames=STEPS, rate=RATE, rig="six", width=640, height=360, density=1.5)):
        steps[frame.index].append(frame)
    return steps


def true_ids(message: Any, frame: Any) -> dict[str, int]:
    """Published id -> id of the road user whose box it is (IoU above 0.5)."""
    if not message.detections or not len(frame.tracks):
        return {}
    boxes = np.array(
        [
            (b.center.position.x - b.size_x / 2, b.center.position.y - b.size_y / 2,
             b.center.position.x + b.size_x / 2, b.center.position.y + b.size_y / 2)
            for b in (d.bbox for d in message.detections)
        ]
    )  # fmt: skip
    overlaps = iou(boxes, frame.tracks.detections.boxes)
    best = overlaps.argmax(axis=1)
    return {
        d.id: int(frame.tracks.ids[best[i]]) for i, d in enumerate(message.detections) if overlaps[i, best[i]] > 0.5
    }


@pytest.mark.slow
def test_six_cameras_of_a_driving_vehicle_are_one_view(ros) -> None:
    pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not installed (make builds it from compat/tf2_msgs)")
    steps = drive()
    names = [frame.camera_name.lower() for frame in steps[0]]
    node = start_node(
        RELIABLE, f"cameras:=[{','.join(names)}]", "output.target_frame:=base_link", "output.fixed_frame:=map",
        "output.tf_timeout_s:=0.5", "detector.classes:=[person,car,truck,bus,bicycle]", name="six",
    )  # fmt: skip
    merged_view = Probe("six", "unused", outputs=("output/detections_3d", "/diagnostics"))
    probes = {
        name: Probe("six", name, [f"output/{name}/detections_2d", f"output/{name}/detections_3d"]) for name in names
    }
    ids_of_user: dict[int, Counter[str]] = defaultdict(Counter)
    cameras_of_user: dict[int, set[str]] = defaultdict(set)
    published = duplicates = 0
    try:
        for probe in probes.values():
            probe.wait_for_node()
            probe.wait_for_node(probe.infos)
        tf = TransformPublisher(merged_view)
        tf.wait_for_node()
        start = int(time.time())
        for index in range(STEPS):
            stamp = (start + int(index / RATE), round(index / RATE % 1 * 1e9))
            for frame in steps[index]:
                pose, name = Transform.from_matrix(frame.pose), frame.camera_name.lower()
                tf.publish("map", f"{name}_optical", pose, stamp)
                if name == "cam_front":
                    tf.publish("map", "base_link", pose @ BODY_IN_OPTICAL, stamp)
            for frame in steps[index]:
                name = frame.camera_name.lower()
                info = camera_info_message(640, 360, stamp)
                info.k = frame.camera.projection[:, :3].flatten()
                image = image_message(frame.image, stamp)
                image.header.frame_id = f"{name}_optical"
                probes[name].infos.publish(info)
                probes[name].images.publish(image)
            flat = {name: probes[name].wait_for_message(f"output/{name}/detections_2d", stamp) for name in names}
            boxes = {name: probes[name].wait_for_message(f"output/{name}/detections_3d", stamp) for name in names}
            ids = {d.id for message in boxes.values() for d in message.detections}

            def complete(stamp: Any = stamp, ids: set[str] = ids) -> Any:
                """The view with all six cameras: their images may be processed in several batches."""
                views = [m for m in list(merged_view.received["output/detections_3d"]) if stamp_of(m) == stamp]
                return next((m for m in reversed(views) if {d.id for d in m.detections} >= ids), None)

            merged = wait_until(complete, 10.0, f"a view with the ids {sorted(ids)}")
            here = [d.id for d in merged.detections]
            assert merged.header.frame_id == "base_link" and len(here) == len(set(here))
            users: dict[int, set[str]] = defaultdict(set)
            for frame in steps[index]:
                for published_id, user in true_ids(flat[frame.camera_name.lower()], frame).items():
                    users[user].add(published_id)
                    ids_of_user[user][published_id] += 1
                    cameras_of_user[user].add(frame.camera_name)
            published += len(here)
            duplicates += sum(len(found & set(here)) - 1 for found in users.values() if found & set(here))
        changes = sum(len(ids) - 1 for ids in ids_of_user.values())
        several = sum(len(cameras) > 1 for cameras in cameras_of_user.values())
        print(
            f"\n{STEPS} views of six cameras, {published} boxes; {len(ids_of_user)} road users recognised, "
            f"{several} of them in several cameras; duplicates {duplicates}, ids changed {changes}"
        )
        assert published > STEPS and duplicates <= 0.15 * published
        assert not node.logged("a frame failed")
        status = wait_until(lambda: merged_view.status("six: cam_back"), 10.0, "diagnostics of a camera")
        assert status[1]["TF failures"] == "0"
    finally:
        for probe in (merged_view, *probes.values()):
            probe.close()
        stop_node(node)
