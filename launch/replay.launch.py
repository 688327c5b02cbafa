"""A bag, the node and RViz, on the time of the recording. The bag begins when the node is ready.

ros2 launch centertrack_ros replay.launch.py bag:=drive image:=/camera/image_raw camera_info:=/camera/camera_info
ros2 launch centertrack_ros replay.launch.py bag:=scene cameras:=nuscenes target_frame:=base_link fixed_frame:=odom
ros2 launch centertrack_ros replay.launch.py --show-args
"""

import shlex
from collections.abc import Mapping

from launch.actions import ExecuteProcess, OpaqueFunction, RegisterEventHandler, Shutdown
from launch_ros.event_handlers import OnStateTransition

from centertrack_ros.ros import launch_arguments
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

ARGUMENTS = launch_arguments.with_defaults(
    (*launch_arguments.REPLAY, *launch_arguments.ONE_CAMERA, *launch_arguments.NODE, *launch_arguments.RVIZ),
    use_sim_time="true",
    rviz="true",
)


def generate_launch_description() -> LaunchDescription:
    """The arguments, then what they ask for."""
    return LaunchDescription([*launch_arguments.declare(ARGUMENTS), OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node and RViz, and the player once the node is active."""
    values = launch_arguments.values_of(context, ARGUMENTS)
    named = launch_arguments.topics(values, ARGUMENTS)
    node = launch_arguments.node(values, ARGUMENTS, named)
    ready = OnStateTransition(target_lifecycle_node=node, goal_state="active", entities=[player(values)])
    return [
        *launch_arguments.dds_profile(values),
        RegisterEventHandler(ready),
        node,
        *launch_arguments.rviz(values, named),
    ]


def player(values: Mapping[str, str]) -> ExecuteProcess:
    """ros2 bag play, which also gives the time on /clock unless the bag does."""
    command = ["ros2", "bag", "play", values["bag"], "--rate", values["rate"], "--start-offset", values["start_offset"]]
    command += [] if values["clock_rate"] == "0" else ["--clock", values["clock_rate"]]
    command += shlex.split(values["play_arguments"])
    looped = launch_arguments.is_true(values["loop"])
    ends = launch_arguments.is_true(values["end_with_bag"]) and not looped
    return ExecuteProcess(
        cmd=[*command, "--loop"] if looped else command,
        name="bag_player",
        on_exit=Shutdown(reason="the bag has ended") if ends else None,
        output="screen",
    )
