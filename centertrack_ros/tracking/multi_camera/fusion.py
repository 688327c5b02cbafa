# SPDX-License-Identifier: Apache-2.0
"""Several cameras around one vehicle: each object once, with one id that stays from camera to camera.

Within a camera its own tracker decides what is the same object; between cameras position and motion in a frame that
stands still do, and between objects that are about equally near their looks (`looks`). A monocular depth is poor, so
positions are compared with their covariances, which are long along the viewing ray and narrow across it: bearings must
agree, distances roughly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes3d import OrientedBoxes
from centertrack_ros.tracking import kalman
from centertrack_ros.tracking.multi_camera.box_detector import surest_boxes
from centertrack_ros.tracking.multi_camera.looks import compare, learn_gains, looks_in, remember, remembered
from centertrack_ros.tracking.multi_camera.records import (
    ANY_KIND,
    CameraTracks,
    Floats,
    FusedTracks,
    Integers,
    LocalTracks,
    LooksMemory,
    MultiCameraConfig,
    MultiCameraResult,
    MultiCameraState,
    ObjectLooks,
    Objects,
    kinds_of,
    same_kind,
)

# A box of another camera must be this much better in score before it replaces the one shown: each change moves it.
_STAY = 0.1


@dataclass(frozen=True)
class MultiCameraSetup:
    """What stays the same from step to step: names of the cameras, kind of each class, configuration.

    `detector`: index among the cameras of what measures 3D boxes and is none; -1: there is no such.
    """

    cameras: tuple[str, ...]
    kinds: Integers
    config: MultiCameraConfig
    detector: int = -1


class MultiCameraTracker:
    """Holds the state of `step` for one vehicle."""

    def __init__(
        self, cameras: Sequence[str], class_names: Sequence[str], config: MultiCameraConfig | None = None
    ) -> None:
        """Names of all cameras that may come, and the model's classes. Raises ValueError if a camera's name repeats."""
        if len(set(cameras)) != len(cameras):
            raise ValueError(f"each camera needs a name of its own, got {list(cameras)}")
        self.setup = MultiCameraSetup(tuple(cameras), kinds_of(class_names), config or MultiCameraConfig())
        self.state = MultiCameraState.empty(len(cameras))

    def step(self, observations: Sequence[CameraTracks]) -> MultiCameraResult:
        """See `step`. When it raises, the state stays as it was."""
        result, self.state = step(self.state, observations, self.setup)
        return result

    def reconfigure(self, config: MultiCameraConfig) -> None:
        """Another configuration from the next step on; what is remembered stays."""
        self.setup = replace(self.setup, config=config)

    def take_boxes_of(self, detector: str, class_names: Sequence[str], of_model: int) -> None:
        """One of the cameras is none, but measures 3D boxes; classes behind the first `of_model` are those it added."""
        kinds = kinds_of(class_names, of_model)
        self.setup = replace(self.setup, kinds=kinds, detector=self.setup.cameras.index(detector))

    def restart(self) -> None:
        """Forgets all objects; ids start at 1 again."""
        self.state = MultiCameraState.empty(len(self.setup.cameras))

    def reset(self) -> None:
        """Forgets all objects; their ids are not given again."""
        self.state = MultiCameraState.empty(len(self.setup.cameras), self.state.next_id)


def step(
    state: MultiCameraState, observations: Sequence[CameraTracks], setup: MultiCameraSetup
) -> tuple[MultiCameraResult, MultiCameraState]:
    """The view after new frames of some of the cameras, in any order. Raises ValueError for an unknown camera."""
    for observation in observations:
        if observation.camera not in setup.cameras:
            raise ValueError(f"camera '{observation.camera}' is not one of {', '.join(setup.cameras)}")
        if not np.isfinite(observation.stamp):
            raise ValueError(f"a stamp must be a finite number of seconds, got {observation.stamp}")
    reset = ""
    for observation in sorted(observations, key=lambda o: o.stamp):
        behind = state.stamp - observation.stamp
        if behind > setup.config.window_s:
            reset = f"camera '{observation.camera}' is {behind:.3g} s behind the newest frame"
            state = MultiCameraState.empty(len(setup.cameras), state.next_id)
        state = _observe(drop_expired(state, observation.stamp, setup.config), observation, setup)
    tracks, state = fuse(state, setup)
    ids = {o.camera: _ids_of(state, setup.cameras.index(o.camera), setup) for o in observations}
    return MultiCameraResult(tracks, ids, reset), state


def drop_expired(state: MultiCameraState, stamp: float, config: MultiCameraConfig) -> MultiCameraState:
    """Without the tracks of cameras that have stopped, and the objects that nobody has seen for too long."""
    now = max(state.stamp, stamp)
    alive = now - state.stamps[state.local_tracks.cameras] <= config.window_s
    kept = now - state.objects.stamps <= config.window_s
    if alive.all() and kept.all():
        return state
    return replace(
        state,
        local_tracks=state.local_tracks.select(alive),
        objects=state.objects.select(kept),
        distinct=state.distinct[np.ix_(kept, kept)],
    )


def _observe(state: MultiCameraState, observation: CameraTracks, setup: MultiCameraSetup) -> MultiCameraState:
    """The state after one frame of one camera. The camera's tracks are in the order of its tracks."""
    camera, stamp, config = setup.cameras.index(observation.camera), observation.stamp, setup.config
    mine = state.local_tracks.cameras == camera
    others = state.local_tracks.select(~mine)
    local_tracks = update_local_tracks(state.local_tracks.select(mine), observation, camera, config)
    local_tracks = one_track_per_camera(local_tracks)
    left = find_diverged(local_tracks, others, state.objects, config, setup.detector)
    local_tracks = replace(local_tracks, object_ids=np.where(left != 0, 0, local_tracks.object_ids))
    seen = looks_in(observation, camera, local_tracks.object_ids) if config.appearance else None
    local_tracks, memory = associate(local_tracks, left, state, camera, stamp, setup, seen)
    local_tracks = one_track_per_camera(local_tracks)

    local_tracks, next_id = assign_new_ids(local_tracks, state.next_id, stamp)
    objects, distinct = update_objects(state, local_tracks, camera, stamp, setup)
    distinct = mark_distinct(objects, distinct, local_tracks, left)
    if seen is not None:
        memory = remember(memory, replace(seen, ids=local_tracks.object_ids), objects.ids)
    local_tracks = LocalTracks.concatenate([others, local_tracks])
    state = MultiCameraState(local_tracks, objects, distinct, state.stamps.copy(), next_id, memory)
    state.stamps[camera] = max(stamp, state.stamps[camera])
    return merge_duplicates(state, config)


