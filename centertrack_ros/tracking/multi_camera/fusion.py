"""Several cameras around one vehicle: each object once, with one id that stays from camera to camera.

Within a camera its own tracker decides what is the same object; between cameras position and motion in a frame that
stands still do. A monocular depth is poor, so positions are compared with their covariances, which are long along the
viewing ray and narrow across it: bearings must agree, distances roughly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.oriented_boxes import OrientedBoxes
from centertrack_ros.tracking import motion3d
from centertrack_ros.tracking.multi_camera.records import (
    CameraTracks,
    Floats,
    Integers,
    Objects,
    SurroundConfig,
    SurroundResult,
    SurroundState,
    SurroundTracks,
    Views,
    kinds_of,
    no_views,
)
from centertrack_ros.tracking.track_boxes import boxes_of

# A box of another camera must be this much better in score before it replaces the one shown: each change moves it.
_STAY = 0.1
# Added to the cost of a pair of confusable but different classes, in squared standard deviations.
_OTHER_CLASS = 2.0


@dataclass(frozen=True)
class Rig:
    """What stays the same from step to step: names of the cameras, kind of each class, configuration."""

    cameras: tuple[str, ...]
    kinds: Integers
    config: SurroundConfig


class SurroundTracker:
    """Holds the state of `step` for one vehicle."""

    def __init__(
        self, cameras: Sequence[str], class_names: Sequence[str], config: SurroundConfig | None = None
    ) -> None:
        """Names of all cameras that may come, and the model's classes. Raises ValueError if a camera's name repeats."""
        if len(set(cameras)) != len(cameras):
            raise ValueError(f"each camera needs a name of its own, got {list(cameras)}")
        self.rig = Rig(tuple(cameras), kinds_of(class_names), config or SurroundConfig())
        self.state = SurroundState.empty(len(cameras))

    def step(self, observations: Sequence[CameraTracks]) -> SurroundResult:
        """See `step`. When it raises, the state stays as it was."""
        result, self.state = step(self.state, observations, self.rig)
        return result

    def reconfigure(self, config: SurroundConfig) -> None:
        """Another configuration from the next step on; what is remembered stays."""
        self.rig = replace(self.rig, config=config)

    def restart(self) -> None:
        """Forgets all objects; ids start at 1 again."""
        self.state = SurroundState.empty(len(self.rig.cameras))

    def reset(self) -> None:
        """Forgets all objects; their ids are not given again."""
        self.state = SurroundState.empty(len(self.rig.cameras), self.state.next_id)


def step(state: SurroundState, observations: Sequence[CameraTracks], rig: Rig) -> tuple[SurroundResult, SurroundState]:
    """The view after new frames of some of the cameras, in any order. Raises ValueError for an unknown camera."""
    for observation in observations:
        if observation.camera not in rig.cameras:
            raise ValueError(f"camera '{observation.camera}' is not one of {', '.join(rig.cameras)}")
        if not np.isfinite(observation.stamp):
            raise ValueError(f"a stamp must be a finite number of seconds, got {observation.stamp}")
    reset = ""
    for observation in sorted(observations, key=lambda o: o.stamp):
        behind = state.stamp - observation.stamp
        if behind > rig.config.window_s:
            reset = f"camera '{observation.camera}' is {behind:.3g} s behind the newest frame"
            state = SurroundState.empty(len(rig.cameras), state.next_id)
        state = _observe(_forget(state, observation.stamp, rig.config), observation, rig)
    tracks, state = _merged(state, rig)
    ids = {o.camera: _ids_of(state, rig.cameras.index(o.camera), rig) for o in observations}
    return SurroundResult(tracks, ids, reset), state


def _forget(state: SurroundState, stamp: float, config: SurroundConfig) -> SurroundState:
    """Without the views of cameras that have stopped, and the objects that nobody has seen for too long."""
    now = max(state.stamp, stamp)
    alive = now - state.stamps[state.views.cameras] <= config.window_s
    kept = now - state.objects.stamps <= config.window_s
    if alive.all() and kept.all():
        return state
    return replace(
        state,
        views=state.views.select(alive),
        objects=state.objects.select(kept),
        apart=state.apart[np.ix_(kept, kept)],
    )


def _observe(state: SurroundState, observation: CameraTracks, rig: Rig) -> SurroundState:
    """The state after one frame of one camera. The camera's views are in the order of its tracks."""
    camera, stamp, config = rig.cameras.index(observation.camera), observation.stamp, rig.config
    mine = state.views.cameras == camera
    others = state.views.select(~mine)
    views = _seen_again(state.views.select(mine), observation, camera, config)
    views = _one_view_each(views)
    left = _diverged(views, others, state.objects, config)
    views = replace(views, groups=np.where(left != 0, 0, views.groups))
    views = _one_view_each(_associated(views, left, state.objects, camera, stamp, rig))

    views, next_id = _numbered(views, state.next_id, stamp)
    objects, apart = _followed(state, views, camera, stamp, rig)
    apart = _told_apart(objects, apart, views, left)
    state = SurroundState(Views.concatenate([others, views]), objects, apart, state.stamps.copy(), next_id)
    state.stamps[camera] = max(stamp, state.stamps[camera])
    return _joined(state, config)


