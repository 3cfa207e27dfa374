"""A picture of several synthetic people who stand at known places."""

from __future__ import annotations

import numpy as np

from somacast.synthetic.samples import SceneConfig, SyntheticPeople, paint
from somacast.synthetic.scenes import Shot, draw_background, draw_light, draw_view
from somacast.types import USUAL_FOCAL

UPRIGHT = ("standing", "walking", "gesturing")


def group_picture(places_m: np.ndarray, seed: int = 3, size_px: int = 640) -> np.ndarray:
    """Pelvises [N, 3] before the usual camera (x right, y down, z away, metres) to a picture [S, S, 3] uint8."""
    source = SyntheticPeople("test", seed, None, SceneConfig())
    person, rng = source.person(0)
    image = draw_background(rng, size_px, person.textures)
    light = draw_light(rng)
    for number in np.argsort(-places_m[:, 2]):  # who stands behind first
        right, down, away = places_m[number]
        person, rng = source.person(int(number) + 1)
        pose, action = source.motions.draw(rng)
        while action not in UPRIGHT:
            pose, action = source.motions.draw(rng)
        xyz, _ = person.pose((draw_view(rng, "test") @ pose).astype(np.float32), np.array([0.4, 0.4]))
        normals = person.normals(xyz)
        shot = Shot(float(away), 0.0, 0.0, USUAL_FOCAL * size_px)
        background = image.repeat(2, 0).repeat(2, 1).astype(np.float32)
        image = paint(person, xyz + np.float32([right, -down, 0]), normals, shot, size_px, background, light)[0]
    return image
