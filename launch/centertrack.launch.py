"""One camera: images in, tracked objects out.

ros2 launch centertrack_ros centertrack.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info
ros2 launch centertrack_ros centertrack.launch.py --show-args
"""

from launch.actions import OpaqueFunction

from centertrack_ros.ros import launch_arguments
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

ARGUMENTS = (*launch_arguments.ONE_CAMERA, *launch_arguments.NODE, *launch_arguments.RVIZ)


def generate_launch_description() -> LaunchDescription:
    """The arguments, then what they ask for."""
    return LaunchDescription([*launch_arguments.declare(ARGUMENTS), OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node, and RViz if it is wanted, from the arguments' values."""
    values = launch_arguments.values_of(context, ARGUMENTS)
    named = launch_arguments.topics(values, ARGUMENTS)
    return [
        *launch_arguments.dds_profile(values),
        launch_arguments.node(values, ARGUMENTS, named),
        *launch_arguments.rviz(values, named),
    ]