def _numbered(views: Views, next_id: int, stamp: float) -> tuple[Views, int]:
    """The views with new ids for those that belong to no object, and the id that comes next."""
    new = np.flatnonzero(views.groups == 0)
    groups, joined = views.groups.copy(), views.joined.copy()
    groups[new], joined[new] = np.arange(next_id, next_id + len(new)), stamp
    return replace(views, groups=groups, joined=joined), next_id + len(new)


def _seen_again(old: Views, observation: CameraTracks, camera: int, config: SurroundConfig) -> Views:
    """The camera's views after a frame: what it sees now, what it remembers of lost tracks, nothing of ended ones."""
    tracks, count = observation.tracks, len(observation.tracks)
    index, boxes = boxes_of(tracks)
    matched = tracks.hits[index] > 0
    index, boxes = index[matched], observation.to_fixed.boxes(boxes.select(matched))
    fresh = replace(
        no_views(count),
        cameras=np.full(count, camera),
        local_ids=np.asarray(tracks.ids, np.int64),
        births=np.asarray(tracks.births, np.float64),
        class_ids=np.asarray(tracks.detections.class_ids, np.int64),
        scores=np.asarray(tracks.detections.scores, np.float64),
    )
    fresh.seen[index], fresh.stamps[index] = True, observation.stamp
    fresh.spreads[index] = _spreads(boxes, observation.to_fixed.translation, config)
    for name, values in vars(boxes).items():
        getattr(fresh.boxes, name)[index] = values
    same = (fresh.local_ids[:, None] == old.local_ids) & (fresh.births[:, None] == old.births)
    known, row = same.any(axis=1), same.argmax(axis=1) if len(old) else np.zeros(count, np.int64)
    remembered = known & ~fresh.seen
    both = Views.concatenate([old, fresh]).select(np.where(remembered, row, len(old) + np.arange(count)))
    groups, joined = fresh.groups.copy(), fresh.joined.copy()
    groups[known], joined[known] = old.groups[row[known]], old.joined[row[known]]
    return replace(both, groups=groups, joined=joined, seen=fresh.seen)


def _spreads(boxes: OrientedBoxes, origin: Floats, config: SurroundConfig) -> Floats:
    """(N, 3, 3) m²: covariances of the centres; without one, unsure along the ray from the camera at `origin` (3,)."""
    covariances = boxes.covariances[:, :3, :3]
    rays = boxes.centers - origin
    assumed = config.depth_sigma**2 * rays[:, :, None] * rays[:, None, :]
    known = np.isfinite(covariances).all(axis=(1, 2)) & covariances.any(axis=(1, 2))
    floors = config.floor_m + config.floor_of_size * boxes.sizes.max(axis=1)
    return np.where(np.reshape(known, (-1, 1, 1)), covariances, assumed) + floors[:, None, None] ** 2 * np.eye(3)


