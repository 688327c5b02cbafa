# SPDX-License-Identifier: Apache-2.0
"""Image transforms, cameras, rotations and boxes. No dependency on networks or ROS."""
