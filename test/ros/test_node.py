"""The node in its own process, on real pictures through real DDS: what a user of its topics relies on."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from support.ros_harness import (
    ROOT,
    START_S,
    CameraClock,
    Probe,
    Process,
    camera_info_message,
    demo_frames,
    image_message,
    shared_memory,
    stamp_of,
    start_node,
    stop_node,
    wait_until,
)

OUTPUTS = (
    "output/detections_3d",
    "output/detections_2d",
    "output/markers",
    "debug/image",
    "debug/prior_heatmap",
    "debug/processing_time_ms",
    "debug/pipeline_latency_ms",
    "/diagnostics",
)


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return demo_frames(12)


@pytest.fixture(scope="module")
def own_messages() -> bool:
    try:
        from centertrack_ros.msg import TrackArray  # noqa: F401
    except ImportError:
        return False
    return True


@pytest.fixture(scope="module")
def node(ros) -> Iterator[Process]:
    process = start_node("diagnostics.period_s:=0.2")
    yield process
    stop_node(process)


@pytest.fixture(scope="module")
def probe(node, own_messages) -> Iterator[Probe]:
    probe = Probe(outputs=(*OUTPUTS, *(("output/tracks", "debug/timing") if own_messages else ())))
    probe.wait_for_node()
    yield probe
    probe.close()


@pytest.fixture
def clock(probe) -> CameraClock:
    """A later hour for every test: tracks of the test before are gone."""
    probe.hour = getattr(probe, "hour", time.time()) + 3600.0
    return CameraClock(probe.hour)


def play(probe: Probe, frames: list[np.ndarray], clock: CameraClock, topic: str = "output/detections_2d") -> list:
    """Publishes each picture when the one before is answered; returns the answers."""
    answers = []
    for frame in frames:
        stamp = clock.tick()
        probe.images.publish(image_message(frame, stamp))
        answers.append(probe.answer(topic, stamp))
    return answers


def test_people_who_stay_in_view_keep_their_ids_in_every_output(probe, frames, clock, own_messages) -> None:
    probe.infos.publish(camera_info_message(768, 576))
    time.sleep(0.3)
    answers = play(probe, frames, clock)
    ids = [{d.id for d in answer.detections} for answer in answers]
    assert len(ids[0]) >= 3 and len(ids[0] & ids[-1]) >= 3
    for answer in answers:
        stamp = stamp_of(answer)
        boxes = probe.answer("output/detections_3d", stamp)
        assert answer.header == boxes.header and answer.header.frame_id == "camera_optical"
        # What the usual size of its class does not lift is in 2D only; the rest is in the same order.
        lifted = {d.id for d in boxes.detections}
        assert [d.id for d in boxes.detections] == [d.id for d in answer.detections if d.id in lifted]
        assert {d.id for d in answer.detections if d.results[0].hypothesis.class_id == "person"} <= lifted
        for detection in (*answer.detections, *boxes.detections):
            assert detection.header == answer.header and detection.results[0].hypothesis.class_id
        for detection in boxes.detections:
            size, center = detection.bbox.size, detection.bbox.center.position
            assert min(size.x, size.y, size.z) > 0.1 and 2.0 < center.z < 200.0
            assert detection.results[0].pose.pose == detection.bbox.center
            assert detection.results[0].pose.covariance[14] > 0.0  # depth, of all the least certain
        if own_messages:
            tracks = probe.answer("output/tracks", stamp)
            live = [str(t.id) for t in tracks.tracks if t.state != t.STATE_LOST]
            assert live == [d.id for d in answer.detections]
            assert (tracks.image_width, tracks.image_height) == (768, 576)
    markers = wait_until(lambda: probe.received["output/markers"], 5.0, "markers")[-1]
    assert {m.ns for m in markers.markers} >= {"boxes", "labels"}


def test_pictures_and_times_for_who_subscribes(probe, frames, clock, own_messages) -> None:
    stamps = [stamp_of(a) for a in play(probe, frames[:3], clock)]
    picture = probe.answer("debug/image", stamps[-1])
    assert (picture.height, picture.width, picture.encoding) == (576, 768, "bgr8")
    drawn = np.frombuffer(picture.data, np.uint8).reshape(576, 768, 3)
    assert 0 < np.any(drawn != frames[2], axis=-1).mean() < 0.7
    heatmap = probe.answer("debug/prior_heatmap", stamps[-1])
    assert heatmap.encoding == "mono8" and max(heatmap.data) > 200  # people of the frame before
    first = probe.answer("debug/prior_heatmap", stamps[0])
    assert max(first.data) == 0
    assert probe.received["debug/processing_time_ms"][-1].data > 0.0
    if own_messages:
        timing = probe.answer("debug/timing", stamps[-1])
        stages = [timing.preprocess_ms, timing.network_ms, timing.postprocess_ms, timing.association_ms]
        assert min(stages) > 0.0 and sum(stages) <= timing.processing_ms
        assert timing.frames_received == timing.frames_processed + timing.frames_dropped


def test_label_info_reaches_who_comes_late(probe) -> None:
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from vision_msgs.msg import LabelInfo

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    probe.subscribe("output/label_info", LabelInfo, latched)
    [info] = wait_until(lambda: probe.received["output/label_info"], 10.0, "label_info")
    names = {c.class_id: c.class_name for c in info.class_map}
    assert len(names) == 80 and names[0] == "person" and names[2] == "car"


def test_images_that_come_too_fast_are_dropped_and_counted(probe, frames, clock, own_messages) -> None:
    """Published + dropped = received, the newest image is the one that is answered, and nothing is answered late."""
    before, answered = _camera_values(probe), len(probe.received["output/detections_2d"])
    stamps = [clock.tick() for _ in range(60)]
    for index, stamp in enumerate(stamps):
        probe.images.publish(image_message(frames[index % len(frames)], stamp))
        time.sleep(0.005)
    probe.answer("output/detections_2d", stamps[-1])
    answers = [stamp_of(m) for m in probe.received["output/detections_2d"][answered:]]
    assert answers == sorted(answers)

    def settled() -> dict | None:
        now = _camera_values(probe)
        gained = {key: int(now[key]) - int(before[key]) for key in ("received", "processed", "dropped", "rejected")}
        done = gained["received"] == gained["processed"] + gained["dropped"] + gained["rejected"]
        return gained if done and gained["processed"] == len(answers) else None

    gained = wait_until(settled, 10.0, "the counts to add up")
    assert gained["dropped"] > 10 and gained["rejected"] == 0
    assert int(_camera_values(probe)["received"]) == gained["received"] + int(before["received"])


def _camera_values(probe: Probe) -> dict[str, str]:
    """The camera's values in the next diagnostics."""
    seen = len(probe.received["/diagnostics"])
    return wait_until(lambda: probe.status("centertrack: camera", seen), 10.0, "diagnostics")[1]


