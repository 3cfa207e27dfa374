"""Rigged people as persons: drawn by split, posed by the canonical joints, varied for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from somacast.body.clothing import MATERIALS
from somacast.body.table import BODY_VERTICES, load_body, skin_vertices
from somacast.errors import SomacastError
from somacast.synthetic.people import Person
from somacast.synthetic.rigged.body_fit import BodyFit, fit_body, resized_shape
from somacast.synthetic.rigged.dyes import draw_dye, dyed, hair_color, to_color
from somacast.synthetic.rigged.proportions import draw_scale, resize
from somacast.synthetic.rigged.reader import TEST_PERSONS, Figure, list_figures, read_figure
from somacast.synthetic.rigged.regions import BOTTOM, HAIR, SHOES, SKIN, TOP, Regions, find_regions
from somacast.synthetic.rigged.rig import Rig
from somacast.synthetic.wardrobe.garments import Outfit, scale_matrix

_KEPT = 48  # figures in memory, about 6 MB each at 512 px


@dataclass(kw_only=True)
class RiggedPerson(Person):
    """A rigged person; bones [B, 3] are those of `rig`, anchors [21, 3] the canonical joints at rest.

    The anchors are the joints of our body model inside the figure, so that a pelvis or a hip means the same place for
    all people: the rig's own lie up to 9 cm from them. Each is carried half by its bone and half by the one above.
    """

    rig: Rig
    anchors: np.ndarray

    @property
    def bone_joint(self) -> np.ndarray:
        """See Person."""
        return self.rig.joint

    @property
    def height_m(self) -> float:
        """See Person; of the body model inside, as shoes and hair do not count."""
        return float(np.ptp(load_body().rest(self.shape)[0][:BODY_VERTICES, 1]))

    def pose(
        self, rotations: np.ndarray, curl: Sequence[float] | np.ndarray = (0.0, 0.0), jaw: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """See Person; there is no jaw to open."""
        transform, _ = self.rig.transforms(self.bones, rotations, (float(curl[0]), float(curl[1])))
        out = np.empty_like(self.vertices)
        skin_vertices(self.vertices, self.skin_index, self.skin_weight, transform, out)
        joints = self.rig.carried(transform, self.anchors)
        return out - joints[0], joints - joints[0]


@dataclass(frozen=True)
class _Prepared:
    """What is worked out once for a figure: the body inside, the material [F] uint8 of the triangles, what the texture
    shows where, and the brightness in [0, 255] of each texture."""

    figure: Figure
    fit: BodyFit
    material: np.ndarray
    regions: Regions
    brightness: list[float]


_MATERIAL = {SKIN: "skin", TOP: "top", BOTTOM: "bottom", SHOES: "shoes", HAIR: "hair"}


def _materials(figure: Figure, regions: Regions) -> np.ndarray:
    """Material [F] uint8 of the triangles, numbers of MATERIALS, by the region in their middle."""
    corner = figure.faces[:, 0]
    bone = figure.skin_index[corner, figure.skin_weight[corner].argmax(1)]
    middle = figure.uvs[figure.face_uvs].mean(1)
    edge = len(regions.region)
    texel = (np.stack([1 - middle[:, 1], middle[:, 0]], 1) * (edge - 1)).astype(int)
    number = np.array([MATERIALS.index(_MATERIAL[k]) for k in range(len(_MATERIAL))], np.uint8)
    material = number[regions.region[texel[:, 0], texel[:, 1]]]
    material[figure.rig.eyes[bone]] = MATERIALS.index("eyes")
    material[figure.face_layer > 0] = MATERIALS.index("hair")
    return material


class RiggedPeople:
    """The rigged people of an asset folder as a source of persons, split by person (TEST_PERSONS).

    Test people come as they are; training people change in build. Raises SomacastError if the folder has none, or
    files without rig, textures or units.
    """

    def __init__(self, assets: Path, texture_px: int = 512):
        found = list_figures(assets)
        self.files = {
            "test": {k: v for k, v in found.items() if k in TEST_PERSONS},
            "train": {k: v for k, v in found.items() if k not in TEST_PERSONS},
        }
        self._folder = assets
        self._texture_px = texture_px
        self._known: dict[Path, tuple[BodyFit, Regions]] = {}
        self._prepared = lru_cache(_KEPT if texture_px <= 512 else _KEPT // 4)(self._prepare)

    def _prepare(self, path: Path) -> _Prepared:
        figure = read_figure(path, self._texture_px)
        if path not in self._known:  # what takes longest is small: all is kept
            self._known[path] = fit_body(figure), find_regions(figure)
        fit, regions = self._known[path]
        brightness = [float(np.median(t[..., :3])) for t in figure.textures]
        return _Prepared(figure, fit, _materials(figure, regions), regions, brightness)

    def people(self, split: str) -> dict[str, list[Path]]:
        """Files of the people of a split by person; SomacastError if there is nobody."""
        if not self.files[split]:
            raise SomacastError(f"{self._folder}: no rigged people for {split}; see TEST_PERSONS in docs/assets.md")
        return self.files[split]

    def draw(self, rng: np.random.Generator, split: str) -> Person:
        """See PersonSource: any person of the split in any of their outfits."""
        people = self.people(split)
        files = people[list(people)[rng.integers(len(people))]]
        prepared = self._prepared(files[rng.integers(len(files))])
        return as_person(prepared) if split == "test" else _varied(prepared, rng)

    def person(self, path: Path) -> RiggedPerson:
        """One figure as it is."""
        return as_person(self._prepared(path))


def as_person(prepared: _Prepared) -> RiggedPerson:
    """A figure as a person, unaltered."""
    figure, fit = prepared.figure, prepared.fit
    layers = len(figure.textures)
    return RiggedPerson(
        shape=fit.shape,
        phenotype={},
        outfit=Outfit(figure.textures[0], scale_matrix(1.0), []),
        rest_body=np.zeros((0, 3), np.float32),
        bones=figure.heads,
        vertices=figure.vertices,
        skin_index=figure.skin_index,
        skin_weight=figure.skin_weight,
        faces=figure.faces,
        face_uvs=figure.face_uvs,
        uvs=figure.uvs,
        face_layer=figure.face_layer,
        face_material=prepared.material,
        textures=figure.textures,
        two_sided=np.arange(layers) > 0,  # hair is made of sheets
        cut_out=np.zeros(layers, bool),
        matrices=np.stack([scale_matrix(1.0)] * layers),
        identity=figure.person,
        has_face=True,
        has_jaw=False,
        attributes_known=False,
        rig=figure.rig,
        anchors=fit.joints,
    )


def _varied(prepared: _Prepared, rng: np.random.Generator) -> RiggedPerson:
    """Somebody of the same face, of another build, in other clothes, now and then with other hair."""
    person, figure = as_person(prepared), prepared.figure
    scale = draw_scale(rng)
    resized = resize(figure, scale, prepared.fit.joints)
    at = figure.rig.joint_bone
    shape = resized_shape(prepared.fit, figure.heads[at], resized.heads[at], scale)
    hair = hair_color(rng)
    dye = draw_dye(rng, prepared.regions, hair)
    textures = figure.textures.copy()
    textures[0] = dyed(figure.textures[0], prepared.regions, dye)
    matrices = person.matrices.copy()
    if hair is not None:
        for layer in range(1, len(matrices)):
            matrices[layer] = to_color(hair, prepared.brightness[layer])
    return replace(
        person, vertices=resized.vertices, bones=resized.heads, anchors=resized.anchors, shape=shape,
        textures=textures, matrices=matrices,
    )  # fmt: skip
