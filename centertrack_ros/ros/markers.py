# SPDX-License-Identifier: Apache-2.0
"""Markers for RViz without a plugin, deleted when their track ends.

A translucent box with its footprint on the ground, which has a nose at the front; the name above it, an arrow for the
velocity, and a trail on the ground behind what has moved.
"""

from __future__ import annotations

import colorsys
import math
from collections import deque
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point
from numpy.typing import NDArray
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from centertrack_ros.geometry.boxes3d import OrientedBoxes
from centertrack_ros.geometry.transform import quaternion_to_matrix
from centertrack_ros.ros.messages import class_name, set_pose
from centertrack_ros.types import STATE_LOST, Tracks

NAMESPACES = ("boxes", "footprints", "labels", "velocities", "trails")
_GOLDEN_RATIO = 0.618034
_MIN_SPEED = 0.3  # m/s; below it an arrow only flickers
_ARROW_SECONDS = 1.0
_TRAIL_STEP = 0.25  # m
_LEAST_WAY = 0.5  # of the length: a shorter trail may be the noise of an object that stands
_TEXT_SIZE, _TEXT_GAP = 0.6, 0.5  # m; height of capitals, middle of the text above the roof
# Corners of the footprint in halves of length and width, drawn in one line; the nose's tip is _NOSE widths ahead.
_OUTLINE = ((1, 1), (-1, 1), (-1, -1), (1, -1), (1, 1))
_NOSE = 0.5


def color_of(track_id: int, alpha: float) -> ColorRGBA:
    """A colour of its own for every id: neighbouring ids are far apart on the colour circle."""
    r, g, b = colorsys.hsv_to_rgb(track_id * _GOLDEN_RATIO % 1.0, 0.85, 1.0)
    return ColorRGBA(r=r, g=g, b=b, a=alpha)