def _one_view_each(views: Views) -> Views:
    """One camera sees an object in one track only: of several, what is seen stays, then what joined it last."""
    order = np.lexsort((-views.joined, ~views.seen, views.groups, views.cameras))
    groups, cameras = views.groups[order], views.cameras[order]
    again = np.zeros(len(views), bool)
    again[order[1:]] = (groups[1:] == groups[:-1]) & (cameras[1:] == cameras[:-1])
    return replace(views, groups=np.where(again, 0, views.groups))


def _rows(ids: Integers, groups: Integers) -> Integers:
    """(V,) rows of the objects with these ids, -1 where there is none."""
    if not len(ids):
        return np.full(len(groups), -1, np.int64)
    same = groups[:, None] == ids
    return np.where(same.any(axis=1), same.argmax(axis=1), -1)


def _diverged(views: Views, others: Views, objects: Objects, config: SurroundConfig) -> Integers:
    """(V,) the object that a view must leave, else 0: another camera, which had it first, sees it somewhere else."""
    left = np.zeros(len(views), np.int64)
    mine, theirs = np.nonzero(views.seen[:, None] & others.seen & (views.groups[:, None] == others.groups))
    at_once = np.abs(views.stamps[mine] - others.stamps[theirs]) <= config.hold_s
    mine, theirs = mine[at_once], theirs[at_once]
    if not len(mine):
        return left
    one, other = views.select(mine), others.select(theirs)
    velocities = np.concatenate([objects.means[:, 3:], np.zeros((1, 3))])[_rows(objects.ids, one.groups)]
    moved = other.boxes.centers + velocities * (one.stamps - other.stamps)[:, None]
    squares = motion3d.squared_distances(one.boxes.centers - moved, one.spreads + other.spreads)
    later = (one.joined > other.joined) | ((one.joined == other.joined) & (one.cameras > other.cameras))
    far = mine[later & (squares > config.release_sigma**2)]
    left[far] = views.groups[far]
    return left


def _associated(views: Views, left: Integers, objects: Objects, camera: int, stamp: float, rig: Rig) -> Views:
    """The views that are new in this camera, with the objects that they continue where position and motion tell."""
    config = rig.config
    free_views = views.seen & (_rows(objects.ids, views.groups) < 0)
    free_objects = ~np.isin(objects.ids, views.groups[views.seen])
    possible = free_views[:, None] & free_objects & (rig.kinds[views.class_ids][:, None] == objects.kinds)
    rows, columns = np.nonzero(possible & (left[:, None] != objects.ids))
    alike = _alike(np.linalg.norm(views.boxes.sizes[rows], axis=1), objects.diagonals[columns], config)
    rows, columns = rows[alike], columns[alike]
    if not len(rows):
        return views
    steps = np.maximum(stamp - objects.stamps, 0.0)
    expected = objects.means[:, :3] + objects.means[:, 3:] * steps[:, None]
    drifts = motion3d.drifts(objects.covariances, steps, config.unrest)
    spreads = views.spreads[rows] + (objects.spreads + drifts)[columns]
    squares = motion3d.squared_distances(views.boxes.centers[rows] - expected[columns], spreads)
    # What has not been seen for long may be anywhere: among equals the well-known place comes first.
    costs = squares + np.linalg.slogdet(spreads)[1]
    near = squares <= config.gate_sigma**2
    # What this camera saw last and still looks for is its own tracker's matter: whoever comes nearest to it is new.
    awaited = np.isin(objects.ids, views.groups[~views.seen]) & (objects.cameras == camera)
    groups, joined = views.groups.copy(), views.joined.copy()
    for row, column in _cheapest_first(rows[near], columns[near], costs[near]):
        if not awaited[column]:
            groups[row], joined[row] = objects.ids[column], stamp
    return replace(views, groups=groups, joined=joined)


