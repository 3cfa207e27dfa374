"""What a receiver makes of a decoded picture: where the person is in it, and what light fell on them."""

from __future__ import annotations

import numpy as np
import pytest

from somacast.geometry.rasteriser import MID_GREY, Rendering, render_camera
from somacast.geometry.unlit import light_gain, without_light
from somacast.metrics.image import structure_distance
from somacast.systems.baselines.picture.place import CropPlace
from somacast.systems.baselines.picture.rebuild import seen_silhouette, shown
from somacast.types import Encoded
from support.picture_cases import body

PLACE = CropPlace(1.9, 0.0, 0.0)


def seen_body() -> Rendering:
    return render_camera(body(), PLACE.camera_at(np.array([0, 0, 3.8]), 128), background=MID_GREY)


def lit(seen: Rendering) -> np.ndarray:
    towards = np.array([0.6, 0.5, 0.62])
    return seen.rgb * (0.4 + 0.6 * np.maximum(seen.normals @ towards, 0))[..., None]


def test_the_light_on_a_person_is_found_and_taken_out():
    seen = seen_body()
    picture = lit(seen).astype(np.float32)
    gain = light_gain(picture, seen.mask, seen)
    truth = picture[seen.mask].sum(1) / seen.rgb[seen.mask].sum(1)
    assert np.abs(gain[seen.mask] - truth).mean() < 0.03 and np.ptp(truth) > 0.4
    unlit = without_light(picture, seen.mask, seen)
    assert np.abs(unlit - seen.rgb)[seen.mask].mean() < 0.03 < 0.1 < np.abs(picture - seen.rgb)[seen.mask].mean()


def test_a_print_that_the_base_lacks_is_no_light():
    seen = seen_body()
    printed = seen.rgb.copy()
    printed[55:70, 55:70] = 0.95
    unlit = without_light(lit(Rendering(printed, seen.mask, seen.depth, seen.normals)).astype(np.float32), seen.mask,
                          seen)  # fmt: skip
    assert np.abs(unlit[55:70, 55:70] - 0.95).mean() < 0.08
    assert np.abs(unlit - seen.rgb)[80:110][seen.mask[80:110]].mean() < 0.05


def test_of_nobody_no_light_is_known():
    seen = seen_body()
    nobody = np.zeros_like(seen.mask)
    picture = lit(seen).astype(np.float32)
    assert np.array_equal(without_light(picture, nobody, seen), picture)
    assert np.all(light_gain(picture, nobody, seen) == 1)


def found(silhouette: np.ndarray) -> Encoded:
    side = float(len(silhouette))
    return Encoded([], {"person_box_px": [0.0, 0.0, side, side]}, {"silhouette": silhouette})


def test_a_flat_background_is_cut_from_a_silhouette_that_is_too_wide():
    truth, wide = np.zeros((128, 128), bool), np.zeros((128, 128), np.float32)
    truth[30:100, 50:80], wide[27:103, 47:83] = True, 1
    image = np.full((128, 128, 3), 0.4, np.float32)
    image[truth] = [0.8, 0.3, 0.2]
    image[60:64, 60:64] = 0.4  # of the background's colour, within the person
    seen = shown(image, found(wide))
    assert seen is not None and np.array_equal(seen, truth)
    noise = np.where(truth[..., None], image, np.random.default_rng(0).random(image.shape))
    seen = shown(noise.astype(np.float32), found(wide))
    assert seen is not None and np.array_equal(seen, wide > 0.5)
    # clothes of the background's colour are not eaten whole
    image[truth] = 0.4
    seen = shown(image, found(wide))
    assert seen is not None and seen[50:80, 58:72].all()


def test_without_a_silhouette_nobody_says_where_the_person_is():
    assert shown(np.zeros((64, 64, 3), np.float32), Encoded([])) is None
    assert seen_silhouette(found(np.zeros((64, 64), np.float32)), 64, 64) is None
    half = np.zeros((64, 64), np.float32)
    half[:, :32] = 1
    wide = seen_silhouette(found(half), 64, 96)
    assert wide is not None and wide.shape == (64, 96) and wide[:, :30].min() > 0.9 and wide[:, 34:].max() == 0


def test_the_place_of_a_body_is_where_its_picture_shows_it():
    camera = PLACE.camera_at(np.array([0.2, -0.1, 3.8]), 256)
    frame = PLACE.frame(np.zeros((256, 256, 3), np.uint8))
    assert frame.camera is not None
    assert camera.project(np.zeros((1, 3)))[0] == pytest.approx(frame.camera.project(np.array([[0.2, -0.1, 3.8]]))[0])
    up = camera.project(np.array([[0.0, 0.5, 0.0]]))[0]
    assert up[1] < camera.project(np.zeros((1, 3)))[0, 1] and up[2] == pytest.approx(3.8)


def test_looks_differ_by_what_differs():
    seen = seen_body().rgb
    assert structure_distance(seen, seen) == 0
    near, far = np.roll(seen, 1, 1), np.roll(seen, 8, 1)
    assert 0 < structure_distance(seen, near) < structure_distance(seen, far)