def test_diagnostics_tell_the_health_of_a_camera(probe, frames, clock) -> None:
    from diagnostic_msgs.msg import DiagnosticStatus

    play(probe, frames[:4], clock)
    seen = len(probe.received["/diagnostics"])
    status, values = wait_until(lambda: probe.status("centertrack", seen), 10.0, "diagnostics")
    assert status.level == DiagnosticStatus.OK and values["device"] == "cpu"

    def stale() -> bool:
        status, _ = probe.status("centertrack: camera")
        return (
            status.level == DiagnosticStatus.ERROR and "waiting for image on /centertrack/input/image" in status.message
        )

    wait_until(stale, 10.0, "an ERROR about the camera that stopped")


def test_tracks_are_reset_by_service_and_by_time_going_back(probe, node, frames, clock) -> None:
    from std_srvs.srv import Trigger

    play(probe, frames[:4], clock)
    assert probe.call("reset_tracks", Trigger).success
    again = play(probe, frames[4:6], clock)
    assert [d.id for d in again[0].detections][:3] == ["1", "2", "3"]
    start = len(node.lines)
    highest = max(int(d.id) for d in again[-1].detections)
    back = play(probe, frames[:2], CameraClock(clock.now - 100.0))
    node.wait_for_line("reset: stamp went back by", start)
    assert min(int(d.id) for d in back[0].detections) > highest


def test_a_frame_that_was_overtaken_is_dropped_and_nothing_is_reset(probe, frames, clock) -> None:
    before = play(probe, frames[:3], clock)
    late = clock.now - 0.15
    probe.images.publish(image_message(frames[0], (int(late), int(late % 1 * 1e9))))
    probe.images.publish(image_message(frames[0], stamp_of(before[-1])))  # a duplicate
    time.sleep(0.5)
    after = play(probe, frames[3:4], clock)
    assert len({d.id for d in before[-1].detections} & {d.id for d in after[0].detections}) >= 3
    answered = [stamp_of(m) for m in probe.received["output/detections_2d"]]
    assert answered.count(stamp_of(before[-1])) == 1 and (int(late), int(late % 1 * 1e9)) not in answered


