# SPDX-License-Identifier: Apache-2.0
"""The arguments of the launch files as tables, and their translation into parameters, topics and actions.

The tables and the functions on values are plain Python; only the functions at the end need launch and launch_ros.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from centertrack_ros.ros.camera_names import check_camera_names
from centertrack_ros.ros.ending import END_WITH_PARENT

PACKAGE = "centertrack_ros"
PRESETS = ("default", "official", "coco", "coco_pose", "crowdhuman", "mot17", "kitti", "nuscenes")
NUSCENES_CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")
# Fast DDS reads the path of its XML profile from one of these: the first up to Jazzy, the second from Kilted on.
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
_OLD_DISTRIBUTIONS = ("humble", "iron", "jazzy")
_BOOLEAN = ("true", "false")
_OPTIONAL_BOOLEAN = ("", *_BOOLEAN)


@dataclass(frozen=True)
class Argument:
    """One argument of a launch file.

    Attributes:
        name: of the argument.
        default: its default value; None: the argument is required.
        text: its description.
        choices: the allowed values; empty: any.
        parameter: the node's parameter that a value other than '' sets; with a topic, one that is true then.
        kind: the type of that parameter.
        topic: the node's topic that a value other than '' remaps.
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
    Argument("params_file", "", "YAML file of your own parameters, which override the preset's"),
    Argument("weights", "", "Path of a checkpoint; empty: the preset's, by default the embedded COCO model",
             parameter="model.weights"),
    Argument("engine", "", "Engine that runs the network; empty: as in the preset, auto: the fastest one available",
             parameter="model.engine"),
    Argument("device", "", "Device of the network: auto, cpu, cuda, cuda:1, …; empty: as in the preset",
             parameter="model.device"),
    Argument("classes", "", "Classes and sets of classes to report, separated by commas: person,car or road, people, "
             "all, …; empty: as in the preset", parameter="detector.classes", kind=list),
    Argument("input_pixels", "", "px of the network's input, in the images' own aspect, for instance 262144; empty: as "
             "in the preset", parameter="model.input_pixels", kind=int),
    Argument("transport", "", "Image topic to subscribe to; empty: as in the preset, auto: the one that is published",
             ("", "auto", "raw", "compressed"), "camera.transport"),
    Argument("reliability", "", "QoS of the image subscriptions; empty: as in the preset, best_effort",
             ("", "best_effort", "reliable"), "camera.reliability"),
    Argument("rectified", "", "Images are rectified: use P of camera_info, not K and D; empty: as in the preset",
             _OPTIONAL_BOOLEAN, "camera.rectified", bool),
    Argument("target_frame", "", "TF frame of the 3D outputs, such as base_link; empty: the camera's optical frame",
             parameter="output.target_frame"),
    Argument("fixed_frame", "", "Fixed (world) frame of TF, REP 105, such as odom; empty: none",
             parameter="output.fixed_frame"),
    Argument("tf_timeout_s", "", "Seconds to wait for a transform; empty: as in the preset",
             parameter="output.tf_timeout_s", kind=float),
    Argument("autostart", "", "The node activates itself; false: a lifecycle manager does it; empty: as in the preset",
             _OPTIONAL_BOOLEAN, "autostart", bool),
    Argument("executor", "", "What runs the node's callbacks; events: rclpy's experimental EventsExecutor, which takes "
             "less of the processor; empty: as in the preset", ("", "single_threaded", "events"), "executor"),
    Argument("use_sim_time", "", "Use the time on /clock, as for a bag; empty: as in the preset",
             _OPTIONAL_BOOLEAN, "use_sim_time", bool),
    Argument("respawn", "false", "Restart the node 2 s after its process has ended unexpectedly", _BOOLEAN),
    Argument("prefix", "", "Prefix of the node's command: a virtual environment's python, nice, gdb --args, …"),
    Argument("dds_profile", "true", "Use config/fastdds.xml in every process; without it Fast DDS loses most large "
             "images. A profile that the environment names has priority", _BOOLEAN),
    Argument("log_level", "info", "Log level of the node", ("debug", "info", "warn", "error", "fatal")),
)  # fmt: skip
RVIZ = (
    Argument("rviz", "false", "Start RViz", _BOOLEAN),
    Argument("rviz_config", "", "RViz configuration; empty: the matching one of config/rviz"),
    Argument("rviz_frame", "", "Fixed frame of RViz; empty: target_frame, else that of the configuration"),
)


def _topic(name: str, topic: str, text: str) -> Argument:
    return Argument(name, topic, text, topic=topic)


