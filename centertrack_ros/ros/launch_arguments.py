"""What the launch files share: tables of their arguments, and what the values of these mean for a node.

The tables and the functions on values are plain Python: launch and launch_ros are needed for actions only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

PACKAGE = "centertrack_ros"
PRESETS = ("default", "coco", "coco_pose", "crowdhuman", "mot17", "kitti", "nuscenes")
NUSCENES_CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")
# Fast DDS reads the path of its profile from one of these: the first up to Jazzy, the second from Kilted on.
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
_OLD_DISTRIBUTIONS = ("humble", "iron", "jazzy")
_YES_NO = ("true", "false")
_OPEN = ("", *_YES_NO)


@dataclass(frozen=True)
class Argument:
    """One argument of a launch file.

    default    its value when none is given; None: one must be given
    choices    the only values that are taken; none: any
    parameter  the parameter of the node that a value other than '' sets, and its type
    topic      the topic of the node that a value other than '' renames
    """

    name: str
    default: str | None
    text: str
    choices: tuple[str, ...] = ()
    parameter: str = ""
    kind: type = str
    topic: str = ""


NODE = (
    Argument("name", "centertrack", "Name of the node"),
    Argument("namespace", "", "Namespace of the node"),
    Argument("preset", "default", "Parameters that suit the weights: a file of config/, without .yaml", PRESETS),
    Argument("params_file", "", "YAML file of your own parameters, which win over the preset's"),
    Argument("weights", "", "Path of a checkpoint; empty: the preset's, by default the embedded COCO model",
             parameter="model.weights"),
    Argument("engine", "", "What runs the network; empty: as in the preset, auto: the fastest that is there",
             parameter="model.engine"),
    Argument("device", "", "Where it runs: auto, cpu, cuda, cuda:1, …; empty: as in the preset",
             parameter="model.device"),
    Argument("transport", "", "Images to read; empty: as in the preset, auto: what is published",
             ("", "auto", "raw", "compressed"), "camera.transport"),
    Argument("reliability", "", "QoS of the image subscriptions; empty: as in the preset, best_effort",
             ("", "best_effort", "reliable"), "camera.reliability"),
    Argument("rectified", "", "Images are rectified: P of camera_info holds, else K and D; empty: as in the preset",
             _OPEN, "camera.rectified", bool),
    Argument("target_frame", "", "TF frame of the 3D outputs, such as base_link; empty: the camera's optical frame",
             parameter="output.target_frame"),
    Argument("fixed_frame", "", "TF frame that does not move with the vehicle, such as odom; empty: none is known",
             parameter="output.fixed_frame"),
    Argument("tf_timeout_s", "", "Seconds that a TF look-up may take; empty: as in the preset",
             parameter="output.tf_timeout_s", kind=float),
    Argument("autostart", "", "Activate the node; false: a lifecycle manager does; empty: as in the preset",
             _OPEN, "autostart", bool),
    Argument("use_sim_time", "", "Take the time from /clock, as when a bag is played; empty: as in the preset",
             _OPEN, "use_sim_time", bool),
    Argument("respawn", "false", "Start the node again, 2 s later, when its process ends by itself", _YES_NO),
    Argument("prefix", "", "Put before the node's command: a virtual environment's python, nice, gdb --args, …"),
    Argument("dds_profile", "true", "Give every process config/fastdds.xml, without which Fast DDS loses most large "
             "images; a profile named in the environment stays", _YES_NO),
    Argument("log_level", "info", "Of the node", ("debug", "info", "warn", "error", "fatal")),
)  # fmt: skip
RVIZ = (
    Argument("rviz", "false", "Start RViz", _YES_NO),
    Argument("rviz_config", "", "RViz configuration; empty: that of config/rviz which suits"),
    Argument("rviz_frame", "", "Fixed frame of RViz; empty: target_frame, else that of the configuration"),
)


def _topic(name: str, topic: str, text: str) -> Argument:
    return Argument(name, topic, text, topic=topic)


ONE_CAMERA = (
    _topic("image", "~/input/image", "Images, sensor_msgs/Image"),
    Argument("image_compressed", "", "The same as CompressedImage; empty: the value of image with /compressed",
             topic="~/input/image/compressed"),
    _topic("camera_info", "~/input/camera_info", "Calibration; without one there are no 3D boxes"),
    _topic("detections_3d", "~/output/detections_3d", "Result, vision_msgs/Detection3DArray"),
    _topic("detections_2d", "~/output/detections_2d", "Result, vision_msgs/Detection2DArray"),
    _topic("tracks", "~/output/tracks", "Result, centertrack_ros/TrackArray"),
    _topic("markers", "~/output/markers", "Result, visualization_msgs/MarkerArray for RViz"),
    _topic("label_info", "~/output/label_info", "Classes, vision_msgs/LabelInfo"),
    _topic("debug_image", "~/debug/image", "Images with the results drawn in"),
    _topic("prior_heatmap", "~/debug/prior_heatmap", "What the network was told of the tracks"),
)  # fmt: skip
_PATTERNS = {"image": "/{camera}/image_raw", "camera_info": "/{camera}/camera_info"}
_CROSS_CAMERA_IDS = Argument(
    "cross_camera_ids", "", "A track keeps its id from camera to camera; empty: as in the preset", _OPEN,
    "surround.cross_camera_ids", bool,
)  # fmt: skip
SURROUND = (
    Argument("cameras", ",".join(NUSCENES_CAMERAS), "Names of the cameras, with commas between them"),
    Argument("image", _PATTERNS["image"], "Images of each camera; {camera} stands for its name"),
    Argument("camera_info", _PATTERNS["camera_info"], "Calibration of each camera; {camera} stands for its name"),
    _CROSS_CAMERA_IDS,
    _topic("detections_3d", "~/output/detections_3d", "The merged view, vision_msgs/Detection3DArray"),
    _topic("tracks", "~/output/tracks", "The merged view, centertrack_ros/TrackArray"),
    _topic("markers", "~/output/markers", "The merged view, visualization_msgs/MarkerArray for RViz"),
    *(Argument(f"{camera}_{kind}", "", f"{text} of {camera}, when {kind} does not fit")
      for camera in NUSCENES_CAMERAS for kind, text in (("image", "Images"), ("camera_info", "Calibration"))),
)  # fmt: skip
REPLAY = (
    Argument("bag", None, "Folder or file of the bag"),
    Argument("rate", "1.0", "Speed, as a factor"),
    Argument("start_offset", "0.0", "Seconds of the bag to leave out at its start"),
    Argument("clock_rate", "100", "Messages on /clock, in Hz; 0: none, for a bag that has a /clock of its own"),
    Argument("loop", "false", "Begin anew at the end; the jump back in time resets the tracks", _YES_NO),
    Argument("play_arguments", "", "Further arguments of ros2 bag play, such as --topics /camera/image_raw"),
    Argument("end_with_bag", "true", "Stop everything when the bag ends", _YES_NO),
    Argument("cameras", "", "Empty: one camera; else as in surround.launch.py, where nuscenes stands for its six"),
    _CROSS_CAMERA_IDS,
)


def with_defaults(arguments: Iterable[Argument], **defaults: str) -> tuple[Argument, ...]:
    """The same arguments, some with another default."""
    return tuple(replace(a, default=defaults.get(a.name, a.default)) for a in arguments)


def is_true(value: str) -> bool:
    return value == "true"


def share() -> Path:
    """The folder in which the installed package's launch/ and config/ lie."""
    from ament_index_python.packages import get_package_share_directory

    return Path(get_package_share_directory(PACKAGE))