def assign_new_ids(local_tracks: LocalTracks, next_id: int, stamp: float) -> tuple[LocalTracks, int]:
    """The tracks with new ids for those that belong to no object, and the id that comes next."""
    new = np.flatnonzero(local_tracks.object_ids == 0)
    object_ids, joined = local_tracks.object_ids.copy(), local_tracks.joined.copy()
    object_ids[new], joined[new] = np.arange(next_id, next_id + len(new)), stamp
    return replace(local_tracks, object_ids=object_ids, joined=joined), next_id + len(new)


def update_local_tracks(
    old: LocalTracks, observation: CameraTracks, camera: int, config: MultiCameraConfig
) -> LocalTracks:
    """The camera's tracks after a frame: what it sees now, what it remembers of lost tracks, nothing of ended ones."""
    tracks, count = observation.tracks, len(observation.tracks)
    index, boxes = observation.seen_boxes()
    fresh = replace(
        LocalTracks.blank(count),
        cameras=np.full(count, camera),
        local_ids=np.asarray(tracks.ids, np.int64),
        births=np.asarray(tracks.births, np.float64),
        class_ids=np.asarray(tracks.detections.class_ids, np.int64),
        scores=np.asarray(tracks.detections.scores, np.float64),
    )
    fresh.seen[index], fresh.stamps[index] = True, observation.stamp
    fresh.position_covariances[index] = position_covariances(boxes, observation.to_fixed.translation, config)
    for name, values in vars(boxes).items():
        getattr(fresh.boxes, name)[index] = values
    same = (fresh.local_ids[:, None] == old.local_ids) & (fresh.births[:, None] == old.births)
    known, row = same.any(axis=1), same.argmax(axis=1) if len(old) else np.zeros(count, np.int64)
    remembered = known & ~fresh.seen
    both = LocalTracks.concatenate([old, fresh]).select(np.where(remembered, row, len(old) + np.arange(count)))
    object_ids, joined = fresh.object_ids.copy(), fresh.joined.copy()
    object_ids[known], joined[known] = old.object_ids[row[known]], old.joined[row[known]]
    return replace(both, object_ids=object_ids, joined=joined, seen=fresh.seen)


