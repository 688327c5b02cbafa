# SPDX-License-Identifier: Apache-2.0
"""3D boxes from 2D boxes alone, by the usual sizes of their classes: of one image, or of tracks over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes3d import level_axes
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.geometry.transform import rotate_covariances
from centertrack_ros.tracking import heading
from centertrack_ros.tracking.box_filter import MOST_VIEWS, aligned, average, filter_depths
from centertrack_ros.tracking.box_fit import NEAREST, SMALLEST, BoxFits, Edges, Sizes, edges_of, fit_boxes, positions_of
from centertrack_ros.tracking.ground import FIRST_SIGMA, LEVEL_SIGMA, observe_horizon, with_ground
from centertrack_ros.tracking.lifting import CENTER_SIGMA_PX
from centertrack_ros.tracking.sensor_depth import Expected, SensorView, Surfaces, covered_edges
from centertrack_ros.tracking.size_prior import class_sizes
from centertrack_ros.tracking.surface_fit import Fills, fills_of, with_surfaces
from centertrack_ros.types import LIFT_GROUND, LIFT_SIZE_PRIOR, BoxFilters, BoxMemory, CameraMount, Detections, Tracks

Array = NDArray[Any]
_NO_BIAS = (1.0, 1.0, 0.03)  # relative width and height of boxes, and their standard deviation
_LEAST_SIZE_SIGMA = 0.03  # of a size that was measured with the help of a sensor, relative
# Of the length, standard deviation of the middle of an object that a side of the image cuts: the part that is seen
# tells little of the heading and nothing of where the rest ends.
_UNSEEN = 0.25
OWN_SIGMA = 0.03  # of the logarithm of a depth: what changes from frame to frame besides the edges


@dataclass(frozen=True)
class Estimate:
    """3D boxes of N objects.

    Attributes:
        fits: Under all headings of half a turn.
        weights: (N, 2 H) probabilities of the headings of the whole turn.
        best: (N, 1) the fits under the chosen headings.
        headings: (N,) rad, the chosen ones.
        heading_variances: (N,) rad².
    """

    fits: BoxFits
    weights: Array
    best: BoxFits
    headings: Array
    heading_variances: Array

    @property
    def half_weights(self) -> Array:
        """(N, H) probabilities of the headings up to half a turn."""
        return self.weights[:, : heading.HALF] + self.weights[:, heading.HALF :]

    @property
    def variances(self) -> Array:
        """(N,) m² of the depths of `best`, over all headings."""
        fits, differences = self.fits, self.fits.states[..., 0] - self.best.states[..., 0]
        return (self.half_weights * (fits.covariances[..., 0, 0] + differences**2)).sum(axis=1)


class SizePriorLifter:
    """Lifts 2D detections of a model's classes to 3D boxes by the usual sizes of the classes."""

    def __init__(
        self,
        class_names: Sequence[str],
        camera_height: float = 0.0,
        box_bias: Mapping[str, tuple[float, float, float]] | None = None,
        camera_pitch: float = 0.0,
    ) -> None:
        """Looks the sizes of the classes up.

        Args:
            class_names: The model's classes.
            camera_height: m, of the camera over the ground that the objects stand on; 0: unknown.
            box_bias: How large the model's boxes are, see `ModelProfile.box_bias`; None: nothing to correct.
            camera_pitch: deg by which the camera looks down; 0: unknown.
        """
        known = box_bias or {}
        biases = np.array([known.get(name, _NO_BIAS) for name in class_names]).reshape(-1, 3)
        self._scales, self._box_sigmas = 1 / biases[:, :2], biases[:, 2]
        self._classes, self._fills = class_sizes(class_names), fills_of(class_names)
        self._mount = CameraMount.of_pitch(camera_height, camera_pitch)

    def __call__(self, detections: Detections, camera: Camera) -> Detections:
        """See `lift`."""
        return self.lift(detections, camera)

    def lift(
        self,
        detections: Detections,
        camera: Camera,
        mount: CameraMount | None = None,
        view: SensorView | None = None,
    ) -> Detections:
        """Lifts the detections of one image by their sizes in it.

        Args:
            detections: 2D detections.
            camera: The camera of the image that the detections were made in.
            mount: How it stands over the ground; what it does not tell is as the lifter was made with.
            view: What sensors measured at that time.

        Returns:
            The detections with depths, dimensions, locations (bottom centres, m, optical frame), rotations_y (rad) and
            their variances (rad²), location covariances (m²), and with amodal centres (px). They are NaN for classes
            without a size prior. Without alphas: they would be the network's.
        """
        everything = replace(_tracks_of(detections), ids=np.arange(len(detections)))
        return self.lift_tracks(everything, camera, 0.0, BoxMemory(), mount, view)[0].detections

    def lift_tracks(
        self,
        tracks: Tracks,
        camera: Camera,
        stamp: float,
        memory: BoxMemory,
        mount: CameraMount | None = None,
        view: SensorView | None = None,
    ) -> tuple[Tracks, BoxMemory]:
        """Lifts the tracks that were matched in a frame, with what was seen of them before.

        Args:
            tracks: Those of the frame. Lost ones keep the boxes that they had.
            camera: The camera of the frame.
            stamp: s, of the frame.
            memory: Of the previous frame.
            mount: How the camera stands, see `lift`.
            view: What sensors measured at the time of the frame.

        Returns:
            The tracks with 3D boxes, see `lift`, and the memory after this frame.
        """
        detections = tracks.detections
        height, axes = self._mounted(mount)
        if memory.is_level != (axes is not None):
            memory = BoxMemory(is_level=axes is not None)
        rows = np.flatnonzero((tracks.hits > 0) & self._classes.known[detections.class_ids])
        kept = memory.filters.select(np.isin(memory.filters.ids, tracks.ids))
        classes = detections.class_ids[rows]
        before, known = aligned(kept, tracks.ids[rows], classes, heading.HALF)
        elapsed = np.where(known, np.maximum(stamp - before.stamps, 0.0), 0.0)
        edges = edges_of(detections.boxes[rows], camera, self._scales[classes], self._box_sigmas[classes], axes)
        cut = edges.cut.any(axis=1)
        sizes = self._sizes(classes, before, cut & (before.views > 0) & ~self._classes.is_round[classes])
        headings = np.broadcast_to(heading.HEADINGS[: heading.HALF], (len(rows), heading.HALF))
        fits = fit_boxes(edges, sizes, headings)
        sensed = _Sensed(self._fills.select(classes), sizes.is_round)
        if view is not None:
            expected = _expected(fits, sizes)
            sensed.surfaces = view.surfaces(detections.boxes[rows], expected, axes)
            covered = covered_edges(detections.boxes[rows], sensed.surfaces, expected.spans) & ~edges.cut
            if covered.any():
                edges = replace(edges, cut=edges.cut | covered)
                fits = fits.with_rows(*_refitted(np.asarray(covered.any(axis=1)), fits, edges, sizes, headings))
                cut = edges.cut.any(axis=1)
        alone = (before.sensed > 0) & ~sensed.found(len(rows))  # a sensor told their sizes before
        if alone.any():
            sizes = self._sizes(classes, before, alone, sizes)
            fits = fits.with_rows(*_refitted(alone, fits, edges, sizes, headings))
        fits, _, _ = sensed.correct(fits, edges, headings)
        likelihoods = fits.log_likelihoods - fits.log_likelihoods.max(axis=1, keepdims=True)
        seen = average(before.headings, before.views, likelihoods, elapsed)
        views = np.minimum(1 + before.views / 4, MOST_VIEWS)[:, None]
        estimate = self._estimate(edges, sizes, fits, seen * views, memory.road)
        best, noise, lifts = sensed.correct(estimate.best, edges, estimate.headings[:, None])
        estimate = replace(estimate, best=best)
        direct = np.isfinite(noise)
        horizon = memory.horizon
        if height > 0:
            by_size = estimate.variances
            first = FIRST_SIGMA if axes is None else LEVEL_SIGMA
            horizon = observe_horizon(horizon, stamp, height, edges, estimate.best, estimate.variances, first)
            estimate = replace(
                estimate,
                fits=with_ground(fits, edges, height, horizon),
                best=with_ground(estimate.best, edges, height, horizon),
            )
            lifts[~direct & (estimate.variances < by_size / 2)] = LIFT_GROUND
        measured = estimate.best.states[:, 0]
        variances = estimate.variances
        relative = variances / measured[:, 0] ** 2
        own = np.where(direct, np.minimum(noise / measured[:, 0] ** 2, relative), _own_variances(edges))
        depths, depth_covariances, common = filter_depths(before, known, elapsed, measured[:, 0], relative, own, direct)
        filtered = depths[:, 0]
        best = _at_depths(estimate.best, edges, filtered)
        spread = depth_covariances[:, 0, 0] + common * filtered**2
        covariances = _position_covariances(estimate, camera, np.sqrt(spread / variances))
        covariances[:, 0, 0] += np.where(edges.cut[:, ::2].any(axis=1), (_UNSEEN * best.states[:, 0, 3]) ** 2, 0.0)
        lifted = _with_boxes(detections, rows, camera, best, estimate, covariances, lifts, axes)
        anew = direct & (before.sensed == 0)  # what was taken for the size before is known better now
        update = (~cut & ~alone) | (before.views == 0)
        views_before = np.where(anew & ~cut, 0.0, before.views)
        filters = BoxFilters(
            tracks.ids[rows],
            classes,
            np.full(len(rows), stamp),
            before.views + ~cut,
            np.where(update[:, None], average(before.sizes, views_before, measured[:, 1:], elapsed), before.sizes),
            np.where(
                update[:, None, None],
                average(before.size_covariances, views_before, estimate.best.covariances[:, 0, 1:, 1:], elapsed),
                before.size_covariances,
            ),
            seen,
            depths,
            depth_covariances,
            common,
            np.maximum(before.sensed, direct & ~cut),
        )
        unseen = kept.select(~np.isin(kept.ids, filters.ids))
        road = heading.observed_road(memory.road, estimate.half_weights[~sizes.is_round & ~cut], elapsed)
        joined = BoxFilters.concatenate([unseen, filters]) if len(unseen) else filters
        return replace(tracks, detections=lifted), BoxMemory(joined, horizon, road, memory.is_level)

    def turn_by_motion(self, tracks: Tracks) -> Tracks:
        """Turns the boxes of tracks to where they go, see `heading.turned_by_motion`. Velocities are over ground."""
        detections = tracks.detections
        if detections.velocities is None or detections.rotations_y is None or detections.heading_variances is None:
            return tracks
        velocities = detections.velocities
        if detections.ups is not None:
            velocities = np.einsum("nij,nj->ni", level_axes(detections.ups), velocities)
        headings, variances = heading.turned_by_motion(
            detections.rotations_y,
            detections.heading_variances,
            velocities,
            self._classes.is_round[detections.class_ids],
        )
        turned = replace(detections, rotations_y=headings.astype(np.float32), heading_variances=variances)
        return replace(tracks, detections=turned)

    def _mounted(self, mount: CameraMount | None) -> tuple[float, Array | None]:
        """Height over the ground, m, and the rotation (3, 3) to level axes, as far as they are known."""
        known = mount or self._mount
        up = self._mount.up if known.up is None else known.up
        return known.height or self._mount.height, None if up is None else level_axes(up)

    def _sizes(self, class_ids: Array, before: BoxFilters, remembered: Array, others: Sizes | None = None) -> Sizes:
        """Those of the classes, or `others`; as seen before where they are `remembered`."""
        if others is None:
            others = Sizes(
                self._classes.means[class_ids], self._classes.covariances[class_ids], self._classes.is_round[class_ids]
            )
        means, covariances = others.means.copy(), others.covariances.copy()
        means[remembered], covariances[remembered] = before.sizes[remembered], before.size_covariances[remembered]
        least = (_LEAST_SIZE_SIGMA * means[remembered]) ** 2
        covariances[remembered] += np.where(before.sensed[remembered, None] > 0, least, 0.0)[:, :, None] * np.eye(3)
        return Sizes(means, covariances, others.is_round)

    @staticmethod
    def _estimate(edges: Edges, sizes: Sizes, fits: BoxFits, seen: Array, road: Array) -> Estimate:
        """Chooses the headings by what was seen of them (N, H) and by the road."""
        prior = np.where(sizes.is_round[:, None], 0.0, np.log(heading.road_prior(road)))
        weights = heading.normalized(prior + np.tile(seen, 2))
        headings, variances = heading.modes(weights)
        headings = np.where(sizes.is_round, heading.AXIS + _bearings(edges), headings)
        nearest = np.round((headings - heading.HEADINGS[0]) / heading.STEP).astype(np.int64) % heading.HALF
        seen_part = np.take_along_axis(fits.seen, nearest[:, None], axis=1)
        return Estimate(fits, weights, fit_boxes(edges, sizes, headings[:, None], seen_part), headings, variances)