BOXES = Argument(
    "lidar_detections", "", "Objects that a LiDAR's or a radar's detector finds in 3D, vision_msgs/Detection3DArray, "
    "to be fused with the cameras' tracks; needs target_frame; empty: none",
    parameter="surround.detections_3d", kind=bool, topic="~/input/detections_3d",
)  # fmt: skip
ONE_CAMERA = (
    _topic("image", "~/input/image", "Images, sensor_msgs/Image"),
    Argument("image_compressed", "", "Images, sensor_msgs/CompressedImage; empty: the value of image with /compressed",
             topic="~/input/image/compressed"),
    _topic("camera_info", "~/input/camera_info", "Calibration, sensor_msgs/CameraInfo; required for 3D boxes"),
    _topic("depth", "~/input/depth", "Depth images, sensor_msgs/Image: they tell distances"),
    _topic("depth_camera_info", "~/input/depth/camera_info", "Their calibration, where they are not of the same view"),
    _topic("points", "~/input/points", "Points of a LiDAR, sensor_msgs/PointCloud2: they tell distances; need TF"),
    _topic("detections", "~/input/detections", "Objects that another detector finds in the image, "
           "vision_msgs/Detection2DArray; with detector_source"),
    Argument("detector_source", "", "Who finds objects: network, external, both, or public; empty: as in the preset",
             ("", "network", "external", "both", "public"), "detector.source"),
    BOXES,
    _topic("detections_3d", "~/output/detections_3d", "3D boxes, vision_msgs/Detection3DArray"),
    _topic("detections_2d", "~/output/detections_2d", "2D boxes, vision_msgs/Detection2DArray"),
    _topic("tracks", "~/output/tracks", "Tracks, centertrack_ros/TrackArray"),
    _topic("markers", "~/output/markers", "Markers for RViz, visualization_msgs/MarkerArray"),
    _topic("tracked_objects", "~/output/tracked_objects", "For Autoware, with output.publish_autoware"),
    _topic("detected_objects", "~/output/detected_objects", "For Autoware, with output.publish_autoware"),
    _topic("selected_pose", "~/output/selected_pose", "The object that ~/select has chosen, geometry_msgs/PoseStamped"),
    _topic("label_info", "~/output/label_info", "Classes, vision_msgs/LabelInfo"),
    _topic("debug_image", "~/debug/image", "Images with the tracks drawn on them"),
    _topic("prior_heatmap", "~/debug/prior_heatmap", "The prior heatmap, which shows the network the tracks"),
)  # fmt: skip


_PATTERNS = {"image": "/{camera}/image_raw", "camera_info": "/{camera}/camera_info"}
_CROSS_CAMERA_IDS = Argument(
    "cross_camera_ids", "", "A track keeps its id from camera to camera; empty: as in the preset", _OPTIONAL_BOOLEAN,
    "surround.cross_camera_ids", bool,
)  # fmt: skip
SURROUND = (
    Argument("cameras", ",".join(NUSCENES_CAMERAS), "Names of the cameras, separated by commas"),
    Argument("image", _PATTERNS["image"], "Images of each camera; {camera} stands for its name"),
    Argument("camera_info", _PATTERNS["camera_info"], "Calibration of each camera; {camera} stands for its name"),
    BOXES,
    _CROSS_CAMERA_IDS,
    _topic("detections_3d", "~/output/detections_3d", "3D boxes of all cameras, vision_msgs/Detection3DArray"),
    _topic("tracks", "~/output/tracks", "Tracks of all cameras, centertrack_ros/TrackArray"),
    _topic("markers", "~/output/markers", "Markers of all cameras for RViz, visualization_msgs/MarkerArray"),
    _topic("tracked_objects", "~/output/tracked_objects", "For Autoware, with output.publish_autoware"),
    _topic("detected_objects", "~/output/detected_objects", "For Autoware, with output.publish_autoware"),
    _topic("selected_pose", "~/output/selected_pose", "The object that ~/select has chosen, geometry_msgs/PoseStamped"),
    *(Argument(f"{camera}_{kind}", "", f"{text} of {camera}; empty: as {kind} says")
      for camera in NUSCENES_CAMERAS for kind, text in (("image", "Images"), ("camera_info", "Calibration"))),
)  # fmt: skip
REPLAY = (
    Argument("bag", None, "Folder or file of the bag"),
    Argument("rate", "1.0", "Speed, as a factor"),
    Argument("start_offset", "0.0", "Seconds to skip at the start of the bag"),
    Argument("clock_rate", "100", "Rate of /clock, Hz; 0: none, for a bag that contains /clock"),
    Argument("loop", "false", "Play the bag again and again; the jump back in time resets the tracks", _BOOLEAN),
    Argument("play_arguments", "", "Further arguments of ros2 bag play, such as --topics /camera/image_raw"),
    Argument("end_with_bag", "true", "Shut down when the bag ends", _BOOLEAN),
    Argument("cameras", "", "Empty: one camera; else names as in surround.launch.py, or nuscenes for its six"),
    _CROSS_CAMERA_IDS,
)