def _alike(diagonals: Floats, others: Floats, config: SurroundConfig) -> NDArray[np.bool_]:
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


def _followed(
    state: SurroundState, views: Views, camera: int, stamp: float, rig: Rig
) -> tuple[Objects, NDArray[np.bool_]]:
    """The objects after this camera's sightings: known ones corrected, new ones begun; and which are known apart."""
    config = rig.config
    seen = views.select(views.seen)
    rows = _rows(state.objects.ids, seen.groups)
    born = _begun(seen.select(rows < 0), camera, stamp, rig)
    objects = Objects.concatenate([state.objects, born])
    apart = np.zeros((len(objects), len(objects)), bool)
    apart[: len(state.objects), : len(state.objects)] = state.apart
    known, rows = seen.select(rows >= 0), rows[rows >= 0]
    if not len(rows):
        return objects, apart
    again = _begun(known, camera, stamp, rig)
    old = objects.select(rows)
    steps = stamp - old.stamps
    means, covariances = motion3d.predict(old.means, old.covariances, np.maximum(steps, 0.0), config.unrest)
    # A frame older than what another camera has told already: its sighting is moved on to that time.
    positions = known.boxes.centers - means[:, 3:] * np.minimum(steps, 0.0)[:, None]
    means, covariances = motion3d.correct_or_begin(  # from afar, the camera's tracker knows better than the filter
        (means, covariances), (again.means, again.covariances), positions, known.spreads, config.release_sigma**2
    )
    newest = steps >= 0
    changed = {
        "kinds": again.kinds,
        "diagonals": again.diagonals,
        "means": means,
        "covariances": covariances,
        "spreads": known.spreads,
        "stamps": np.maximum(stamp, old.stamps),
        "cameras": np.where(newest, camera, old.cameras),
    }
    values = {name: getattr(objects, name).copy() for name in changed}
    for name, value in changed.items():
        values[name][rows] = value
    return replace(objects, **values), apart


def _begun(views: Views, camera: int, stamp: float, rig: Rig) -> Objects:
    """Objects that begin with these views."""
    measured = np.isfinite(views.boxes.velocities) & rig.config.measured_velocities
    velocities = np.where(measured, views.boxes.velocities, 0.0)
    means, covariances = motion3d.begin(views.boxes.centers, views.spreads, velocities, rig.config.velocity_sigma)
    count = len(views)
    return Objects(
        ids=views.groups,
        kinds=rig.kinds[views.class_ids],
        diagonals=np.linalg.norm(views.boxes.sizes, axis=1),
        means=means,
        covariances=covariances,
        spreads=views.spreads,
        stamps=np.full(count, stamp),
        cameras=np.full(count, camera),
        shown=np.full(count, -1, np.int64),
    )


def _told_apart(objects: Objects, apart: NDArray[np.bool_], views: Views, left: Integers) -> NDArray[np.bool_]:
    """(G, G) with the pairs that this frame shows to be two: seen at once by one camera, or just parted."""
    apart = apart.copy()
    rows = _rows(objects.ids, views.groups)
    together = rows[views.seen & (rows >= 0)]
    apart[np.ix_(together, together)] = True
    parted = np.flatnonzero(left != 0)
    before = _rows(objects.ids, left[parted])
    both = (before >= 0) & (rows[parted] >= 0)
    apart[before[both], rows[parted][both]] = True
    apart[rows[parted][both], before[both]] = True
    np.fill_diagonal(apart, False)
    return apart