class _Sensed:
    """What sensors see of the objects of a frame."""

    def __init__(self, fills: Fills, is_round: Array) -> None:
        self.surfaces: list[Surfaces] = []
        self._fills, self._is_round = fills, is_round

    def found(self, count: int) -> NDArray[np.bool_]:
        """(N,) whether any sensor sees the object."""
        return (
            np.any([surfaces.found for surfaces in self.surfaces], axis=0) if self.surfaces else np.zeros(count, bool)
        )

    def correct(self, fits: BoxFits, edges: Edges, headings: Array) -> tuple[BoxFits, Array, Array]:
        """The fits with all surfaces, (N,) m² of the best sensor's noise, inf without one, and (N,) of LIFT_*."""
        return with_surfaces(fits, edges, headings, self._is_round, self._fills, self.surfaces, LIFT_SIZE_PRIOR)


def _refitted(
    chosen: Array, fits: BoxFits, edges: Edges, sizes: Sizes, headings: Array
) -> tuple[NDArray[np.int64], BoxFits]:
    """The chosen (N,) rows, and their fits with other edges or sizes; the same parts of them are seen."""
    rows = np.flatnonzero(chosen)
    return rows, fit_boxes(edges.select(rows), sizes.select(rows), headings[rows], fits.seen[rows])