def position_covariances(boxes: OrientedBoxes, origin: Floats, config: MultiCameraConfig) -> Floats:
    """(N, 3, 3) m²: covariances of the centres; without one, unsure along the ray from the camera at `origin` (3,)."""
    covariances = boxes.covariances[:, :3, :3]
    rays = boxes.centers - origin
    assumed = config.depth_sigma**2 * rays[:, :, None] * rays[:, None, :]
    known = np.isfinite(covariances).all(axis=(1, 2)) & covariances.any(axis=(1, 2))
    floors = config.floor_m + config.floor_of_size * boxes.sizes.max(axis=1)
    return np.where(np.reshape(known, (-1, 1, 1)), covariances, assumed) + floors[:, None, None] ** 2 * np.eye(3)


def one_track_per_camera(local_tracks: LocalTracks) -> LocalTracks:
    """One camera sees an object in one track only: of several, what is seen stays, then what joined it last."""
    order = np.lexsort((-local_tracks.joined, ~local_tracks.seen, local_tracks.object_ids, local_tracks.cameras))
    object_ids, cameras = local_tracks.object_ids[order], local_tracks.cameras[order]
    again = np.zeros(len(local_tracks), bool)
    again[order[1:]] = (object_ids[1:] == object_ids[:-1]) & (cameras[1:] == cameras[:-1])
    return replace(local_tracks, object_ids=np.where(again, 0, local_tracks.object_ids))


def _rows(ids: Integers, object_ids: Integers) -> Integers:
    """(V,) rows of the objects with these ids, -1 where there is none."""
    if not len(ids):
        return np.full(len(object_ids), -1, np.int64)
    same = object_ids[:, None] == ids
    return np.where(same.any(axis=1), same.argmax(axis=1), -1)


def find_diverged(
    local_tracks: LocalTracks, others: LocalTracks, objects: Objects, config: MultiCameraConfig, detector: int = -1
) -> Integers:
    """(V,) the object that a view must leave, else 0: another camera, which had it first, sees it somewhere else.

    What a detector of 3D boxes sees stays: its places are shown, and the ids with them.
    """
    left = np.zeros(len(local_tracks), np.int64)
    mine, theirs = np.nonzero(
        local_tracks.seen[:, None] & others.seen & (local_tracks.object_ids[:, None] == others.object_ids)
    )
    at_once = np.abs(local_tracks.stamps[mine] - others.stamps[theirs]) <= config.hold_s
    mine, theirs = mine[at_once], theirs[at_once]
    if not len(mine):
        return left
    one, other = local_tracks.select(mine), others.select(theirs)
    velocities = np.concatenate([objects.means[:, 3:], np.zeros((1, 3))])[_rows(objects.ids, one.object_ids)]
    moved = other.boxes.centers + velocities * (one.stamps - other.stamps)[:, None]
    squares = kalman.squared_distances(one.boxes.centers - moved, one.position_covariances + other.position_covariances)
    later = (one.joined > other.joined) | ((one.joined == other.joined) & (one.cameras > other.cameras))
    later = (later | (other.cameras == detector)) & (one.cameras != detector)
    far = mine[later & (squares > config.release_sigma**2)]
    left[far] = local_tracks.object_ids[far]
    return left


