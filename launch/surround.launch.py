"""Several cameras around a vehicle, by default the six of nuScenes: one node, one network, one merged view.

ros2 launch centertrack_ros surround.launch.py target_frame:=base_link fixed_frame:=odom
ros2 launch centertrack_ros surround.launch.py cameras:=front,rear rear_image:=/reversing/image_raw
ros2 launch centertrack_ros surround.launch.py --show-args
"""

from launch.actions import OpaqueFunction

from centertrack_ros.ros import launching
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

ARGUMENTS = (*launching.SURROUND, *launching.NODE, *launching.RVIZ)


def generate_launch_description() -> LaunchDescription:
    """The arguments, then what they ask for."""
    return LaunchDescription([*launching.declare(ARGUMENTS), OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node, and RViz if it is wanted, from the arguments' values."""
    values = launching.values_of(context, ARGUMENTS)
    named = launching.topics(values, ARGUMENTS)
    return [*launching.dds_profile(values), launching.node(values, ARGUMENTS, named), *launching.rviz(values, named)]