def _expected(fits: BoxFits, sizes: Sizes) -> Expected:
    """What fits to 2D boxes tell of depths, over all headings."""
    weights = heading.normalized(fits.log_likelihoods)
    depths = (weights * fits.states[..., 0]).sum(axis=1)
    variances = (weights * (fits.covariances[..., 0, 0] + (fits.states[..., 0] - depths[:, None]) ** 2)).sum(axis=1)
    return Expected(depths, np.sqrt(variances) / depths, np.hypot(sizes.means[:, 1], sizes.means[:, 2]))


def _tracks_of(detections: Detections) -> Tracks:
    """Tracks that were seen once."""
    ones = np.ones(len(detections), np.int64)
    return Tracks(detections, ones, ones, ones, np.zeros(len(detections)))


def _bearings(edges: Edges) -> Array:
    """(N,) rad, of the middles of boxes: 0 ahead, positive to the right."""
    return np.arctan((edges.slopes[:, 0] + edges.slopes[:, 2]) / 2)


def _own_variances(edges: Edges) -> Array:
    """(N,) of the logarithms of depths: of the edges, and of all that changes from frame to frame."""
    sides = edges.slopes[:, 2:] - edges.slopes[:, :2]
    relative = (edges.sigmas[:, :2] / sides) ** 2 + (edges.sigmas[:, 2:] / sides) ** 2
    return relative.min(axis=1) + OWN_SIGMA**2


