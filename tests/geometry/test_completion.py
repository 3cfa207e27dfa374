"""The half of a person that no camera saw: patterns go around, twins help each other, and no face is behind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from somacast.body.table import TPOSE, load_body
from somacast.geometry.projection import project_picture
from somacast.geometry.rasteriser import level_camera, render_camera
from somacast.geometry.texturing.completion import (
    completed,
    mix_sources,
    mix_sources_reference,
    near_ones,
    near_ones_reference,
    reduce_texels,
    reduce_texels_reference,
)
from somacast.geometry.texturing.islands import body_corners, outer_islands
from somacast.geometry.texturing.limbs import (
    HEAD,
    LEFT_ARM,
    LEFT_LEG,
    LIMBS_PX,
    RIGHT_ARM,
    RIGHT_LEG,
    TRUNK,
    limb_texels,
)
from somacast.geometry.texturing.texels import texels_of
from somacast.types import Mesh, Texture

SIDE = 512
GREY, SHIRT, LINE = 0.5, np.array([0.2, 0.3, 0.7]), np.array([0.9, 0.9, 0.8])


class Square:
    """The texels of the square at SIDE: of which limb, where on the T-pose [S, S, 3] in metres, which way it looks."""

    def __init__(self):
        body = load_body()
        face, bary = texels_of(body_corners(), SIDE)
        skin = body.pose(np.zeros(1), TPOSE)[0]
        self.point = (skin[body.faces[np.maximum(face, 0)]] * bary[..., None]).sum(2)
        limb = np.full(LIMBS_PX**2, -1)
        limb[limb_texels().at] = limb_texels().limb
        step = SIDE // LIMBS_PX
        self.limb = limb.reshape(LIMBS_PX, LIMBS_PX).repeat(step, 0).repeat(step, 1)
        self.limb[(face < 0) | ~outer_islands()[np.maximum(face, 0)]] = -1
        corner = skin[body.faces[np.maximum(face, 0)]]
        normal = np.cross(corner[..., 1, :] - corner[..., 0, :], corner[..., 2, :] - corner[..., 0, :])
        self.facing = normal[..., 2] / np.maximum(np.linalg.norm(normal, axis=-1), 1e-12)

    @property
    def front(self) -> np.ndarray:
        """What a camera before the person sees, [S, S] float32."""
        return np.clip(3 * self.facing, 0, 1).astype(np.float32) * (self.limb >= 0)

    @property
    def behind(self) -> np.ndarray:
        return self.facing < -0.5


@pytest.fixture(scope="module")
def square() -> Square:
    return Square()


def picture(square: Square, color: np.ndarray | list[float] | float = GREY) -> np.ndarray:
    return np.broadcast_to(np.asarray(color, np.float32), (*square.limb.shape, 3)).copy()


def test_stripes_of_a_shirt_seen_from_the_front_go_around(square):
    stripes = np.sin(2 * np.pi * square.point[..., 1] / 0.12) > 0
    shirt = picture(square)
    shirt[stripes], shirt[~stripes] = SHIRT, LINE
    base = picture(square, (SHIRT + LINE) / 2)
    out = completed(shirt, square.front, base)
    back = (square.limb == TRUNK) & square.behind
    error = np.abs(out[back] - shirt[back]).mean()
    assert error < 0.12 and error < 0.4 * np.abs(base[back] - shirt[back]).mean()


@pytest.mark.parametrize("hem_m", [pytest.param(0.2, id="waist"), pytest.param(0.045, id="hips")])
def test_a_hem_goes_around(square, hem_m):
    """Also where the legs begin beside the trunk."""
    over = square.point[..., 1] - hem_m
    dressed = picture(square, LINE)
    dressed[over < 0] = SHIRT
    out = completed(dressed, square.front, picture(square))
    back = np.isin(square.limb, (TRUNK, LEFT_LEG, RIGHT_LEG)) & square.behind
    back &= (np.abs(over) > 0.015) & (np.abs(over) < 0.05)
    error = np.abs(out[back] - dressed[back])
    assert np.quantile(error, 0.95) < 0.2 and error.mean() < 0.04


def test_an_emblem_in_the_middle_of_the_chest_is_on_the_front_alone(square):
    shirt = picture(square, SHIRT)
    across, height = square.point[..., 0], square.point[..., 1]
    chest = float(np.quantile(height[square.limb == TRUNK], 0.7))
    shirt[(np.abs(across) < 0.05) & (np.abs(height - chest) < 0.05) & (square.limb == TRUNK)] = [0.9, 0.1, 0.1]
    out = completed(shirt, square.front, picture(square, SHIRT))
    back = (square.limb == TRUNK) & square.behind
    assert np.abs(out[back] - SHIRT).max() < 0.2


def test_a_face_is_not_behind_the_head(square):
    """A red nose, and hair on top of the head that goes on behind."""
    texels = limb_texels()
    scalp = np.full(LIMBS_PX**2, -180.0)
    scalp[texels.at] = texels.scalp
    scalp = scalp.reshape(LIMBS_PX, LIMBS_PX).repeat(2, 0).repeat(2, 1)
    head, skin, hair, red = square.limb == HEAD, [0.9, 0.7, 0.6], [0.2, 0.1, 0.05], [1.0, 0.0, 0.0]
    person = picture(square, skin)
    person[scalp > 0] = hair
    place = square.point[head & (square.facing > 0.5)]
    nose = place[place[:, 2].argmax()]
    person[np.linalg.norm(square.point - nose, axis=-1) < 0.03] = red
    seen = square.front * (square.point[..., 2] > nose[2] - 0.16)
    base = picture(square, [0.5, 0.4, 0.35])
    out = completed(person, seen, base)
    back = head & square.behind & (square.point[..., 2] < nose[2] - 0.12)
    assert (out[back][:, 0] - out[back][:, 1]).max() < 0.25, "no red behind"
    assert np.abs(out[back & (scalp > 20)] - hair).mean() < 0.06


def test_a_hidden_arm_gets_the_sleeve_of_the_other(square):
    arms = picture(square)
    sleeve = np.abs(square.point[..., 0]) < 0.35
    for limb in (LEFT_ARM, RIGHT_ARM):
        arms[(square.limb == limb) & sleeve] = SHIRT
        arms[(square.limb == limb) & ~sleeve] = LINE
    seen = np.where(square.limb == RIGHT_ARM, 1, 0).astype(np.float32)
    out = completed(arms, seen, picture(square))
    left = (square.limb == LEFT_ARM) & (np.abs(np.abs(square.point[..., 0]) - 0.35) > 0.02)
    assert np.abs(out[left] - arms[left]).mean() < 0.04


def test_nothing_seen_leaves_the_base(square):
    base = np.random.default_rng(0).random((SIDE, SIDE, 3)).astype(np.float32)
    assert completed(np.ones_like(base), np.zeros((SIDE, SIDE), np.float32), base) is base


def test_what_is_not_explained_keeps_its_base(square):
    """A hand alone is seen: no trunk follows from it."""
    seen = (square.limb == limb_texels().limb.max()).astype(np.float32)
    out = completed(picture(square, SHIRT), seen, picture(square, 0.4))
    assert np.abs(out[square.limb == TRUNK] - 0.4).max() < 0.05


@pytest.mark.parametrize("size", [512, 1024])
def test_any_size_of_texture(square, size):
    color, weight = np.ones((size, size, 3), np.float32), np.zeros((size, size), np.float32)
    weight[: size // 2] = 1
    out = completed(color, weight, np.zeros_like(color))
    assert out.shape == color.shape and out.dtype == np.float32 and out.min() >= 0 and out.max() <= 1


def test_other_squares_are_refused():
    with pytest.raises(ValueError, match="multiple of 256"):
        completed(np.zeros((300, 300, 3), np.float32), np.ones((300, 300), np.float32), np.zeros((300, 300, 3)))


def test_twins_lie_opposite():
    """On the left for the right, and the twin of a twin is where one began."""
    texels, body = limb_texels(), load_body()
    face, bary = texels_of(body_corners(), LIMBS_PX)
    skin = body.pose(np.zeros(1), TPOSE)[0]
    place = (skin[body.faces[face.ravel()[texels.at]]] * bary.reshape(-1, 3)[texels.at][..., None]).sum(1)
    has = texels.left_right >= 0
    apart = place[has] * [-1, 1, 1] - place[texels.left_right[has]]
    assert np.linalg.norm(apart, axis=1).max() < 0.03 and has.mean() > 0.9
    has = texels.front_back >= 0
    apart = place[has] - place[texels.front_back[has]]
    assert np.abs(np.median(apart[:, :2], 0)).max() < 0.01 and np.quantile(np.abs(apart[:, :2]), 0.99) < 0.01
    assert not (texels.front_back[texels.limb == HEAD] >= 0).any()


def test_compiled_parts_agree_with_their_twins():
    rng = np.random.default_rng(3)
    color, base = rng.random((2, SIDE, SIDE, 3), np.float32)
    weight = rng.random((SIDE, SIDE), np.float32) * (rng.random((SIDE, SIDE)) < 0.5)
    at = limb_texels().at[::7]
    got = tuple(np.empty((len(at), *shape), np.float32) for shape in ((3,), (), (3,)))
    reduce_texels(color, weight.astype(np.float32), base, at, *got)
    for one, other in zip(got, reduce_texels_reference(color, weight, base, at), strict=True):
        assert np.allclose(one, other, atol=1e-5)
    places, others = rng.normal(0, 1, (50, 4)).astype(np.float32), rng.normal(0, 1, (30, 4)).astype(np.float32)
    trust, found = rng.random(30, np.float32), np.empty((2, 50), np.float32)
    near_ones(places, others, trust, *found)
    assert np.allclose(found, near_ones_reference(places, others, trust), atol=1e-5)

    count = 60
    left_right, front_back = rng.integers(-1, count, (2, count))
    seen, without, own, ring = rng.random((4, count, 3), np.float32)
    trust, known = rng.random((2, count), np.float32)
    out = np.empty_like(own)
    mix_sources(left_right, front_back, seen, without, trust, own, ring, known, out)
    wanted = mix_sources_reference(left_right, front_back, seen, without, trust, own, ring, known)
    assert np.allclose(out, wanted, atol=1e-4)


def test_a_projected_picture_is_completed_if_so_asked(square):
    """The skin itself as a mesh in the body's square, in a striped shirt seen from the front."""
    body = load_body()
    skin = body.pose(np.zeros(1), TPOSE)[0]
    outer = outer_islands() & ~body.inner_faces
    grey = Texture(np.full((SIDE, SIDE, 3), 128, np.uint8), body_corners()[outer])
    mesh = Mesh(skin, body.faces[outer], np.full_like(skin, 0.5), grey)
    stripes = np.where(np.sin(2 * np.pi * square.point[..., 1:2] / 0.12) > 0, SHIRT, LINE)
    truth = replace(mesh, texture=replace(grey, image=np.round(255 * stripes).astype(np.uint8)))
    front, back = (level_camera(192, 2.0, azimuth, np.zeros(3)) for azimuth in (0, 180))
    seen, behind = render_camera(truth, front), render_camera(truth, back)
    shown = [project_picture(mesh, seen.rgb, front, complete=c) for c in (None, completed)]
    error = [np.abs(render_camera(m, back).rgb - behind.rgb)[behind.mask].mean() for m in shown]
    assert error[1] < 0.6 * error[0]