def with_defaults(arguments: Iterable[Argument], **defaults: str) -> tuple[Argument, ...]:
    """The arguments, with the given defaults in place of theirs."""
    return tuple(replace(a, default=defaults.get(a.name, a.default)) for a in arguments)


def is_true(value: str) -> bool:
    """Whether a boolean argument is 'true'."""
    return value == "true"


def share() -> Path:
    """The share folder of the installed package, which contains launch/ and config/."""
    from ament_index_python.packages import get_package_share_directory

    return Path(get_package_share_directory(PACKAGE))


def parameters(values: Mapping[str, str], arguments: Iterable[Argument]) -> dict[str, Any]:
    """The node's parameters that the arguments set.

    Args:
        values: the arguments' values by name.
        arguments: the table.

    Raises:
        ValueError: a value is not a number although it should be.
    """
    set_values: dict[str, Any] = {}
    for argument in arguments:
        text = values[argument.name]
        if not argument.parameter or text == "":
            continue
        try:
            set_values[argument.parameter] = True if argument.topic else _converted(text, argument.kind)
        except ValueError:
            raise ValueError(f"{argument.name}:={text} should be a {argument.kind.__name__}") from None
    return set_values


def _converted(text: str, kind: type) -> Any:
    """The text as a value; of a list, the names between commas. Raises ValueError."""
    if kind is list:
        return [name.strip() for name in text.split(",") if name.strip()]
    return is_true(text) if kind is bool else kind(text)


def own_parameters(values: Mapping[str, str]) -> str:
    """The path in `params_file`, '' for none. launch_ros would only warn, and start the node without.

    Raises:
        ValueError: there is no such file.
    """
    path = os.path.expanduser(values["params_file"])
    if path and not os.path.isfile(path):
        raise ValueError(f"params_file:={values['params_file']} is not a file")
    return path


def topics(values: Mapping[str, str], arguments: Iterable[Argument]) -> dict[str, str]:
    """The remapping of the node's topics: topic -> its name, which may be the same.

    Args:
        values: the arguments' values by name.
        arguments: the table.

    Raises:
        ValueError: `cameras` or a pattern for their topics is wrong.
    """
    named = {a.topic: values[a.name] for a in arguments if a.topic and values[a.name]}
    outputs = {topic: name for topic, name in named.items() if not topic.startswith("~/input/") or topic == BOXES.topic}
    if values.get("cameras"):
        for camera in camera_names(values):
            outputs.update(_camera_topics(camera, values))
        return outputs
    return {"~/input/image/compressed": f"{values['image']}/compressed", **named}


def camera_names(values: Mapping[str, str]) -> list[str]:
    """The names in the argument `cameras`; 'nuscenes' stands for the six of that data set.

    Raises:
        ValueError: the list is empty, repeats a name, or has one that cannot be part of a topic's.
    """
    if values["cameras"] == "nuscenes":
        return list(NUSCENES_CAMERAS)
    names = [name.strip() for name in values["cameras"].split(",") if name.strip()]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"cameras:={values['cameras']} must be different names, separated by commas")
    check_camera_names(names)
    return names


def _camera_topics(camera: str, values: Mapping[str, str]) -> dict[str, str]:
    """The remapping of the topics of one of several cameras. Raises ValueError."""
    names = {}
    for kind, pattern in _PATTERNS.items():
        name = values.get(f"{camera}_{kind}") or (pattern if values[kind].startswith("~") else values[kind])
        if not values.get(f"{camera}_{kind}") and "{camera}" not in name:
            raise ValueError(f"{kind}:={name} must contain {{camera}}, because there are several cameras")
        names[kind] = name.replace("{camera}", camera)
    return {
        f"~/input/{camera}/image": names["image"],
        f"~/input/{camera}/image/compressed": f"{names['image']}/compressed",
        f"~/input/{camera}/camera_info": names["camera_info"],
        f"~/output/{camera}/markers": f"~/output/{camera}/markers",
        f"~/debug/{camera}/image": f"~/debug/{camera}/image",
    }


def resolved(topic: str, name: str, namespace: str) -> str:
    """The full name of a topic of a node, as rcl expands it."""
    node = "/" + "/".join(part for part in (namespace.strip("/"), name) if part)
    if topic.startswith("~"):
        return node + topic[1:]
    return topic if topic.startswith("/") else f"{node.rsplit('/', 1)[0]}/{topic}"


