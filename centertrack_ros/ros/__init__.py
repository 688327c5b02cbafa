# SPDX-License-Identifier: Apache-2.0
"""The ROS face: the managed node, its parameters and messages, and the player and recorder of bags."""