def test_disabled_it_ignores_images(probe, frames, clock) -> None:
    from std_srvs.srv import SetBool

    assert probe.call("enable", SetBool, data=False).success
    stamp = clock.tick()
    probe.images.publish(image_message(frames[0], stamp))
    time.sleep(1.0)
    assert probe.call("enable", SetBool, data=True).success
    play(probe, frames[1:2], clock)
    assert stamp not in [stamp_of(m) for m in probe.received["output/detections_2d"]]


def test_parameters_change_live_or_say_why_not(probe, frames, clock) -> None:
    from rcl_interfaces.msg import Parameter as ParameterMessage
    from rcl_interfaces.msg import ParameterType, ParameterValue
    from rcl_interfaces.srv import SetParameters

    def set_parameter(name: str, **value):
        parameter = ParameterMessage(name=name, value=ParameterValue(**value))
        return probe.call("set_parameters", SetParameters, parameters=[parameter]).results[0]

    texts = {"type": ParameterType.PARAMETER_STRING_ARRAY}
    number = {"type": ParameterType.PARAMETER_DOUBLE}
    assert len(play(probe, frames[:1], clock)[0].detections) >= 3
    assert set_parameter("detector.classes", string_array_value=["car"], **texts).successful
    assert not any(d.results[0].hypothesis.class_id != "car" for d in play(probe, frames[1:2], clock)[0].detections)
    refused = set_parameter("detector.classes", string_array_value=["unicorn"], **texts)
    assert not refused.successful and "unicorn" in refused.reason
    assert set_parameter("detector.classes", string_array_value=[""], **texts).successful
    assert not set_parameter("tracker.new_threshold", double_value=7.0, **number).successful
    refused = set_parameter("tracker.association", type=ParameterType.PARAMETER_STRING, string_value="magic")
    assert not refused.successful and "greedy" in refused.reason
    refused = set_parameter("model.device", type=ParameterType.PARAMETER_STRING, string_value="cuda")
    assert not refused.successful and "while the node is configured" in refused.reason
    assert len(play(probe, frames[2:3], clock)[0].detections) >= 3


def test_the_lifecycle_goes_round(probe, node, frames, clock) -> None:
    """Deactivated it is silent; cleaned up and configured again it works as before."""
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    def change(number: int) -> bool:
        return probe.call("change_state", ChangeState, transition=Transition(id=number)).success

    assert change(Transition.TRANSITION_DEACTIVATE)
    wait_until(lambda: not probe.images.get_subscription_count(), 10.0, "the node to stop listening")
    assert change(Transition.TRANSITION_CLEANUP)
    assert change(Transition.TRANSITION_CONFIGURE)
    assert change(Transition.TRANSITION_ACTIVATE)
    probe.wait_for_node()
    time.sleep(0.5)
    assert len(play(probe, frames[:2], clock)[-1].detections) >= 3


def test_lazy_it_rests_until_somebody_listens(ros, frames) -> None:
    node = start_node("output.lazy:=true", "diagnostics.period_s:=0.2", name="lazy")
    probe = Probe("lazy", outputs=("/diagnostics",))
    try:
        probe.wait_for_node()
        clock = CameraClock()

        def shown(kind: str) -> int:
            probe.images.publish(image_message(frames[0], clock.tick()))
            time.sleep(0.2)
            status = probe.status("lazy: camera")
            return int(status[1][kind]) if status else 0

        wait_until(lambda: shown("received") > 5, 20.0, "images to arrive")
        values = probe.status("lazy: camera")[1]
        assert values["processed"] == "0" and int(values["dropped"]) >= int(values["received"]) - 1
        probe.subscribe("output/detections_2d")
        wait_until(lambda: shown("processed") > 2, 20.0, "images to be answered")
        assert len(probe.received["output/detections_2d"][-1].detections) >= 3
    finally:
        probe.close()
        stop_node(node)