def full_namespace(values: Mapping[str, str]) -> str:
    """The node's namespace: a relative one stands in that of the launch file which includes ours (PushRosNamespace).

    Args:
        values: the arguments' values by name, and launch_ros's own `ros_namespace`.
    """
    pushed, own = values.get("ros_namespace", ""), values["namespace"]
    return own if own.startswith("/") or not pushed else f"{pushed.rstrip('/')}/{own}".rstrip("/")


def rviz_remappings(remapping: Mapping[str, str], name: str, namespace: str) -> list[tuple[str, str]]:
    """The remappings of RViz: its configurations show the topics of a node with default names.

    Args:
        remapping: of the node, as `topics` returns it.
        name: of the node.
        namespace: of the node.
    """
    default = NODE[0].default or ""
    pairs = [(resolved(topic, default, ""), resolved(new, name, namespace)) for topic, new in remapping.items()]
    return [(old, new) for old, new in pairs if old != new]


def profile_variable(environment: Mapping[str, str], requested: bool) -> str:
    """The variable that names our profile to Fast DDS; '' if not requested, or if the user has a profile."""
    if not requested or any(environment.get(name) for name in PROFILE_VARIABLES):
        return ""
    return PROFILE_VARIABLES[environment.get("ROS_DISTRO") not in _OLD_DISTRIBUTIONS]


# The following functions need launch and launch_ros.


def declare(arguments: Iterable[Argument]) -> list[Any]:
    """The arguments as actions of a LaunchDescription."""
    from launch.actions import DeclareLaunchArgument

    return [
        DeclareLaunchArgument(a.name, default_value=a.default, description=a.text, choices=list(a.choices) or None)
        for a in arguments
    ]


def values_of(context: Any, arguments: Iterable[Argument]) -> dict[str, str]:
    """The values of the table's arguments, and of further ones, such as topics of cameras that it does not list."""
    return {**context.launch_configurations, **{a.name: context.launch_configurations[a.name] for a in arguments}}


def dds_profile(values: Mapping[str, str]) -> list[Any]:
    """The action that sets the Fast DDS profile for large images in all processes that start later."""
    from launch.actions import SetEnvironmentVariable

    name = profile_variable(os.environ, is_true(values["dds_profile"]))
    return [SetEnvironmentVariable(name, str(share() / "config" / "fastdds.xml"))] if name else []


def node(values: Mapping[str, str], arguments: Iterable[Argument], remapping: Mapping[str, str]) -> Any:
    """The action that starts the node.

    Its parameters are those of the preset, overridden by the user's file, overridden by the arguments.

    Args:
        values: the arguments' values by name.
        arguments: the table.
        remapping: of the node's topics, as `topics` returns it.
    """
    from launch_ros.actions import LifecycleNode
    from launch_ros.parameter_descriptions import ParameterValue

    files = [str(share() / "config" / f"{values['preset']}.yaml"), own_parameters(values)]
    # Without the type YAML would read a string such as "0" as a number.
    overrides: dict[str, Any] = {
        name: ParameterValue(value, value_type=str) if isinstance(value, str) else value
        for name, value in parameters(values, arguments).items()
    }
    if values.get("cameras"):
        overrides["cameras"] = camera_names(values)
    logger = ".".join(part for part in (*full_namespace(values).split("/"), values["name"]) if part)
    return LifecycleNode(
        package=PACKAGE,
        executable="centertrack_node",
        name=values["name"],
        namespace=values["namespace"],
        parameters=[file for file in files if file] + ([overrides] if overrides else []),
        remappings=[(topic, new) for topic, new in remapping.items() if topic != new],
        ros_arguments=["--log-level", f"{logger}:={values['log_level']}"],
        prefix=values["prefix"] or None,
        respawn=is_true(values["respawn"]),
        respawn_delay=2.0,
        additional_env={END_WITH_PARENT: "1"},
        output="screen",
        emulate_tty=True,
    )


def rviz(values: Mapping[str, str], remapping: Mapping[str, str]) -> list[Any]:
    """The action that starts RViz on the node's topics, if requested; a log line where it is not installed."""
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix
    from launch.actions import LogInfo
    from launch_ros.actions import Node

    if not is_true(values["rviz"]):
        return []
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return [LogInfo(msg="RViz does not start: the package rviz2 is not installed")]
    config = share() / "config" / "rviz" / ("surround.rviz" if values.get("cameras") else "centertrack.rviz")
    frame = values["rviz_frame"] or values["target_frame"]
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            name="rviz_centertrack",
            arguments=["-d", values["rviz_config"] or str(config), *(["-f", frame] if frame else [])],
            remappings=rviz_remappings(remapping, values["name"], full_namespace(values)),
            parameters=[{"use_sim_time": is_true(values["use_sim_time"])}],
            output="screen",
        )
    ]
