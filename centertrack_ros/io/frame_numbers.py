# SPDX-License-Identifier: Apache-2.0
"""The numbers of a bag's images. They are counted on their topic, unless the bag was made of images with numbers.

A bag made of a data set lacks images that the data set lacks or that cannot be read, and may begin at frame 8: results
on it are compared with truth that counts as the data set does. `/truth/CAMERA/frame_number` (Int64, from 1, at the
stamp of its image) tells the numbers that counting would get wrong.
"""

from __future__ import annotations

import re

from centertrack_ros.io.rosbag import BagReader

NUMBER_TOPIC = "frame_number"
NUMBER_TYPE = "std_msgs/msg/Int64"
_IMAGE_NAMES = re.compile(r"^/(.+)/image_raw(/compressed)?$")


def number_topic(camera: str) -> str:
    """The topic that tells the numbers of a camera's images."""
    return f"/truth/{camera}/{NUMBER_TOPIC}"


def told_numbers(reader: BagReader, image_topic: str) -> dict[int, int]:
    """Stamp, ns -> number of the image, from 1, of the images whose place on their topic is not their number.

    Raises:
        DataError: The bag is broken.
    """
    match = _IMAGE_NAMES.match(image_topic)
    topic = number_topic(match[1]) if match else ""
    if topic not in {one.name for one in reader.of_type(NUMBER_TYPE)}:
        return {}
    return {record.time_ns: int(message.data) for record, message in reader.messages([topic])}
