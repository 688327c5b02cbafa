"""One camera: images in, tracked objects out.

ros2 launch centertrack_ros centertrack.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info
ros2 launch centertrack_ros centertrack.launch.py --show-args
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

SHARE = Path(get_package_share_directory("centertrack_ros"))
PRESETS = ("default", "coco", "coco_pose", "crowdhuman", "mot17", "kitti", "nuscenes")

# name, default, description
ARGUMENTS = (
    ("name", "centertrack", "Name of the node"),
    ("namespace", "", "Namespace of the node"),
    ("image", "~/input/image", "Topic of the images (sensor_msgs/Image)"),
    ("image_compressed", [LaunchConfiguration("image"), "/compressed"], "Topic of the same as CompressedImage"),
    ("camera_info", "~/input/camera_info", "Topic of the calibration; without it there are no 3D boxes"),
    ("detections_3d", "~/output/detections_3d", "Topic of the results, vision_msgs/Detection3DArray"),
    ("detections_2d", "~/output/detections_2d", "Topic of the results, vision_msgs/Detection2DArray"),
    ("tracks", "~/output/tracks", "Topic of the results, centertrack_ros/TrackArray"),
    ("markers", "~/output/markers", "Topic of what RViz shows"),
    ("debug_image", "~/debug/image", "Topic of the images with the results drawn in"),
    ("transport", "auto", "Images to read: raw, compressed, or auto for what is published"),
    ("rectified", "false", "Whether the images are rectified: then P of camera_info holds, else K and D"),
    ("weights", "", "Checkpoint; empty: that of the preset, which is the embedded model by default"),
    ("engine", "auto", "What runs the network"),
    ("device", "auto", "Where the network runs: auto, cpu, cuda, cuda:1, ..."),
    ("preset", "default", f"Parameters that suit the weights: one of {', '.join(PRESETS)}"),
    ("params_file", "", "YAML file of parameters of your own, taken over the preset"),
    ("autostart", "true", "Configure and activate the node; false leaves it to a lifecycle manager"),
    ("use_sim_time", "false", "Take the time from /clock, as when a bag is played"),
    ("dds_profile", "true", "Use config/fastdds.xml, without which Fast DDS loses most large images"),
    ("log_level", "info", "debug, info, warn, error or fatal"),
)


# Input and output topics of the node, and the arguments that rename them.
TOPICS = {
    "~/input/image": "image",
    "~/input/image/compressed": "image_compressed",
    "~/input/camera_info": "camera_info",
    "~/output/detections_3d": "detections_3d",
    "~/output/detections_2d": "detections_2d",
    "~/output/tracks": "tracks",
    "~/output/markers": "markers",
    "~/debug/image": "debug_image",
}


def generate_launch_description() -> LaunchDescription:
    """The arguments, then what they ask for."""
    declared = [DeclareLaunchArgument(name, default_value=value, description=text) for name, value, text in ARGUMENTS]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node, with its DDS profile, from the arguments' values."""
    values = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    parameters: list[object] = [
        str(SHARE / "config" / f"{values['preset']}.yaml"),
        {
            "model.engine": values["engine"],
            "model.device": values["device"],
            "camera.transport": values["transport"],
            "camera.rectified": _flag(values["rectified"]),
            "autostart": _flag(values["autostart"]),
            "use_sim_time": _flag(values["use_sim_time"]),
        },
    ]
    if values["weights"]:
        parameters.append({"model.weights": values["weights"]})
    if values["params_file"]:
        parameters.append(values["params_file"])
    node = Node(
        package="centertrack_ros",
        executable="centertrack_node",
        name=values["name"],
        namespace=values["namespace"],
        parameters=parameters,
        remappings=[(topic, values[argument]) for topic, argument in TOPICS.items() if topic != values[argument]],
        ros_arguments=["--log-level", f"{values['name']}:={values['log_level']}"],
        output="screen",
        emulate_tty=True,
    )
    return [*_dds_profile(_flag(values["dds_profile"])), node]


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"expected true or false, got '{text}'")
    return text.lower() == "true"


def _dds_profile(wanted: bool) -> list[LaunchDescriptionEntity]:
    """Sets the profile for Fast DDS unless the user has one of their own."""
    old, new = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"
    if not wanted or old in os.environ or new in os.environ:
        return []
    name = old if os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy") else new
    return [SetEnvironmentVariable(name, str(SHARE / "config" / "fastdds.xml"))]