def test_cameras_of_one_process_are_tracked_each_for_itself(ros, frames) -> None:
    """One network for two cameras: same pictures, own ids; the one goes on when the other stops."""
    node = start_node("cameras:=[left,right]", name="pair")
    probes = [
        Probe("pair", side, (f"output/{side}/detections_2d", f"debug/{side}/image")) for side in ("left", "right")
    ]
    try:
        for probe in probes:
            probe.wait_for_node()
        clock = CameraClock()
        for index, frame in enumerate(frames):
            stamp = clock.tick()
            both = list(zip(probes, ("left", "right"), strict=True))[: 2 if index < 6 else 1]
            for probe, side in both:
                probe.images.publish(image_message(frame if side == "left" else frame[:, ::-1], stamp))
            answers = [probe.answer(f"output/{side}/detections_2d", stamp) for probe, side in both]
            for answer in answers:
                assert [d.id for d in answer.detections][:2] and answer.header.frame_id == "camera_optical"
        first, last = (probes[0].received["output/left/detections_2d"][i] for i in (0, -1))
        assert len({d.id for d in first.detections} & {d.id for d in last.detections}) >= 3
        assert {d.id for d in probes[1].received["output/right/detections_2d"][0].detections} >= {"1", "2", "3"}
        assert len(probes[1].received["output/right/detections_2d"]) == 6
    finally:
        for probe in probes:
            probe.close()
        stop_node(node)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_starts_ends_it_too(ros, number: int) -> None:
    process = Process([sys.executable, str(ROOT / "bin" / "centertrack_node")])
    time.sleep(1.0)
    code, took = process.end(number)
    assert code == 0 and took < 2.0 and not process.logged("Traceback"), "\n".join(process.lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_in_time_with_code_0(ros, number: int) -> None:
    """Its peers know at once that it is gone, and its memory is free again."""
    probe = Probe(f"ending_{int(number)}")
    try:
        others = set(Path("/dev/shm").iterdir())
        process = start_node(name=f"ending_{int(number)}")
        probe.wait_for_node()
        its_own = shared_memory(process.pid) - others
        code, took = process.end(number)
        assert code == 0 and took < 2.0, "\n".join(process.lines)
        assert not process.logged("Traceback")
        wait_until(lambda: not probe.images.get_subscription_count(), 2.0, "the end of its subscription")
        assert its_own and not any(path.exists() for path in its_own)
    finally:
        probe.close()


def test_without_its_own_messages_it_says_so_and_publishes_the_rest(ros, own_messages, frames) -> None:
    """What `pip install` alone gives: no generated centertrack_ros.msg."""
    if not own_messages:
        pytest.skip("the interfaces are not built here: every other test runs without them")
    import centertrack_ros.msg

    built = Path(centertrack_ros.msg.__file__).parents[2]
    if (built / "vision_msgs").is_dir():
        pytest.skip(f"{built} holds vision_msgs as well: it cannot be left out")
    rest = [str(ROOT), *(p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and Path(p) != built)]
    node = start_node(name="plain", PYTHONPATH=os.pathsep.join(rest))
    probe = Probe("plain", outputs=("output/detections_2d",))
    try:
        probe.wait_for_node()
        assert len(node.logged("~/output/tracks and ~/debug/timing are off")) == 1
        assert len(play(probe, frames[:1], CameraClock())[0].detections) >= 3
        topics = dict(probe.node.get_topic_names_and_types())
        assert "/plain/output/detections_3d" in topics and "/plain/output/tracks" not in topics
    finally:
        probe.close()
        stop_node(node)


def test_a_publisher_process_is_answered(ros, own_messages) -> None:
    """Three processes: the bag player with JPEG images, the node, and this one, which listens."""
    node = start_node(name="three")
    probe = None
    player = [sys.executable, "-m", "centertrack_ros.ros.player", str(ROOT / "demo" / "pets09_s2l1")]
    from centertrack_ros.io.rosbag import BagReader

    with BagReader(ROOT / "demo" / "pets09_s2l1") as reader:
        [topic] = reader.of_type("sensor_msgs/msg/CompressedImage")
    camera = Process([*player, "--loop", "0", "--remap", f"{topic.name}:=/three/input/image/compressed"])
    try:
        probe = Probe("three", outputs=("output/detections_2d",))
        # The probe's own raw publisher would make the node listen to raw images.
        probe.node.destroy_publisher(probe.images)
        answers = wait_until(lambda: probe.received["output/detections_2d"][8:], START_S, "answers to the player")
        assert len(answers[-1].detections) >= 3
        assert answers[-1].header.frame_id
    finally:
        camera.end()
        if probe:
            probe.close()
        stop_node(node)
