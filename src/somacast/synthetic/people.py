"""Dressed people: body shape + outfit -> one mesh in the rest pose that skins to any pose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from somacast.body.clothing import MATERIALS
from somacast.body.table import BODY_VERTICES, Body, hand_and_jaw_rotations, load_body, skin_vertices, vertex_normals
from somacast.geometry.rasteriser import MIN_ALPHA
from somacast.synthetic.wardrobe.garments import Garment, Outfit, Wardrobe
from somacast.synthetic.wardrobe.looks import embellish
from somacast.types import Mesh

if TYPE_CHECKING:
    from somacast.synthetic.datasets.loaders import TruePose

PHENOTYPE = ("gender", "age_years", "african", "asian", "caucasian", "muscle", "weight", "height")
TEST_ANCHORS = 0.1  # the last tenth of the anchors is kept for test people


@dataclass
class Person:
    """A dressed person in the rest pose.

    vertices [V, 3], skin_index / skin_weight [V, 6], faces [F, 3], face_uvs [F, 3], uvs [T, 2],
    face_layer [F] into textures [L, 256, 256, 4] and matrices [L, 3, 4], face_material [F] into MATERIALS,
    bones [163, 3] rest heads, shape [K] coefficients, rest_body [19158, 3]. identity: whose face it is, of those who
    have one; shape_known, attributes_known: whether shape and outfit.attributes may be learnt from.
    """

    shape: np.ndarray
    phenotype: dict[str, float]
    outfit: Outfit
    rest_body: np.ndarray
    bones: np.ndarray
    vertices: np.ndarray
    skin_index: np.ndarray
    skin_weight: np.ndarray
    faces: np.ndarray
    face_uvs: np.ndarray
    uvs: np.ndarray
    face_layer: np.ndarray
    face_material: np.ndarray
    textures: np.ndarray
    two_sided: np.ndarray
    cut_out: np.ndarray
    matrices: np.ndarray = field(default_factory=lambda: np.zeros(0))
    identity: str | None = None
    has_face: bool = False  # a real one, not that of a skin texture
    has_jaw: bool = True
    shape_known: bool = True
    attributes_known: bool = True

    @property
    def bone_joint(self) -> np.ndarray:
        """Canonical joint [B] of each bone that skin_index names."""
        return load_body().bone_joint

    @property
    def height_m(self) -> float:
        """Standing upright, barefoot."""
        return float(np.ptp(self.rest_body[:BODY_VERTICES, 1]))

    def pose(
        self, rotations: np.ndarray, curl: Sequence[float] | np.ndarray = (0.0, 0.0), jaw: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Joint world rotations [21, 3, 3] to vertices [V, 3] and joints [21, 3], pelvis joint at the origin.

        curl: left and right hand, 0 flat to 1 fist; jaw: its opening in radians, 0 to 0.35.
        """
        extra = hand_and_jaw_rotations(float(curl[0]), float(curl[1]), jaw)
        transform, joints = load_body().transforms(self.bones, rotations, extra)
        out = np.empty_like(self.vertices)
        skin_vertices(self.vertices, self.skin_index, self.skin_weight, transform, out)
        return out - joints[0], joints - joints[0]

    def normals(self, vertices: np.ndarray) -> np.ndarray:
        """Unit vertex normals [V, 3] of posed vertices."""
        out = np.empty_like(vertices)
        vertex_normals(vertices, self.faces, out)
        return out

    def albedo(self, face: np.ndarray, bary: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unlit colour [N, 3] in [0, 1] and alpha [N] in [0, 1] at points given by face [N] and barycentric [N, 3]."""
        uv = (self.uvs[self.face_uvs[face]] * bary[..., None]).sum(1)
        edge = self.textures.shape[1]
        place = (np.stack([uv[:, 0], 1 - uv[:, 1]], 1) % 1.0) * (edge - 1)
        texel = place.astype(np.int32)
        layer = self.face_layer[face]
        rgba = self.textures[layer, texel[:, 1], texel[:, 0]].astype(np.float32)
        matrix = self.matrices[layer]
        color = np.einsum("nij,nj->ni", matrix[..., :3], rgba[:, :3]) + matrix[..., 3]
        return np.clip(color / 255, 0, 1), np.where(self.cut_out[layer], rgba[:, 3] / 255, 1.0)

    def posed_mesh(self, pose: TruePose) -> Mesh:
        """See `datasets.loaders.Subject`."""
        return self.colored_mesh(self.pose(pose.rotations, pose.curl, pose.jaw)[0])

    def colored_mesh(self, vertices: np.ndarray, max_edge_m: float = 0.02) -> Mesh:
        """Mesh with vertex colours, faces split until their texture shows; holes of cut-out textures removed."""
        corners = vertices[self.faces]
        longest = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=-1).max(1)
        points, colors, count = [], [], 0
        for splits in (1, 2, 4):
            low, high = {1: (0, 1), 2: (1, 2), 4: (2, 1e9)}[splits]
            face = np.flatnonzero((longest > low * max_edge_m) & (longest <= high * max_edge_m))
            grid = _split_triangle(splits)  # [splits^2, 3 corners, 3 barycentric]
            each = np.repeat(face, len(grid))
            bary = np.tile(grid, (len(face), 1, 1))
            _, alpha = self.albedo(each, bary.mean(1))
            each, bary = each[alpha > MIN_ALPHA / 255], bary[alpha > MIN_ALPHA / 255]
            for corner in range(3):
                points.append((corners[each] * bary[:, corner, :, None]).sum(1))
                # colours a little inside the triangle, so that a seam in the texture is not crossed
                inner = 0.9 * bary[:, corner] + 0.1 * bary.mean(1)
                colors.append(self.albedo(each, inner)[0])
            count += len(each)
        v = np.concatenate([np.stack(points[i : i + 3], 1).reshape(-1, 3) for i in range(0, 9, 3)])
        c = np.concatenate([np.stack(colors[i : i + 3], 1).reshape(-1, 3) for i in range(0, 9, 3)])
        return Mesh(v.astype(np.float32), np.arange(3 * count, dtype=np.int32).reshape(-1, 3), c.astype(np.float32))


class PersonSource(Protocol):
    """Where people come from: dressed bodies of a wardrobe, or rigged people of an asset folder."""

    def draw(self, rng: np.random.Generator, split: str) -> Person:
        """One person of the split "train" or "test"; the splits share nobody."""
        ...


def _split_triangle(n: int) -> np.ndarray:
    cells = []
    for i in range(n):
        for j in range(n - i):
            p = np.array([[i, j], [i + 1, j], [i, j + 1]], np.float64)
            cells.append(p)
            if j < n - i - 1:
                cells.append(np.array([[i + 1, j], [i + 1, j + 1], [i, j + 1]], np.float64))
    uv = np.stack(cells) / n
    return np.concatenate([1 - uv.sum(-1, keepdims=True), uv], -1)


def draw_shape(rng: np.random.Generator, body: Body, split: str) -> tuple[np.ndarray, dict[str, float]]:
    """A body shape near the blend of two anchors of like sex and age; test people come from anchors of their own."""
    total = len(body.anchor_shape)
    first_test = int(total * (1 - TEST_ANCHORS))
    pool = np.arange(first_test, total) if split == "test" else np.arange(first_test)
    one = int(rng.choice(pool))
    table = body.anchor_phenotype
    near = np.abs(table[pool, 0] - table[one, 0]) * 5 + np.abs(table[pool, 1] - table[one, 1]) / 10
    two = int(pool[rng.choice(np.argsort(near)[:20])])
    t = rng.uniform(0, 0.5)
    mixed = (1 - t) * table[one] + t * table[two]
    shape = (1 - t) * body.anchor_shape[one] + t * body.anchor_shape[two]
    return shape.astype(np.float32), {k: float(v) for k, v in zip(PHENOTYPE, mixed, strict=True)}


def _uncovered(garment: Garment, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """faces, face_uvs and face_material of a garment, without faces that lie wholly on hidden [V] body vertices."""
    faces, face_uvs, material = garment.faces, garment.face_uvs, garment.face_material
    if not hidden.any() or not material.size or MATERIALS[material[0]] not in ("top", "bottom", "shoes"):
        return faces, face_uvs, material
    covered: np.ndarray = np.all(hidden[garment.index], axis=1)
    keep = ~np.all(covered[faces], axis=1)
    return faces[keep], face_uvs[keep], material[keep]


def dress(shape: np.ndarray, phenotype: dict[str, float], outfit: Outfit) -> Person:
    """Fit every layer to the body and merge all into one mesh, hidden skin left out."""
    body = load_body()
    rest, bones = body.rest(shape, helpers=True)
    vertices, index, weight = [rest], [body.skin_index], [body.skin_weight]
    faces, face_uvs, uvs = [], [], [body.uvs]
    face_layer, face_material = [], []
    textures, two_sided, cut_out = [outfit.skin], [False], [False]
    hidden: np.ndarray = np.zeros(len(rest), bool)
    vertex_count, uv_count = len(rest), len(body.uvs)
    ordered = sorted(outfit.layers, key=lambda item: -item.garment.depth)
    for number, layer in enumerate(ordered, 1):
        garment = layer.garment
        fitted = garment.fit(rest)
        f, ft, material = _uncovered(garment, hidden)
        bone, share = _garment_skin(body, garment)
        vertices.append(fitted)
        index.append(bone)
        weight.append(share)
        faces.append(f + vertex_count)
        face_uvs.append(ft + uv_count)
        uvs.append(garment.uvs)
        face_layer.append(np.full(len(f), number, np.int32))
        face_material.append(material)
        textures.append(garment.texture)
        two_sided.append(MATERIALS[material[0]] != "eyes" if material.size else True)
        cut_out.append(garment.cut_out)
        vertex_count += len(fitted)
        uv_count += len(garment.uvs)
        if len(garment.hidden):
            hidden[garment.hidden] = True
    seen = ~hidden[body.faces].all(1)
    faces.insert(0, body.faces[seen])
    face_uvs.insert(0, body.face_uvs[seen])
    face_layer.insert(0, np.zeros(int(seen.sum()), np.int32))
    face_material.insert(0, np.zeros(int(seen.sum()), np.uint8))
    merged = np.concatenate(faces)
    used = np.unique(merged)
    renumber = np.zeros(vertex_count, np.int32)
    renumber[used] = np.arange(len(used))
    pad = [np.pad(a, ((0, 0), (0, 6 - a.shape[1]))) for a in index]
    person = Person(
        shape=shape,
        phenotype=phenotype,
        outfit=outfit,
        rest_body=rest,
        bones=bones,
        vertices=np.ascontiguousarray(np.concatenate(vertices)[used]),
        skin_index=np.ascontiguousarray(np.concatenate(pad)[used]),
        skin_weight=np.ascontiguousarray(np.concatenate(weight)[used]),
        faces=renumber[merged],
        face_uvs=np.concatenate(face_uvs).astype(np.int32),
        uvs=np.concatenate(uvs).astype(np.float32),
        face_layer=np.concatenate(face_layer),
        face_material=np.concatenate(face_material).astype(np.uint8),
        textures=np.stack(textures),
        two_sided=np.array(two_sided),
        cut_out=np.array(cut_out),
    )
    person.matrices = np.stack([outfit.skin_matrix, *[layer.color_matrix for layer in ordered]])
    return person


_SKINS: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}


def _garment_skin(body: Body, garment: Garment) -> tuple[np.ndarray, np.ndarray]:
    """Skinning of a garment's vertices, blended from the body's like their places; the same for every shape."""
    key = id(garment.index)  # recoloured copies of a garment share the array
    if key not in _SKINS:
        if len(_SKINS) > 600:
            _SKINS.clear()
        bound = np.einsum("vk,vkb->vb", garment.weight, _dense_weights(body)[garment.index])
        top = np.argpartition(-bound, 6, 1)[:, :6]
        share = np.clip(np.take_along_axis(bound, top, 1), 0, None)
        share = (share / np.maximum(share.sum(1, keepdims=True), 1e-8)).astype(np.float32)
        _SKINS[key] = (garment.index, top.astype(np.int32), share)  # holding the array keeps its id taken
    return _SKINS[key][1:]


_DENSE: dict[int, np.ndarray] = {}


def _dense_weights(body: Body) -> np.ndarray:
    """Skinning weights of all hm08 vertices as a dense [19158, 163] table, made once."""
    if id(body) not in _DENSE:
        dense = np.zeros((len(body.skin_index), len(body.parent)), np.float32)
        np.add.at(dense, (np.arange(len(dense))[:, None], body.skin_index), body.skin_weight)
        _DENSE[id(body)] = dense
    return _DENSE[id(body)]


def draw_person(rng: np.random.Generator, wardrobe: Wardrobe, split: str, varied: bool = False) -> Person:
    """One dressed person of the given split ("train" or "test"); varied: with the looks of `wardrobe.looks`."""
    shape, phenotype = draw_shape(rng, load_body(), split)
    outfit = wardrobe.outfit(rng, phenotype, split)
    if varied:  # a generator of its own: rng goes on as without
        outfit = embellish(rng.spawn(1)[0], outfit, phenotype, split)
    return dress(shape, phenotype, outfit)


@dataclass(frozen=True)
class WardrobePeople:
    """Bodies of the body table in clothes of a wardrobe; varied: with the looks of `wardrobe.looks`."""

    wardrobe: Wardrobe
    varied: bool = False

    def draw(self, rng: np.random.Generator, split: str) -> Person:
        """See PersonSource."""
        return draw_person(rng, self.wardrobe, split, self.varied)
