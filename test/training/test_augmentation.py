# SPDX-License-Identifier: Apache-2.0
"""Random crops, mirroring, colours and noise in the prior heatmap."""

import numpy as np

from centertrack_ros.geometry.affine import transform
from centertrack_ros.geometry.gaussian import render
from centertrack_ros.training.augmentation import (
    NO_AUGMENTATION,
    Augmentation,
    Crop,
    jittered,
    mapped_boxes,
    mirrored_alpha,
    noisy_prior,
    random_crop,
    vary_color,
)


def test_prior_noise_has_its_configured_rates():
    rng = np.random.default_rng(0)
    boxes = np.tile([[30.0, 20.0, 50.0, 40.0]], (4000, 1))
    how = Augmentation(heatmap_jitter=0.05, lost=0.4, false_peaks=0.1)
    prior = noisy_prior(rng, boxes, (64, 96), how)
    assert abs(len(prior.peaks) / 4000 - 0.6 * 1.1) < 0.03
    assert abs(prior.peaks[:, 0].std() - 1.0) < 0.15  # 0.05 of 20 px
    true = (prior.centers == (40, 30)).all(axis=1)
    assert abs(true.mean() - 0.6) < 0.03  # a lost object's displacement leads to the disturbed centre
    clean = noisy_prior(rng, boxes[:1], (64, 96), NO_AUGMENTATION)
    assert clean.peaks[0, :2].tolist() == [40, 30] and render(clean.peaks, (64, 96))[30, 40] == 1


def test_previous_crop_differs_within_its_bounds_and_mirrors_alike():
    rng = np.random.default_rng(1)
    crop = Crop((50.0, 40.0), 100.0, 1.0, True, 100)
    for _ in range(200):
        other = jittered(rng, crop, Augmentation(shift=0.05, scale=0.05))
        assert (
            np.all(np.abs(np.subtract(other.center, crop.center)) <= 10 + 1e-9)
            and 95 <= other.span <= 105
            and other.mirrored
        )
    for _ in range(200):
        crop = random_crop(rng, (300, 500), Augmentation())
        assert 0.59 * 500 <= crop.span <= 1.31 * 500 and 128 <= crop.center[0] <= 372


def test_a_centred_crop_keeps_every_pixels_direction_of_view():
    """What the camera sees straight ahead stays in the middle; a zoom is another focal length."""
    rng, zooms = np.random.default_rng(3), set()
    for _ in range(50):
        crop = random_crop(rng, (300, 500), Augmentation(scales=(0.7, 1.0), centred=True))
        np.testing.assert_allclose(
            transform(crop.affine((96, 160)), np.array([[249.5, 150.0]])), [[80.0, 48.0]], atol=0.5
        )
        zooms.add(round(crop.zoom, 1))
    assert zooms == {0.7, 0.8, 0.9, 1.0}


def test_mirroring_twice_is_the_identity():
    crop = Crop((48.0, 32.0), 96.0, 1.0, True, 96)
    affine = crop.affine((64, 96))
    box = np.array([[10.0, 5.0, 30.0, 25.0]])
    mirrored = mapped_boxes(affine, box)
    np.testing.assert_allclose(mirrored, [[65, 5, 85, 25]], atol=1e-4)
    alpha = np.array([-3.0, -1.0, 0.5, 2.0])
    np.testing.assert_allclose(mirrored_alpha(mirrored_alpha(alpha)), alpha)


def test_color_changes_stay_colors():
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (20, 30, 3), np.uint8)
    assert vary_color(rng, image, NO_AUGMENTATION) is image
    different = [vary_color(np.random.default_rng(k), image, Augmentation()) for k in range(5)]
    assert all(d.dtype == np.uint8 and d.shape == image.shape and not np.array_equal(d, image) for d in different)
    grey = np.full((4, 4, 3), 100, np.uint8)
    saturated = vary_color(np.random.default_rng(3), grey, Augmentation(lighting=0))
    assert np.ptp(saturated.astype(int), axis=2).max() <= 1  # grey has no colour to change