def associate(
    local_tracks: LocalTracks,
    left: Integers,
    state: MultiCameraState,
    camera: int,
    stamp: float,
    setup: MultiCameraSetup,
    seen: ObjectLooks | None = None,
) -> tuple[LocalTracks, LooksMemory]:
    """The tracks that are new in this camera, with the objects that they continue where position and motion tell.

    Of objects that are about equally near the one that looks like the track is the one; `seen` is what the tracks look
    like. The memory comes back with what was learnt of the cameras' gains.
    """
    config, objects, memory = setup.config, state.objects, state.looks
    free_tracks = local_tracks.seen & (_rows(objects.ids, local_tracks.object_ids) < 0)
    free_objects = ~np.isin(objects.ids, local_tracks.object_ids[local_tracks.seen])
    possible = free_tracks[:, None] & free_objects
    possible &= same_kind(setup.kinds[local_tracks.class_ids][:, None], objects.kinds)
    rows, columns = np.nonzero(possible & (left[:, None] != objects.ids))
    alike = _similar_size(np.linalg.norm(local_tracks.boxes.sizes[rows], axis=1), objects.diagonals[columns], config)
    rows, columns = rows[alike], columns[alike]
    if not len(rows):
        return local_tracks, memory
    steps = np.maximum(stamp - objects.stamps, 0.0)
    expected = objects.means[:, :3] + objects.means[:, 3:] * steps[:, None]
    drift = kalman.drift(objects.covariances, steps, config.process_noise)
    covariances = local_tracks.position_covariances[rows] + (objects.position_covariances + drift)[columns]
    squares = kalman.squared_distances(local_tracks.boxes.centers[rows] - expected[columns], covariances)
    # What has not been seen for long may be anywhere: among equals the well-known place comes first.
    costs = squares + np.linalg.slogdet(kalman.regular(covariances))[1]
    near = squares <= config.gate_sigma**2
    rows, columns, costs = rows[near], columns[near], costs[near]
    # What this camera saw last and still looks for is its own tracker's matter: whoever comes nearest to it is new.
    awaited = np.isin(objects.ids, local_tracks.object_ids[~local_tracks.seen]) & (objects.cameras == camera)
    if seen is not None:
        likeness = compare(remembered(memory, objects.ids[columns]), seen.select(rows))
        costs = costs - 2 * likeness.nats(memory, len(rows))
        alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1) & ~awaited[columns]
        memory = learn_gains(memory, likeness, np.flatnonzero(alone))
    object_ids, joined = local_tracks.object_ids.copy(), local_tracks.joined.copy()
    for row, column in _cheapest_first(rows, columns, costs):
        if not awaited[column]:
            object_ids[row], joined[row] = objects.ids[column], stamp
    return replace(local_tracks, object_ids=object_ids, joined=joined), memory


def _similar_size(diagonals: Floats, others: Floats, config: MultiCameraConfig) -> NDArray[np.bool_]:
    """(N,) whether boxes with these diagonals (N,), m, may be one object each."""
    ratios = diagonals / others
    return (ratios <= config.max_size_ratio) & (ratios * config.max_size_ratio >= 1)


def _cheapest_first(rows: Integers, columns: Integers, costs: Floats) -> list[tuple[int, int]]:
    """Of pairs (row, column) with their costs (N,) the cheapest, then the cheapest of those left, each index once."""
    order = np.argsort(costs, kind="stable")
    pairs: list[tuple[int, int]] = []
    used_rows: set[int] = set()
    used_columns: set[int] = set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in used_rows and column not in used_columns:
            used_rows.add(row)
            used_columns.add(column)
            pairs.append((row, column))
    return pairs


def update_objects(
    state: MultiCameraState, local_tracks: LocalTracks, camera: int, stamp: float, setup: MultiCameraSetup
) -> tuple[Objects, NDArray[np.bool_]]:
    """The objects after this camera's sightings: known ones corrected, new ones begun; and which are known distinct."""
    config = setup.config
    seen = local_tracks.select(local_tracks.seen)
    rows = _rows(state.objects.ids, seen.object_ids)
    initialized = initialize_objects(seen.select(rows < 0), camera, stamp, setup)
    objects = Objects.concatenate([state.objects, initialized])
    distinct = np.zeros((len(objects), len(objects)), bool)
    distinct[: len(state.objects), : len(state.objects)] = state.distinct
    known, rows = seen.select(rows >= 0), rows[rows >= 0]
    if not len(rows):
        return objects, distinct
    again = initialize_objects(known, camera, stamp, setup)
    old = objects.select(rows)
    steps = stamp - old.stamps
    means, covariances = kalman.predict(old.means, old.covariances, np.maximum(steps, 0.0), config.process_noise)
    # A frame older than what another camera has told already: its sighting is moved on to that time.
    positions = known.boxes.centers - means[:, 3:] * np.minimum(steps, 0.0)[:, None]
    means, covariances = kalman.correct_or_initialize(  # from afar, the camera's tracker knows better than the filter
        (means, covariances),
        (again.means, again.covariances),
        positions,
        known.position_covariances,
        config.release_sigma**2,
    )
    newest = steps >= 0
    changed = {
        "kinds": np.where(again.kinds == ANY_KIND, old.kinds, again.kinds),
        "diagonals": again.diagonals,
        "means": means,
        "covariances": covariances,
        "position_covariances": known.position_covariances,
        "stamps": np.maximum(stamp, old.stamps),
        "cameras": np.where(newest, camera, old.cameras),
    }
    values = {name: getattr(objects, name).copy() for name in changed}
    for name, value in changed.items():
        values[name][rows] = value
    return replace(objects, **values), distinct


