# SPDX-License-Identifier: Apache-2.0
"""Six cameras of a driving vehicle through the node: real pictures, real TF, one view."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest

from centertrack_ros.geometry.boxes2d import iou
from centertrack_ros.geometry.transform import Transform
from support.ros_harness import (
    Probe,
    TransformPublisher,
    camera_info_message,
    image_message,
    stamp_of,
    start_node,
    stop_node,
    wait_until,
)

# The body frame (x ahead, y left, z up) in the optical frame of a camera that looks ahead.
BODY_IN_OPTICAL = Transform(np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]), np.array([0.0, 1.5, -0.8]))
STEPS, RATE = 16, 5.0


def drive() -> dict[int, list[Any]]:
    """The street's frames by time step."""
    pytest.importorskip("panda3d", reason="panda3d, which renders the street, is not installed")
    from centertrack_ros.synthetic import Street, StreetConfig

    steps: dict[int, list[Any]] = defaultdict(list)
    for frame in Street(StreetConfig(seed=5, frames=STEPS, rate=RATE, rig="six", width=640, height=360, density=1.5)):
        steps[frame.index].append(frame)
    return steps


def true_ids(message: Any, frame: Any) -> dict[str, int]:
    """Published id -> id of the road user whose box it is, where one is clear."""
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
        f"cameras:=[{','.join(names)}]", "output.target_frame:=base_link", "output.fixed_frame:=map",
        "output.tf_timeout_s:=0.5", "detector.classes:=[person,car,truck,bus,bicycle]", name="six",
    )  # fmt: skip
    view = Probe("six", "unused", outputs=("output/detections_3d", "/diagnostics"))
    probes = {
        name: Probe("six", name, [f"output/{name}/detections_2d", f"output/{name}/detections_3d"]) for name in names
    }
    ids_of_user: dict[int, Counter[str]] = defaultdict(Counter)
    cameras_of_user: dict[int, set[str]] = defaultdict(set)
    published = twice = 0
    try:
        for probe in probes.values():
            probe.wait_for_node()
            probe.wait_for_node(probe.infos)
        tf = TransformPublisher(view)
        wait_until(tf.moving.get_subscription_count, 10.0, "the node to listen to /tf")
        time.sleep(0.5)
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

            def whole(stamp: Any = stamp, ids: set[str] = ids) -> Any:
                """The view of all six cameras: they may have come in several batches."""
                views = [m for m in list(view.received["output/detections_3d"]) if stamp_of(m) == stamp]
                return next((m for m in reversed(views) if {d.id for d in m.detections} >= ids), None)

            merged = wait_until(whole, 10.0, f"a view with the ids {sorted(ids)}")
            here = [d.id for d in merged.detections]
            assert merged.header.frame_id == "base_link" and len(here) == len(set(here))
            users: dict[int, set[str]] = defaultdict(set)
            for frame in steps[index]:
                for published_id, user in true_ids(flat[frame.camera_name.lower()], frame).items():
                    users[user].add(published_id)
                    ids_of_user[user][published_id] += 1
                    cameras_of_user[user].add(frame.camera_name)
            published += len(here)
            twice += sum(len(found & set(here)) - 1 for found in users.values() if found & set(here))
        changes = sum(len(ids) - 1 for ids in ids_of_user.values())
        several = sum(len(cameras) > 1 for cameras in cameras_of_user.values())
        print(
            f"\n{STEPS} views of six cameras, {published} boxes; {len(ids_of_user)} road users recognised, "
            f"{several} of them in several cameras; published twice {twice}, ids changed {changes}"
        )
        assert published > STEPS and twice <= 0.15 * published
        assert not node.logged("a frame failed")
        status = wait_until(lambda: view.status("six: cam_back"), 10.0, "diagnostics of a camera")
        assert status[1]["TF failures"] == "0"
    finally:
        for probe in (view, *probes.values()):
            probe.close()
        stop_node(node)
