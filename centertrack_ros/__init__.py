# SPDX-License-Identifier: Apache-2.0
"""CenterTrack for ROS 2: real-time 2D and 3D multi-object tracking with track ids from camera images.

The ROS-free core is `centertrack_ros.tracking`; the node lives in `centertrack_ros.ros`.
"""

from pkgutil import extend_path

# The generated `centertrack_ros.msg` lies in another prefix than these sources: without this line whichever
# of the two comes first on sys.path would hide the other.
__path__ = extend_path(__path__, __name__)

__version__ = "0.2.0"
