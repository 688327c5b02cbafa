"""One camera: images in, tracked objects out.

ros2 launch centertrack_ros centertrack.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info
ros2 launch centertrack_ros centertrack.launch.py --show-args
"""

from launch.actions import OpaqueFunction

from centertrack_ros.ros import launching
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

ARGUMENTS = (*launching.ONE_CAMERA, *launching.NODE, *launching.RVIZ)


def generate_launch_description() -> LaunchDescription:
    """The arguments, then what they ask for."""
    return LaunchDescription([*launching.declare(ARGUMENTS), OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node, and RViz if it is wanted, from the arguments' values."""
    values = launching.values_of(context, ARGUMENTS)
    named = launching.topics(values, ARGUMENTS)
    return [*launching.dds_profile(values), launching.node(values, ARGUMENTS, named), *launching.rviz(values, named)]