def _joined(state: SurroundState, config: SurroundConfig) -> SurroundState:
    """One object for two that different cameras began at the same place; the older id stays."""
    views, objects, now = state.views, state.objects, state.stamp
    fresh = views.seen & (now - views.stamps <= config.hold_s)
    rows = _rows(objects.ids, views.groups)
    seen_by = np.zeros((len(objects), len(state.stamps)), bool)
    seen_by[rows[fresh], views.cameras[fresh]] = True
    now_seen = np.asarray(seen_by.any(axis=1))
    one, other = np.nonzero(np.triu(now_seen[:, None] & now_seen & ~state.apart, 1))
    usable = ~(seen_by[one] & seen_by[other]).any(axis=1)
    usable &= objects.kinds[one] == objects.kinds[other]
    usable &= _alike(objects.diagonals[one], objects.diagonals[other], config)
    one, other = one[usable], other[usable]
    if not len(one):
        return state
    positions = objects.means[:, :3] + objects.means[:, 3:] * (now - objects.stamps)[:, None]
    spreads = objects.spreads[one] + objects.spreads[other]
    squares = motion3d.squared_distances(positions[one] - positions[other], spreads)
    near = squares <= config.gate_sigma**2
    pairs: list[tuple[int, int]] = []
    used: set[int] = set()
    for pair in _cheapest_first(one[near], other[near], squares[near]):
        if used.isdisjoint(pair):  # a third one may follow with the next frame
            used.update(pair)
            pairs.append(pair)
    return _without_twins(state, pairs) if pairs else state


def _without_twins(state: SurroundState, pairs: list[tuple[int, int]]) -> SurroundState:
    """The state with the two objects of each pair made one, which keeps the lower id."""
    objects, apart, now = state.objects, state.apart.copy(), state.stamp
    groups, joined = state.views.groups.copy(), state.views.joined.copy()
    kept = np.ones(len(objects), bool)
    for pair in pairs:
        stays, goes = sorted(pair, key=lambda row: objects.ids[row])
        moved = groups == objects.ids[goes]
        groups[moved], joined[moved] = objects.ids[stays], now
        apart[stays] |= apart[goes]
        apart[:, stays] |= apart[:, goes]
        kept[goes] = False
    views = _one_view_each(replace(state.views, groups=groups, joined=joined))
    views, next_id = _numbered(views, state.next_id, now)
    return replace(
        state,
        views=views,
        next_id=next_id,
        objects=objects.select(kept),
        apart=apart[np.ix_(kept, kept)],
    )


def _merged(state: SurroundState, rig: Rig) -> tuple[SurroundTracks, SurroundState]:
    """Each object that a camera sees now, once, with the best box; and the state that knows whose box was shown."""
    views, objects, now = state.views, state.objects, state.stamp
    fresh = np.flatnonzero(views.seen & (now - views.stamps <= rig.config.hold_s))
    rows = _rows(objects.ids, views.groups[fresh])
    quality = views.scores[fresh] + _STAY * (views.cameras[fresh] == objects.shown[rows])
    order = np.lexsort((-quality, rows))
    first = np.ones(len(order), bool)
    first[1:] = rows[order][1:] != rows[order][:-1]
    best, rows = fresh[order[first]], rows[order[first]]
    shown = np.full(len(objects), -1, np.int64)
    shown[rows] = views.cameras[best]
    chosen, motions = views.select(best), objects.means[rows, 3:]
    elapsed = now - chosen.stamps
    tracks = SurroundTracks(
        stamp=now,
        ids=_published_ids(chosen, rig),
        class_ids=chosen.class_ids,
        scores=chosen.scores,
        cameras=chosen.cameras,
        local_ids=chosen.local_ids,
        stamps=chosen.stamps,
        boxes=replace(chosen.boxes, centers=chosen.boxes.centers + motions * elapsed[:, None]),
        motions=motions,
    )
    return tracks, replace(state, objects=replace(objects, shown=shown))


def _ids_of(state: SurroundState, camera: int, rig: Rig) -> Integers:
    return _published_ids(state.views.select(state.views.cameras == camera), rig)


def _published_ids(views: Views, rig: Rig) -> Integers:
    """(V,) ids of objects; without ids across cameras, ids of single cameras that no other camera can have."""
    if rig.config.cross_camera:
        return views.groups
    return (views.local_ids - 1) * len(rig.cameras) + views.cameras + 1