def initialize_objects(local_tracks: LocalTracks, camera: int, stamp: float, setup: MultiCameraSetup) -> Objects:
    """Objects that begin with these tracks."""
    measured = np.isfinite(local_tracks.boxes.velocities) & setup.config.measured_velocities
    velocities = np.where(measured, local_tracks.boxes.velocities, 0.0)
    means, covariances = kalman.initialize(
        local_tracks.boxes.centers, local_tracks.position_covariances, velocities, setup.config.velocity_sigma
    )
    count = len(local_tracks)
    return Objects(
        ids=local_tracks.object_ids,
        kinds=setup.kinds[local_tracks.class_ids],
        diagonals=np.linalg.norm(local_tracks.boxes.sizes, axis=1),
        means=means,
        covariances=covariances,
        position_covariances=local_tracks.position_covariances,
        stamps=np.full(count, stamp),
        cameras=np.full(count, camera),
        shown=np.full(count, -1, np.int64),
    )


def mark_distinct(
    objects: Objects, distinct: NDArray[np.bool_], local_tracks: LocalTracks, left: Integers
) -> NDArray[np.bool_]:
    """(G, G) with the pairs that this frame shows to be two: seen at once by one camera, or just parted."""
    distinct = distinct.copy()
    rows = _rows(objects.ids, local_tracks.object_ids)
    together = rows[local_tracks.seen & (rows >= 0)]
    distinct[np.ix_(together, together)] = True
    parted = np.flatnonzero(left != 0)
    before = _rows(objects.ids, left[parted])
    both = (before >= 0) & (rows[parted] >= 0)
    distinct[before[both], rows[parted][both]] = True
    distinct[rows[parted][both], before[both]] = True
    np.fill_diagonal(distinct, False)
    return distinct


def merge_duplicates(state: MultiCameraState, config: MultiCameraConfig) -> MultiCameraState:
    """One object for two that different cameras began at the same place; the older id stays."""
    local_tracks, objects, now = state.local_tracks, state.objects, state.stamp
    fresh = local_tracks.seen & (now - local_tracks.stamps <= config.hold_s)
    rows = _rows(objects.ids, local_tracks.object_ids)
    seen_by = np.zeros((len(objects), len(state.stamps)), bool)
    seen_by[rows[fresh], local_tracks.cameras[fresh]] = True
    now_seen = np.asarray(seen_by.any(axis=1))
    one, other = np.nonzero(np.triu(now_seen[:, None] & now_seen & ~state.distinct, 1))
    usable = ~(seen_by[one] & seen_by[other]).any(axis=1)
    usable &= same_kind(objects.kinds[one], objects.kinds[other])
    usable &= _similar_size(objects.diagonals[one], objects.diagonals[other], config)
    one, other = one[usable], other[usable]
    if not len(one):
        return state
    positions = objects.means[:, :3] + objects.means[:, 3:] * (now - objects.stamps)[:, None]
    covariances = objects.position_covariances[one] + objects.position_covariances[other]
    squares = kalman.squared_distances(positions[one] - positions[other], covariances)
    near = squares <= config.gate_sigma**2
    one, other, costs = one[near], other[near], squares[near]
    contested = len(np.unique(one)) < len(one) or len(np.unique(other)) < len(other)
    if config.appearance and contested and len(state.looks.objects):
        likeness = compare(*(remembered(state.looks, objects.ids[rows]) for rows in (one, other)))
        costs = costs - 2 * likeness.nats(state.looks, len(one))
    pairs: list[tuple[int, int]] = []
    used: set[int] = set()
    for pair in _cheapest_first(one, other, costs):
        if used.isdisjoint(pair):  # a third one may follow with the next frame
            used.update(pair)
            pairs.append(pair)
    return drop_duplicates(state, pairs) if pairs else state


