"""Synthetic people with everything known: the pictures and truths that all systems learn from and are tested on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from somacast.body.table import hand_and_jaw_rotations, load_body
from somacast.geometry.rasteriser import Atlas
from somacast.synthetic.motion.clips import MotionLibrary
from somacast.synthetic.people import Person, draw_person
from somacast.synthetic.rendering import Cloth, bounds, halve, shade, visible
from somacast.synthetic.scenes import Light, Shot, draw_background, draw_light, draw_view
from somacast.synthetic.wardrobe.garments import Wardrobe
from somacast.types import Mesh

STEREO_BASELINE_M = 0.065


@dataclass(frozen=True)
class SceneConfig:
    """How samples are drawn: picture size, crop looseness, share of the asset wardrobe, stereo."""

    size_px: int = 128
    margin: tuple[float, float] = (1.08, 1.4)  # crop side over the person's bounding box
    jitter: float = 0.05  # crop centre, in crop sides
    asset_share: float = 0.6
    views_per_person: int = 6
    stereo: bool = False
    camera_distance_m: tuple[float, float] = (2.4, 6.5)
    spoilt_share: float = 0.0  # of the pictures in training pools: coded at a low rate (compression.spoil)


@dataclass
class Sample:
    """One picture and all that is true about it; view frame, pelvis at the origin, metres.

    image [S, S, 3] uint8, silhouette [S, S] uint8 coverage, depth_m [S, S] float32: depth of the
    surface minus depth of the pelvis, negative towards the camera (NaN outside), normals [S, S, 3] float32 (0 outside),
    part [S, S] uint8 (0 outside, else canonical joint + 1), material [S, S] uint8 (0 outside, else MATERIALS + 1),
    joints_px [21, 2], joints_m [21, 3], rotations [21, 3, 3], curl [2], jaw, shot, right [S, S, 3] or None.
    """

    image: np.ndarray
    silhouette: np.ndarray
    depth_m: np.ndarray
    normals: np.ndarray
    part: np.ndarray
    material: np.ndarray
    joints_px: np.ndarray
    joints_m: np.ndarray
    rotations: np.ndarray
    curl: np.ndarray
    jaw: float
    shot: Shot
    action: str
    person: Person
    vertices: np.ndarray
    right: np.ndarray | None = None
    info: dict = field(default_factory=dict)

    def truth_mesh(self) -> Mesh:
        """The dressed mesh with unlit colours, in the view frame."""
        return self.person.colored_mesh(self.vertices)


def paint(
    person: Person, xyz: np.ndarray, normals: np.ndarray, shot: Shot, size: int, background: np.ndarray, light: Light
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw a posed person over `background` [2S, 2S, 3] float32 in [0, 255], which is used up.

    Returns image [S, S, 3] uint8, coverage [S, S] uint8, and at [2S, 2S] inverse depth and triangle (-1 outside).
    """
    fine = Shot(shot.distance_m, shot.cx, shot.cy, 2 * shot.scale)
    inverse_m = 1 / (shot.distance_m - xyz[:, 2:].astype(np.float64))
    points = np.concatenate([fine.project(xyz.astype(np.float64), 2 * size), inverse_m], 1).astype(np.float32)
    atlas = Atlas(person.textures, person.uvs, person.face_uvs, person.face_layer, person.cut_out)
    inverse, triangle, weights = visible(points, person.faces, atlas, 2 * size)
    cloth = Cloth(person.matrices, person.two_sided)
    light = light._replace(color=light.color.astype(np.float32))
    shade(atlas, cloth, light, person.faces, normals, triangle, weights, background)
    out = np.empty((size, size, 3), np.uint8)
    mask = np.empty((size, size), np.uint8)
    halve(background, triangle, out, mask)
    return out, mask, inverse, triangle