def _at_depths(best: BoxFits, edges: Edges, depths: Array) -> BoxFits:
    """The fits (N, 1) if the depths are known: the sizes follow."""
    change = depths[:, None] - best.states[..., 0]
    per_depth = best.covariances[..., 1:, 0] / best.covariances[..., :1, 0]
    states = best.states.copy()
    states[..., 0] = depths[:, None]
    states[..., 1:] = np.maximum(states[..., 1:] + per_depth * change[..., None], SMALLEST * states[..., 1:])
    return replace(best, states=states, positions=positions_of(edges, states, best.supports))


def _position_covariances(estimate: Estimate, camera: Camera, shrink: Array) -> Array:
    """(N, 3, 3) m² of the positions over all headings, with the part along the ray `shrink` (N,) times as long."""
    fits, weights, best = estimate.fits, estimate.half_weights, estimate.best.positions
    differences = fits.positions - best
    differences[..., :2] -= (1 - shrink)[:, None, None] * differences[..., 2:] * (best[..., :2] / best[..., 2:])
    differences[..., 2] *= shrink[:, None]
    covariances = (weights[..., None] * differences).swapaxes(1, 2) @ differences
    rays = best[:, 0] / best[:, 0, 2:]
    along = (weights * fits.covariances[..., 0, 0]).sum(axis=1) * shrink**2
    covariances += along[:, None, None] * rays[:, :, None] * rays[:, None, :]
    across = (CENTER_SIGMA_PX * best[:, 0, 2] / camera.focal[0]) ** 2
    return covariances + across[:, None, None] * np.eye(3)


def _with_boxes(
    detections: Detections,
    rows: NDArray[np.int64],
    camera: Camera,
    best: BoxFits,
    estimate: Estimate,
    covariances: Array,
    lifts: Array,
    axes: Array | None,
) -> Detections:
    """The detections with the boxes `best` of `rows`, which are in level `axes`; the others keep what they have."""
    positions, states = best.positions[:, 0], best.states[:, 0]
    if axes is not None:
        positions, covariances = positions @ axes, rotate_covariances(axes.T, covariances)
        positions[:, 2] = np.maximum(positions[:, 2], NEAREST)
    pixels = positions[:, :2] / positions[:, 2:] * camera.focal + camera.projection[:2, 2]
    middles = camera.unproject(pixels, positions[:, 2])
    columns = {
        "depths": positions[:, 2],
        "dimensions": states[:, 1:],
        "locations": middles + np.array([0.0, 0.5, 0.0]) * states[:, 1, None],
        "rotations_y": estimate.headings,
        "heading_variances": estimate.heading_variances,
        "location_covariances": covariances,
        "amodal_centers": camera.distort(pixels),
        "lifts": lifts,
    }
    if axes is not None or detections.ups is not None:
        columns["ups"] = np.tile([0.0, -1.0, 0.0] if axes is None else -axes[1], (len(rows), 1))
    changed: dict[str, Any] = {"alphas": None}
    for name, values in columns.items():
        dtype = np.float64 if name in ("heading_variances", "location_covariances", "ups") else np.float32
        old = getattr(detections, name)
        whole = np.full((len(detections), *values.shape[1:]), np.nan, dtype) if old is None else old.astype(dtype)
        whole[rows] = values
        changed[name] = whole
    return replace(detections, **changed)