def parameters(values: Mapping[str, str], arguments: Iterable[Argument]) -> dict[str, Any]:
    """Those parameters of the node for which an argument was given. Raises ValueError for a bad number."""
    found: dict[str, Any] = {}
    for argument in arguments:
        text = values[argument.name]
        if not argument.parameter or text == "":
            continue
        try:
            found[argument.parameter] = is_true(text) if argument.kind is bool else argument.kind(text)
        except ValueError:
            raise ValueError(f"{argument.name}:={text} should be a {argument.kind.__name__}") from None
    return found


def topics(values: Mapping[str, str], arguments: Iterable[Argument]) -> dict[str, str]:
    """Topic of the node -> its name, its own or the one that an argument gives it. Raises ValueError."""
    outputs = {a.topic: values[a.name] for a in arguments if a.topic and not a.topic.startswith("~/input/")}
    if values.get("cameras"):
        found = outputs
        for camera in camera_names(values):
            found.update(_camera_topics(camera, values))
        return found
    compressed = values["image_compressed"] or f"{values['image']}/compressed"
    inputs = {"image": values["image"], "image/compressed": compressed, "camera_info": values["camera_info"]}
    return {**{f"~/input/{topic}": name for topic, name in inputs.items()}, **outputs}


def camera_names(values: Mapping[str, str]) -> list[str]:
    """The cameras of a surround view; 'nuscenes' stands for its six. Raises ValueError for a bad list."""
    if values["cameras"] == "nuscenes":
        return list(NUSCENES_CAMERAS)
    found = [name.strip() for name in values["cameras"].split(",") if name.strip()]
    if not found or len(set(found)) != len(found):
        raise ValueError(f"cameras:={values['cameras']} should be names that differ, with commas between them")
    return found