class SyntheticPeople:
    """Draws samples of one split. The same (seed, index) gives the same sample on any machine and process count."""

    def __init__(
        self,
        split: str,
        seed: int = 0,
        assets: Path | None = None,
        config: SceneConfig | None = None,
        backgrounds: list[Path] | None = None,
        actions: tuple[str, ...] | None = None,
    ):
        self.split, self.seed, self.config = split, seed, config or SceneConfig()
        self.motions = MotionLibrary(split, assets)
        self.backgrounds = backgrounds
        self.actions = actions
        self.wardrobes: list[tuple[Wardrobe, float]] = []
        if assets:
            from somacast.synthetic.wardrobe.assets import AssetWardrobe

            self.wardrobes.append((AssetWardrobe(assets), self.config.asset_share))
        rest = 1 - sum(share for _, share in self.wardrobes)
        if rest > 0:
            from somacast.synthetic.wardrobe.builtin import BuiltinWardrobe

            self.wardrobes.append((BuiltinWardrobe(), rest))

    def _rng(self, index: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, index, 0 if self.split == "train" else 1])

    def person(self, index: int) -> tuple[Person, np.random.Generator]:
        """Person number `index` and the generator that draws their pictures."""
        rng = self._rng(index)
        share = np.array([s for _, s in self.wardrobes])
        wardrobe = self.wardrobes[rng.choice(len(share), p=share / share.sum())][0]
        return draw_person(rng, wardrobe, self.split), rng

    def samples(self, index: int) -> Iterator[Sample]:
        """All pictures of person number `index`."""
        person, rng = self.person(index)
        for view in range(self.config.views_per_person):
            action = (
                self.actions[(index * self.config.views_per_person + view) % len(self.actions)]
                if self.actions
                else None
            )
            yield self.shoot(person, rng, action)

    def shoot(self, person: Person, rng: np.random.Generator, action: str | None = None) -> Sample:
        """One picture of the person in a drawn pose, camera, light and place."""
        config, size = self.config, self.config.size_px
        pose, label = self.motions.draw(rng, action)
        curl, jaw = rng.beta(1.2, 1.8, 2), float(rng.uniform(0, 0.3) if rng.random() < 0.3 else 0)
        rotations = (draw_view(rng, self.split) @ pose).astype(np.float32)
        xyz, joints = person.pose(rotations, hand_and_jaw_rotations(curl[0], curl[1], jaw))
        normals = person.normals(xyz)
        distance = float(rng.uniform(*config.camera_distance_m))
        x0, x1, y0, y1 = bounds(xyz, distance)
        side = max(x1 - x0, y1 - y0) * rng.uniform(*config.margin)
        shift = rng.uniform(-config.jitter, config.jitter, 2) * side
        shot = Shot(distance, (x0 + x1) / 2 + shift[0], (y0 + y1) / 2 + shift[1], size / side)
        light = draw_light(rng)
        if self.wardrobes and hasattr(self.wardrobes[0][0], "background_textures"):
            textures = self.wardrobes[0][0].background_textures()  # type: ignore[attr-defined]
        else:
            textures = person.textures
        background = draw_background(rng, 2 * size, textures, self.backgrounds)
        right = None
        if config.stereo:
            moved = xyz - np.array([STEREO_BASELINE_M, 0, 0], np.float32)
            right = paint(person, moved, normals, shot, size, background.copy(), light)[0]
        image, mask, inverse, triangle = paint(person, xyz, normals, shot, size, background, light)
        truth = self._truth(person, normals, inverse[::2, ::2], triangle[::2, ::2], distance)
        return Sample(
            image=image, silhouette=mask, **truth, joints_px=shot.project(joints, size).astype(np.float32),
            joints_m=joints, rotations=rotations, curl=curl.astype(np.float32), jaw=jaw, shot=shot, action=label,
            person=person, vertices=xyz, right=right,
        )  # fmt: skip

    def _truth(
        self, person: Person, normals: np.ndarray, inverse: np.ndarray, triangle: np.ndarray, distance: float
    ) -> dict:
        seen = triangle >= 0
        face = triangle[seen]
        depth = np.full(triangle.shape, np.nan, np.float32)
        depth[seen] = 1 / inverse[seen] - distance
        normal = np.zeros((*triangle.shape, 3), np.float32)
        flat = normals[person.faces[face]].mean(1)
        normal[seen] = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-8)
        part = np.zeros(triangle.shape, np.uint8)
        corner = person.faces[face, 0]
        bone = person.skin_index[corner, person.skin_weight[corner].argmax(1)]
        part[seen] = load_body().bone_joint[bone] + 1
        material = np.zeros(triangle.shape, np.uint8)
        material[seen] = person.face_material[face] + 1
        return {"depth_m": depth, "normals": normal, "part": part, "material": material}