def drop_duplicates(state: MultiCameraState, pairs: list[tuple[int, int]]) -> MultiCameraState:
    """The state with the two objects of each pair made one, which keeps the lower id."""
    objects, distinct, now = state.objects, state.distinct.copy(), state.stamp
    object_ids, joined = state.local_tracks.object_ids.copy(), state.local_tracks.joined.copy()
    kept = np.ones(len(objects), bool)
    for pair in pairs:
        stays, goes = sorted(pair, key=lambda row: objects.ids[row])
        moved = object_ids == objects.ids[goes]
        object_ids[moved], joined[moved] = objects.ids[stays], now
        distinct[stays] |= distinct[goes]
        distinct[:, stays] |= distinct[:, goes]
        kept[goes] = False
    local_tracks = one_track_per_camera(replace(state.local_tracks, object_ids=object_ids, joined=joined))
    local_tracks, next_id = assign_new_ids(local_tracks, state.next_id, now)
    return replace(
        state,
        local_tracks=local_tracks,
        next_id=next_id,
        objects=objects.select(kept),
        distinct=distinct[np.ix_(kept, kept)],
    )


def fuse(state: MultiCameraState, setup: MultiCameraSetup) -> tuple[FusedTracks, MultiCameraState]:
    """Each object that a camera sees now, once, with the best box; and the state that knows whose box was shown."""
    local_tracks, objects, now = state.local_tracks, state.objects, state.stamp
    fresh = np.flatnonzero(local_tracks.seen & (now - local_tracks.stamps <= setup.config.hold_s))
    rows = _rows(objects.ids, local_tracks.object_ids[fresh])
    quality = local_tracks.scores[fresh] + _STAY * (local_tracks.cameras[fresh] == objects.shown[rows])
    order = np.lexsort((-quality, local_tracks.cameras[fresh] == setup.detector, rows))
    first = np.ones(len(order), bool)
    first[1:] = rows[order][1:] != rows[order][:-1]
    best, rows = fresh[order[first]], rows[order[first]]
    shown = np.full(len(objects), -1, np.int64)
    shown[rows] = local_tracks.cameras[best]
    chosen, motions = local_tracks.select(best), objects.means[rows, 3:]
    boxes = chosen
    if setup.detector >= 0:
        boxes = local_tracks.select(surest_boxes(local_tracks, best, now, setup.detector, setup.config))
        own = (boxes.cameras == setup.detector)[:, None] & np.isfinite(boxes.boxes.velocities)
        motions = np.where(own, boxes.boxes.velocities, motions)  # its filter knows places that are not a camera's
    elapsed = now - boxes.stamps
    tracks = FusedTracks(
        stamp=now,
        ids=_published_ids(chosen, setup),
        class_ids=chosen.class_ids,
        scores=np.maximum(chosen.scores, boxes.scores),
        cameras=chosen.cameras,
        local_ids=chosen.local_ids,
        sources=boxes.cameras,
        source_ids=boxes.local_ids,
        stamps=boxes.stamps,
        boxes=replace(boxes.boxes, centers=boxes.boxes.centers + motions * elapsed[:, None]),
        motions=motions,
    )
    return tracks, replace(state, objects=replace(objects, shown=shown))


def _ids_of(state: MultiCameraState, camera: int, setup: MultiCameraSetup) -> Integers:
    return _published_ids(state.local_tracks.select(state.local_tracks.cameras == camera), setup)


def _published_ids(local_tracks: LocalTracks, setup: MultiCameraSetup) -> Integers:
    """(V,) ids of objects; without ids across cameras, ids of single cameras that no other camera can have."""
    if setup.config.cross_camera:
        return local_tracks.object_ids
    return (local_tracks.local_ids - 1) * len(setup.cameras) + local_tracks.cameras + 1
