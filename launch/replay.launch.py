# SPDX-License-Identifier: Apache-2.0
"""Plays a bag into the node, with RViz, in the time of the recording. The bag starts when the node is active.

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
    """Declares the arguments and starts what they ask for."""
    return LaunchDescription([*launch_arguments.declare(ARGUMENTS), OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node and RViz at once, the player when the node is active."""
    values = launch_arguments.values_of(context, ARGUMENTS)
    remapping = launch_arguments.topics(values, ARGUMENTS)
    node = launch_arguments.node(values, ARGUMENTS, remapping)
    ready = OnStateTransition(target_lifecycle_node=node, goal_state="active", entities=[player(values)])
    return [
        *launch_arguments.dds_profile(values),
        RegisterEventHandler(ready),
        node,
        *launch_arguments.rviz(values, remapping),
    ]


def player(values: Mapping[str, str]) -> ExecuteProcess:
    """`ros2 bag play`, which also publishes /clock unless clock_rate is 0."""
    command = ["ros2", "bag", "play", values["bag"], "--rate", values["rate"], "--start-offset", values["start_offset"]]
    command += [] if values["clock_rate"] == "0" else ["--clock", values["clock_rate"]]
    command += shlex.split(values["play_arguments"])
    loop = launch_arguments.is_true(values["loop"])
    shut_down = launch_arguments.is_true(values["end_with_bag"]) and not loop
    return ExecuteProcess(
        cmd=[*command, "--loop"] if loop else command,
        name="bag_player",
        log_cmd=True,
        on_exit=Shutdown(reason="the bag has ended") if shut_down else None,
        output="screen",
    )
