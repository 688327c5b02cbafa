# SPDX-License-Identifier: Apache-2.0
"""People who sit in vehicles: a head in a car's window is no pedestrian."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes2d import areas, intersections
from centertrack_ros.tracking.class_votes import faded, rows_of_same_ids
from centertrack_ros.types import Array, Tracks

# Of 10119 pedestrians in KITTI's tracking labels these limits take 70 for occupants; 63 are largely occluded.
INSIDE = 0.9  # least part of the person's box that lies in the vehicle's
# A window sill is 0.9 m above the ground in a car of 1.5 m, 1.2 m in a bus of 3.4 m. The feet of a pedestrian before a
# vehicle are below its wheels; beside it they are above them by less than this part of the vehicle's height.
SILL = 0.35
# What a window shows of a person, over the height of the vehicle: one who stands beside a car is as tall as the car.
HEIGHT = 0.5
# A vehicle that the lower border cuts is at least this high over its width, seen from the front or the back.
ASPECT = 0.6
BORDER = 3.0  # px


def are_in_vehicles(people: Array, vehicles: Array, image_height: int) -> NDArray[np.bool_]:
    """Which people are seen in a vehicle's windows.

    A person is, if almost all of the box lies in the vehicle's, well above its wheels, and is much lower than that. Of
    a vehicle whose wheels are below the image, only a person whose feet are there too can stand before it.

    Args:
        people: (N, 4) px x1, y1, x2, y2.
        vehicles: (M, 4) px.
        image_height: px.

    Returns:
        (N,) mask.
    """
    if not len(people) or not len(vehicles):
        return np.zeros(len(people), bool)
    inside = intersections(people, vehicles) > INSIDE * areas(people)[:, None]
    widths, heights = (vehicles[:, 2:] - vehicles[:, :2]).T
    is_cut = vehicles[:, 3] > image_height - BORDER
    heights = np.where(is_cut, np.maximum(heights, ASPECT * widths), heights)
    lowest = np.where(is_cut, image_height - BORDER, vehicles[:, 3] - SILL * heights)
    is_low = (people[:, 3] - people[:, 1])[:, None] < HEIGHT * heights[None]
    return np.asarray((inside & is_low & (people[:, 3][:, None] < lowest[None])).any(axis=1))


def vote_on_occupants(
    tracks: Tracks,
    before: Tracks | None,
    stamp: float,
    people: NDArray[np.bool_],
    vehicles: NDArray[np.bool_],
    image_height: int,
) -> Tracks:
    """Adds what this frame says about who sits in a vehicle: one vote for or against, slowly forgotten.

    Args:
        tracks: Of this frame.
        before: Of the previous frame, with their votes; None: there were none.
        stamp: s, of this frame.
        people: (C,) mask of the classes of people.
        vehicles: (C,) mask of the classes of vehicles with windows.
        image_height: px.

    Returns:
        The tracks with `occupant_votes`: more than 0 for people who sit in a vehicle.
    """
    votes = np.zeros(len(tracks), np.float32)
    rows, old = rows_of_same_ids(tracks, before)
    if before is not None and before.occupant_votes is not None:
        votes[rows] = before.occupant_votes[old] * faded(tracks, before, rows, old, stamp)
    kinds, boxes = tracks.detections.class_ids, tracks.detections.boxes
    seen = np.flatnonzero(people[kinds] & (tracks.ages == 1))
    inside = are_in_vehicles(boxes[seen], boxes[vehicles[kinds] & (tracks.ages == 1)], image_height)
    votes[seen] += np.where(inside, 1, -1)
    return replace(tracks, occupant_votes=votes)