def _camera_topics(camera: str, values: Mapping[str, str]) -> dict[str, str]:
    """Those of one of several cameras."""
    found = {}
    for kind, pattern in _PATTERNS.items():
        name = values.get(f"{camera}_{kind}") or (pattern if values[kind].startswith("~") else values[kind])
        if not values.get(f"{camera}_{kind}") and "{camera}" not in name:
            raise ValueError(f"{kind}:={name} should have {{camera}} in it, for there are several cameras")
        found[kind] = name.replace("{camera}", camera)
    return {
        f"~/input/{camera}/image": found["image"],
        f"~/input/{camera}/image/compressed": f"{found['image']}/compressed",
        f"~/input/{camera}/camera_info": found["camera_info"],
        f"~/output/{camera}/markers": f"~/output/{camera}/markers",
        f"~/debug/{camera}/image": f"~/debug/{camera}/image",
    }


def resolved(topic: str, name: str, namespace: str) -> str:
    """The full name of a topic of a node, as rcl makes it."""
    node = "/" + "/".join(part for part in (namespace.strip("/"), name) if part)
    if topic.startswith("~"):
        return node + topic[1:]
    return topic if topic.startswith("/") else f"{node.rsplit('/', 1)[0]}/{topic}"


def rviz_remappings(named: Mapping[str, str], name: str, namespace: str) -> list[tuple[str, str]]:
    """From the topics of our RViz configurations, which are those of a node with nothing renamed, to where they are."""
    own = NODE[0].default or ""
    pairs = [(resolved(topic, own, ""), resolved(new, name, namespace)) for topic, new in named.items()]
    return [(old, new) for old, new in pairs if old != new]


def profile_variable(environment: Mapping[str, str], wanted: bool) -> str:
    """The variable that Fast DDS needs for our profile; '' if it is not wanted, or the user has a profile."""
    if not wanted or any(environment.get(name) for name in PROFILE_VARIABLES):
        return ""
    return PROFILE_VARIABLES[environment.get("ROS_DISTRO") not in _OLD_DISTRIBUTIONS]


# What follows needs launch and launch_ros.


def declare(arguments: Iterable[Argument]) -> list[Any]:
    """The declarations, for a LaunchDescription."""
    from launch.actions import DeclareLaunchArgument

    return [
        DeclareLaunchArgument(a.name, default_value=a.default, description=a.text, choices=list(a.choices) or None)
        for a in arguments
    ]


def values_of(context: Any, arguments: Iterable[Argument]) -> dict[str, str]:
    """The values of the arguments, and of any others that were given, such as topics of cameras unknown here."""
    return {**context.launch_configurations, **{a.name: context.launch_configurations[a.name] for a in arguments}}


def dds_profile(values: Mapping[str, str]) -> list[Any]:
    """What gives every process that is started later the profile for large images."""
    from launch.actions import SetEnvironmentVariable

    name = profile_variable(os.environ, is_true(values["dds_profile"]))
    return [SetEnvironmentVariable(name, str(share() / "config" / "fastdds.xml"))] if name else []


def node(values: Mapping[str, str], arguments: Iterable[Argument], named: Mapping[str, str]) -> Any:
    """The node: the preset, then the user's file, then what arguments say; `named`: topic of the node -> its name."""
    from launch_ros.actions import LifecycleNode
    from launch_ros.parameter_descriptions import ParameterValue

    files = [str(share() / "config" / f"{values['preset']}.yaml"), values["params_file"]]
    # A string is a string, also where YAML would see a number in it.
    given: dict[str, Any] = {
        name: ParameterValue(value, value_type=str) if isinstance(value, str) else value
        for name, value in parameters(values, arguments).items()
    }
    if values.get("cameras"):
        given["cameras"] = camera_names(values)
    logger = ".".join(part for part in (*values["namespace"].split("/"), values["name"]) if part)
    return LifecycleNode(
        package=PACKAGE,
        executable="centertrack_node",
        name=values["name"],
        namespace=values["namespace"],
        parameters=[file for file in files if file] + ([given] if given else []),
        remappings=[(topic, new) for topic, new in named.items() if topic != new],
        ros_arguments=["--log-level", f"{logger}:={values['log_level']}"],
        prefix=values["prefix"] or None,
        respawn=is_true(values["respawn"]),
        respawn_delay=2.0,
        output="screen",
        emulate_tty=True,
    )


def rviz(values: Mapping[str, str], named: Mapping[str, str]) -> list[Any]:
    """RViz, if it is wanted, on the topics of this node; where it is not installed, a line in the log."""
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix
    from launch.actions import LogInfo
    from launch_ros.actions import Node

    if not is_true(values["rviz"]):
        return []
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return [LogInfo(msg="RViz is left out: the package rviz2 is not installed")]
    config = share() / "config" / "rviz" / ("surround.rviz" if values.get("cameras") else "centertrack.rviz")
    frame = values["rviz_frame"] or values["target_frame"]
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            name="rviz_centertrack",
            arguments=["-d", values["rviz_config"] or str(config), *(["-f", frame] if frame else [])],
            remappings=rviz_remappings(named, values["name"], values["namespace"]),
            parameters=[{"use_sim_time": is_true(values["use_sim_time"])}],
            output="screen",
        )
    ]
