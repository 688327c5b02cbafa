# SPDX-License-Identifier: Apache-2.0
"""The message definitions: those of vision_msgs are the original ones, ours agree with the code."""

import json
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# RIHS01 type hashes of ros-perception/vision_msgs 4, equal from Humble to Rolling: two nodes talk only if theirs agree.
VISION_MSGS = {
    "BoundingBox2D": "008eacbb0cf8f26e83795547bed013eec3675485ef386ec056d80eaaf1c1ce2f",
    "BoundingBox2DArray": "2464e82838009386d371b523211c21c91d74d313fcdd6788223c531d621cf691",
    "BoundingBox3D": "bbb73a65c163d7f9bb29009c7bde9f7faa576bd2d23299c4511d19230dab4698",
    "BoundingBox3DArray": "a81938db9576b10c2eecd7c5a5da3eac496efd00221b25ed051dfbc81fb56da6",
    "Classification": "f74db28d0eaef3afb78f48bf2161cd709a1383a0309d3454383b25be11345143",
    "Detection2D": "0d12b69df5c593b3455b7346fac8205437a7d4bcb09b9e0e0b2dde787ded38ea",
    "Detection2DArray": "214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968",
    "Detection3D": "ddd703be132ab0b69d33121f1bb034132bfbb3b0ac5f9fb1516005ba1c8a265b",
    "Detection3DArray": "793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018",
    "LabelInfo": "3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783",
    "ObjectHypothesis": "51da43cec11c01957a64d1e05a24acd18aae7745ec30b74348ad5f6d634f7f90",
    "ObjectHypothesisWithPose": "41c12344c0396c48b81df12467c192d99b2a0eb1463c5c37194e4223251c80bc",
    "Point2D": "eab0e83f44ab4de92ceaf76dd7d0e7638f2bdd1d16ffbe16c7a136c48e407247",
    "Pose2D": "b0b5d1d7b4c20dd4fcde3ed1d4b289a919290572007d67a97043814db25d3648",
    "VisionClass": "1e4a11f0fed50b5623cb8ff26ca0e37952a48a9c074d16f804b44e9164c2037a",
    "VisionInfo": "95d3116a17484ad91c9a2686e1d54890bbfc3ff6c6a2de137738c4950d45d284",
}

TF2_MSGS = {"TFMessage": "e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087"}

# Of autowarefoundation/autoware_msgs 1.12, computed by rosidl from its definitions: nobody publishes them.
AUTOWARE = {
    "DetectedObject": "395e8cae03c45c86ddb3263f9db58f5a1364bdabdcec56c24c817a372f7d566f",
    "DetectedObjectKinematics": "a01b4e06aa855e7a501b1af1e7c6a9eddb70e728e8f1195372ff5801cae1c9eb",
    "DetectedObjects": "2facd6b15786cbd1f720cdd23d22e6d60d2e7e83b8dff8fd401330e24edb187b",
    "ObjectClassification": "38131fef2df46486c20c12c238faf778328309f4c3e9daa6ffd621732e48dd19",
    "Shape": "1a32ac3073c17e4822d39b7f4c263eb1c4a2bacbf707d6db96e77e867063562b",
    "TrackedObject": "3feae2f15953814466d9c0b88485f423d18d94c351877d8fd1645270222c3526",
    "TrackedObjectKinematics": "9bcc5af91f7802926c091b89fea44d29f8ce04cb34bd62b98844afab21e49ec7",
    "TrackedObjects": "3559bd4e62ce8a4d96e32720c02bbe656cc090bb2b3f3f91f52a7c3ab095417a",
}


def type_hashes(package: str) -> dict[str, str]:
    """Message name -> hash in the first prefix that contains the package; skips where none does."""
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        files = sorted(Path(prefix, "share", package, "msg").glob("*.json"))
        if files:
            described = [entry for file in files for entry in json.loads(file.read_text())["type_hashes"]]
            start = f"{package}/msg/"
            mine = {e["type_name"]: e["hash_string"] for e in described if e["type_name"].startswith(start)}
            return {name[len(start) :]: value.removeprefix("RIHS01_") for name, value in mine.items()}
    pytest.skip(f"{package} is in no AMENT_PREFIX_PATH, or is older than type hashes (Humble)")


def test_vision_msgs_has_the_hashes_of_the_original() -> None:
    assert type_hashes("vision_msgs") == VISION_MSGS


def test_tf2_msgs_has_the_hashes_of_the_original() -> None:
    built = type_hashes("tf2_msgs")
    assert {name: built[name] for name in TF2_MSGS} == TF2_MSGS


def test_the_objects_of_autoware_have_the_hashes_of_the_original() -> None:
    built = type_hashes("autoware_perception_msgs")
    assert {name: built[name] for name in AUTOWARE} == AUTOWARE


def test_every_definition_of_this_package_is_built() -> None:
    built = type_hashes("centertrack_ros")
    assert set(built) == {path.stem for path in (ROOT / "msg").glob("*.msg")}


def test_messages_are_imported_beside_the_sources() -> None:
    """The source tree comes first on sys.path, the generated messages lie in another prefix: both are one package."""
    messages = pytest.importorskip("centertrack_ros.msg", reason="the messages are not built (make setup)")
    import centertrack_ros

    assert Path(str(centertrack_ros.__file__)).parent == ROOT / "centertrack_ros"
    assert ROOT / "centertrack_ros" not in Path(str(messages.__file__)).parents
    assert messages.TrackArray().tracks == []


def test_a_track_survives_serialisation() -> None:
    pytest.importorskip("centertrack_ros.msg", reason="the messages are not built (make setup)")
    from rclpy.serialization import deserialize_message, serialize_message

    from centertrack_ros.msg import Track, TrackArray

    track = Track(id=2**63, class_name="pedestrian", state=Track.STATE_LOST, lift=Track.LIFT_SIZE_PRIOR, age=3)
    track.covariance[0] = 0.25
    track.displacement.x = -4.5
    sent = TrackArray(image_width=1600, image_height=900, reset=True, reset_reason="gap of 2.0 s", tracks=[track])
    assert deserialize_message(serialize_message(sent), TrackArray) == sent


def test_states_in_the_message_are_those_of_the_tracker() -> None:
    """The ROS-free core cannot import the message and repeats its numbers."""
    from centertrack_ros import types

    text = (ROOT / "msg" / "Track.msg").read_text()
    stated = {name: int(value) for name, value in re.findall(r"^uint8 (STATE_\w+) = (\d+)", text, re.MULTILINE)}
    assert stated == {name: getattr(types, name) for name in ("STATE_NEW", "STATE_TRACKED", "STATE_LOST")}
    motions = {name: int(value) for name, value in re.findall(r"^uint8 (MOTION_\w+) = (\d+)", text, re.MULTILINE)}
    assert motions == {name: getattr(types, name) for name in ("MOTION_UNKNOWN", "MOTION_STANDING", "MOTION_MOVING")}


def test_cmake_lists_every_definition() -> None:
    text = (ROOT / "CMakeLists.txt").read_text()
    assert set(re.findall(r"msg/(\w+)\.msg", text)) == {path.stem for path in (ROOT / "msg").glob("*.msg")}
    assert set(re.findall(r"srv/(\w+)\.srv", text)) == {path.stem for path in (ROOT / "srv").glob("*.srv")}
