# SPDX-License-Identifier: Apache-2.0
"""Several cameras around a vehicle, by default the six of nuScenes: one node, one network, one merged view.

ros2 launch centertrack_ros surround.launch.py target_frame:=base_link fixed_frame:=odom
ros2 launch centertrack_ros surround.launch.py cameras:=front,rear rear_image:=/reversing/image_raw
ros2 launch centertrack_ros surround.launch.py --show-args
"""

from launch.actions import OpaqueFunction

from centertrack_ros.ros import launch_arguments
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

ARGUMENTS = (*launch_arguments.SURROUND, *launch_arguments.NODE, *launch_arguments.RVIZ)


def generate_launch_description() -> LaunchDescription:
    """Declares the arguments and starts what they ask for."""
    return LaunchDescription([*launch_arguments.declare(ARGUMENTS), OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node, and RViz if requested, from the values of the arguments."""
    values = launch_arguments.values_of(context, ARGUMENTS)
    remapping = launch_arguments.topics(values, ARGUMENTS)
    return [
        *launch_arguments.dds_profile(values),
        launch_arguments.node(values, ARGUMENTS, remapping),
        *launch_arguments.rviz(values, remapping),
    ]
