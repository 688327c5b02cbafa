# SPDX-License-Identifier: Apache-2.0
"""What objects look like to several cameras: which of the objects that are equally near a new track continues.

Cameras expose differently. The gain between two cameras is unknown at first and then learnt as a distribution over
`GAINS`, from objects of which position alone tells that both cameras mean the same one. Appearances are compared under
all gains, weighted by how probable they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.tracking import appearance
from centertrack_ros.tracking.multi_camera.records import (
    GAINS,
    CameraTracks,
    Floats,
    Integers,
    LooksMemory,
    ObjectLooks,
)

PRIOR_GAIN = 0.5  # standard deviation, as a power of 2, of the gain between two cameras that nothing is known about
# Distance that an object has from itself in another camera at the same time: other pixels, another direction of view.
# Of nuScenes and DDAD (`python -m experiments.reidentification`).
CAMERA_NOISE = 0.05
# One in three objects looks like any other: cut by the image's border, or seen from another side. The likest pairs are
# ten times as common among equal objects as among others.
RELIABILITY = 0.75
MOST_EVIDENCE = 2.0
MEMORY = 0.9  # of what is known of a gain after each frame that tells something: light changes


@dataclass(frozen=True)
class Likeness:
    """How alike the two of P pairs look, under all gains, where both looks are known.

    Attributes:
        rows: (Q,) numbers of these pairs.
        cameras: (Q, 2) indices of the cameras that the two were seen by.
        evidence: (Q, K) nats for one object rather than two, under each gain.
    """

    rows: Integers
    cameras: Integers
    evidence: Floats

    def nats(self, memory: LooksMemory, count: int) -> Floats:
        """(P,) log likelihood ratios of "one object", P being `count`; 0 where a look is unknown."""
        found = np.zeros(count)
        gains = gain_probabilities(memory.gains)[self.cameras[:, 0], self.cameras[:, 1]]
        found[self.rows] = np.minimum(np.logaddexp.reduce(gains + self.evidence, axis=1), MOST_EVIDENCE)
        return found


def gain_probabilities(told: Floats) -> Floats:
    """(C, C, K) log probabilities of the gains, by what objects told of them; a camera has none against itself."""
    weights = told - 0.5 * (GAINS / PRIOR_GAIN) ** 2
    weights = weights - np.logaddexp.reduce(weights, axis=-1)[..., None]
    each = np.arange(len(told))
    weights[each, each] = np.where(GAINS == 0, 0.0, -np.inf)
    return np.asarray(weights)


def remembered(memory: LooksMemory, object_ids: Integers) -> ObjectLooks:
    """The looks of objects (P,); zeros where there is none."""
    found = ObjectLooks.concatenate([memory.objects, ObjectLooks.blank(1)])
    same = object_ids[:, None] == memory.objects.ids
    return found.select(np.where(same.any(axis=1), same.argmax(axis=1) if same.shape[1] else 0, len(found) - 1))


def looks_in(observation: CameraTracks, camera: int, object_ids: Integers) -> ObjectLooks | None:
    """What the N tracks of a frame of camera number `camera`, of these objects (N,), look like; None: unknown."""
    looks, stamps = observation.tracks.appearances, observation.tracks.appearance_stamps
    if looks is None or stamps is None:
        return None
    return ObjectLooks(object_ids, np.full(len(looks), camera), np.asarray(stamps, np.float64), looks)


def compare(first: ObjectLooks, second: ObjectLooks) -> Likeness:
    """Compares P looks with P others, each with its own one; an object has one look."""
    rows = np.flatnonzero(appearance.is_known(first.looks) & appearance.is_known(second.looks))
    first, second = first.select(rows), second.select(rows)
    _, each, pairs = np.unique(first.ids, return_index=True, return_inverse=True)
    exposed = appearance.under_gain(first.looks[each], GAINS)
    distances = 1.0 - np.einsum("qkd,qd->qk", exposed[pairs], second.looks)
    elapsed = np.abs(first.stamps - second.stamps)[:, None]
    nats = appearance.evidence(np.clip(distances, 0.0, 1.0), elapsed, RELIABILITY, CAMERA_NOISE)
    return Likeness(rows, np.stack([first.cameras, second.cameras], axis=1), nats)


def learn_gains(memory: LooksMemory, likeness: Likeness, sure: Integers) -> LooksMemory:
    """The memory after some pairs, those numbered `sure`, were the same objects by position alone."""
    usable = np.isin(likeness.rows, sure) & (likeness.cameras[:, 0] != likeness.cameras[:, 1])
    if not usable.any():
        return memory
    gains = memory.gains.copy()
    cameras, evidence = likeness.cameras[usable], likeness.evidence[usable]
    for one, other in {(min(pair), max(pair)) for pair in cameras.tolist()}:
        forth, back = ((cameras == pair).all(axis=1) for pair in ((one, other), (other, one)))
        told = evidence[forth].sum(axis=0) + evidence[back].sum(axis=0)[::-1]
        gains[one, other] = MEMORY * gains[one, other] + told
        gains[other, one] = gains[one, other][::-1]
    return replace(memory, gains=gains)


def remember(memory: LooksMemory, seen: ObjectLooks, object_ids: Integers) -> LooksMemory:
    """The memory after a frame.

    Args:
        memory: The one before.
        seen: Of the frame, each object at most once.
        object_ids: All objects that there are.
    """
    before, old = remembered(memory, seen.ids), memory.objects
    newer = ~appearance.is_known(before.looks) | (seen.stamps >= before.stamps)
    known = newer & appearance.is_known(seen.looks) & np.isfinite(seen.stamps) & _among(seen.ids, object_ids)
    new = seen.select(known)
    old = old.select(_among(old.ids, object_ids) & ~_among(old.ids, new.ids))
    return replace(memory, objects=ObjectLooks.concatenate([old, new]))


def _among(ids: Integers, others: Integers) -> NDArray[np.bool_]:
    """(N,) whether ids (N,) are among others; faster than `np.isin` for a few."""
    return np.asarray((ids[:, None] == others).any(axis=1))