class MarkerWriter:
    """Remembers which markers are on the screen, for one camera; they are reused from frame to frame.

    A message holds until the next call. Publishing serialises at once.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self._names = class_names
        self._shown: dict[int, dict[str, Marker]] = {}  # by track id, by namespace
        self._trails: dict[int, deque[Point]] = {}

    def write(
        self,
        header: Header,
        tracks: Tracks,
        index: NDArray[np.int64],
        boxes: OrientedBoxes,
        lifetime: float,
        trail_length: int,
    ) -> MarkerArray:
        """Writes markers of the tracks that were matched in this frame, and deletions of those that have ended.

        Args:
            header: Of the boxes.
            tracks: All tracks of the frame.
            index: (M,) which of them have a box.
            boxes: M boxes in the header's frame.
            lifetime: s that a marker outlives its frame.
            trail_length: Points in a trail; 0: none.
        """
        duration = Duration(sec=int(lifetime), nanosec=int(lifetime % 1.0 * 1e9))
        states, ids, found = tracks.states, tracks.ids, tracks.detections
        shown: dict[int, dict[str, Marker]] = {}
        up = quaternion_to_matrix(boxes.quaternions)[:, :, 2] if len(boxes) else np.zeros((0, 3))
        half = boxes.sizes[:, 2:] / 2
        roofs, grounds = boxes.centers + up * (half + _TEXT_GAP), boxes.centers - up * half
        for row, track in enumerate(index.tolist()):
            if states[track] == STATE_LOST:
                continue
            track_id = int(ids[track])
            name = class_name(self._names, int(found.class_ids[track]))
            shown[track_id] = self._markers_of(track_id, boxes, row, roofs[row], grounds[row], trail_length)
            shown[track_id]["labels"].text = f"{name} {track_id}  {found.scores[track]:.2f}"
            for marker in shown[track_id].values():
                marker.header, marker.lifetime = header, duration
        ended = [
            Marker(header=header, ns=namespace, id=marker.id, action=Marker.DELETE)
            for track_id, markers in self._shown.items()
            for namespace, marker in markers.items()
            if namespace not in shown.get(track_id, ())
        ]
        self._shown = shown
        remembered = set(ids.tolist())
        self._trails = {track_id: trail for track_id, trail in self._trails.items() if track_id in remembered}
        return MarkerArray(markers=ended + [marker for markers in shown.values() for marker in markers.values()])

    def clear(self, header: Header) -> MarkerArray:
        """Takes everything off the screen."""
        self._shown, self._trails = {}, {}
        return MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])

    def _markers_of(
        self,
        track_id: int,
        boxes: OrientedBoxes,
        row: int,
        roof: NDArray[np.float64],
        ground: NDArray[np.float64],
        trail_length: int,
    ) -> dict[str, Marker]:
        """By namespace: box, footprint and label always, arrow and trail when there is something to show."""
        kept = self._shown.get(track_id, {})
        size = boxes.sizes[row].tolist()
        box = kept.get("boxes") or _new_marker("boxes", track_id, Marker.CUBE, 0.4)
        set_pose(box.pose, boxes, row)
        box.scale.x, box.scale.y, box.scale.z = size
        footprint = kept.get("footprints") or _new_marker("footprints", track_id, Marker.LINE_STRIP, 1.0)
        footprint.pose, footprint.points, footprint.scale.x = box.pose, _footprint(*size), 0.08
        label = kept.get("labels") or _new_marker("labels", track_id, Marker.TEXT_VIEW_FACING, 1.0)
        label.scale.z = _TEXT_SIZE
        label.pose.position.x, label.pose.position.y, label.pose.position.z = roof.tolist()
        markers = {"boxes": box, "footprints": footprint, "labels": label}
        velocity = boxes.velocities[row]
        if np.linalg.norm(velocity) > _MIN_SPEED:  # False for NaN
            arrow = kept.get("velocities") or _new_marker("velocities", track_id, Marker.ARROW, 1.0)
            x, y, z = (boxes.centers[row] + velocity * _ARROW_SECONDS).tolist()
            arrow.points = [box.pose.position, Point(x=x, y=y, z=z)]
            arrow.scale.x, arrow.scale.y, arrow.scale.z = 0.12, 0.3, 0.4
            markers["velocities"] = arrow
        trail = self._trail(track_id, ground.tolist(), trail_length)
        if len(trail) > 1 and _extent(trail) > _LEAST_WAY * size[0]:
            line = kept.get("trails") or _new_marker("trails", track_id, Marker.LINE_STRIP, 0.9)
            line.points, line.scale.x = list(trail), 0.1
            markers["trails"] = line
        return markers

    def _trail(self, track_id: int, position: Sequence[float], length: int) -> deque[Point]:
        trail = self._trails.get(track_id)
        if trail is None or trail.maxlen != length:
            trail = self._trails[track_id] = deque(trail or (), maxlen=length)
        x, y, z = position
        here = Point(x=x, y=y, z=z)
        # Points cost time on their way: a new one only where the track has moved on, the last one always where it is.
        if len(trail) > 1 and math.dist(position, (trail[-2].x, trail[-2].y, trail[-2].z)) < _TRAIL_STEP:
            trail[-1] = here
        else:
            trail.append(here)
        return trail


def _footprint(length: float, width: float, height: float) -> list[Point]:
    """A line around the ground face in the box's own axes, over the nose's tip last."""
    points = [(length / 2 * along, width / 2 * across) for along, across in _OUTLINE]
    points += [(length / 2 + _NOSE * width, 0.0), (length / 2, -width / 2)]
    return [Point(x=x, y=y, z=-height / 2) for x, y in points]


def _extent(trail: deque[Point]) -> float:
    """The largest distance, m, of a trail's points from its end."""
    end = trail[-1]
    return max(math.dist((point.x, point.y, point.z), (end.x, end.y, end.z)) for point in trail)


def _new_marker(namespace: str, track_id: int, kind: int, alpha: float) -> Marker:
    # Marker ids are 32 bits wide, track ids 64; by the time that they wrap the old marker is long gone.
    marker = Marker(ns=namespace, id=track_id % 2**31, type=kind, color=color_of(track_id, alpha))
    marker.pose.orientation.w = 1.0
    return marker
