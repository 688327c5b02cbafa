# SPDX-License-Identifier: Apache-2.0
"""Networks, their weights and the decoding of their output. No dependency on engines, tracking or ROS."""
