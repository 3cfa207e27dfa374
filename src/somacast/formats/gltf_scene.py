"""Scenes from glTF 2.0 files as one mesh: skins, animations, morph targets and textures by NumPy.

General mesh readers leave a skinned person in whatever shape the vertices were stored. Here the joints move the
vertices, as glTF 2.0 says: linear blend skinning in the default pose of the nodes or at a moment of an animation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from somacast.errors import SomacastError
from somacast.formats.gltf import GENERATOR, MAX_FACES, GltfFile, faults_in_one_line
from somacast.formats.texture import join, joined_at_seams
from somacast.geometry.rasteriser import linear_to_srgb, sample_texture, srgb_to_linear
from somacast.geometry.sampling import DEFAULT_COLOR
from somacast.geometry.subdivision import refine
from somacast.types import Mesh, Texture

FINEST = 1 / 150  # longest edge of textured parts over the root of the surface: 1 cm in any pose, 6 mm on average
_TRIANGLES, _STRIP, _FAN = 4, 5, 6


class GltfScene:
    """One glTF file. `animations` names what it can play; `mesh` gives its people in one pose.

    Raises SomacastError, here or in the methods, for what is missing, damaged, or needs an extension that is not read.
    """

    def __init__(self, path: Path):
        self.path = path
        with faults_in_one_line(path):
            self._file = GltfFile(path)
            animations = self._file.document.get("animations", [])
            self.animations: list[str] = [a.get("name") or str(i) for i, a in enumerate(animations)]

    def mesh(self, animation: int | None = None, share: float = 0.0, finest: float = FINEST) -> Mesh:
        """The whole scene as one mesh with a colour per vertex, in the file's units (metres, y up, front +z).

        animation: index into `animations`, None for the default pose of the nodes; share: moment in [0, 1] of its
        length; finest: longest edge of textured parts over the root of the whole surface, 0 leaves them as they are.
        Transparent triangles and vertices that no triangle uses are left out. Files of ours keep their texture.
        """
        with faults_in_one_line(self.path):
            parts = self._parts(*self._pose(animation, share))
            if self._has_our_texture(parts):
                return _used(join([self._textured(part) for part in parts]), self.path)
            longest = finest * _area(parts) ** 0.5 if finest > 0 else 0.0
            return _used(_join([self._colored(part, longest) for part in parts]), self.path)

    def stored_mesh(self, finest: float = 0.0) -> Mesh:
        """The same with every vertex where its node puts it: skins, morph targets and transparency are passed over, and
        textures, but for those of files of ours, are read at the vertices without averaging. `colors` is None if no
        part has any."""
        with faults_in_one_line(self.path):
            places, _ = self._pose(None, 0.0)
            parts = self._parts(places)
            if self._has_our_texture(parts):
                return join([self._textured(part) for part in parts])
            longest = finest * _area(parts) ** 0.5 if finest > 0 else 0.0
            plain = all("COLOR_0" not in p["attributes"] and "material" not in p["primitive"] for p in parts)
            mesh = _join([self._colored(part, longest, stored=True) for part in parts])
            return Mesh(mesh.vertices, mesh.faces, None) if plain else mesh

    def duration_s(self, animation: int) -> float:
        """Length of an animation in seconds."""
        with faults_in_one_line(self.path):
            samplers = self._file.document["animations"][animation]["samplers"]
            return max(float(self._file.array(s["input"])[-1, 0]) for s in samplers)

    def node_places(self, animation: int, share: float) -> dict[str, np.ndarray]:
        """World transforms [4, 4] of the scene's nodes by name at a share of an animation, in the file's units."""
        with faults_in_one_line(self.path):
            nodes = self._file.document["nodes"]
            return {str(nodes[n].get("name", n)): place for n, place in self._pose(animation, share)[0].items()}

    # -- the pose ------------------------------------------------------------------------------------------------------

    def _pose(self, animation: int | None, share: float) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
        """World transforms [4, 4] of the scene's nodes, and animated weights of morph targets by node."""
        document = self._file.document
        nodes = document["nodes"]
        moved = {} if animation is None else self._moments(document["animations"][animation], share)
        scenes = document.get("scenes")
        children = {c for node in nodes for c in node.get("children", [])}
        roots = scenes[document.get("scene", 0)].get("nodes", []) if scenes else set(range(len(nodes))) - children
        places: dict[int, np.ndarray] = {}
        waiting = [(root, np.eye(4)) for root in roots]
        while waiting:
            number, parent = waiting.pop()
            if number in places:
                raise ValueError(f"node {number} has two parents")
            places[number] = parent @ _local(nodes[number] | moved.get(number, {}))
            waiting += [(child, places[number]) for child in nodes[number].get("children", [])]
        return places, {n: m["weights"] for n, m in moved.items() if "weights" in m}

    def _moments(self, animation: dict[str, Any], share: float) -> dict[int, dict[str, np.ndarray]]:
        """What an animation sets at a share of its length: node -> translation, rotation, scale or weights."""
        times = [self._file.array(s["input"])[:, 0] for s in animation["samplers"]]
        moment = share * max(float(t[-1]) for t in times)
        out: dict[int, dict[str, np.ndarray]] = {}
        for channel in animation["channels"]:
            target, number = channel["target"], channel["sampler"]
            if "node" not in target or target["path"] not in ("translation", "rotation", "scale", "weights"):
                continue
            sampler, at = animation["samplers"][number], times[number]
            how = sampler.get("interpolation", "LINEAR")
            keys = self._file.array(sampler["output"]).astype(np.float64)
            keys = keys.reshape(len(at), 3 if how == "CUBICSPLINE" else 1, -1)
            value = _between(at.astype(np.float64), keys, moment, how, target["path"] == "rotation")
            out.setdefault(target["node"], {})[target["path"]] = value
        return out

    def _parts(
        self, places: dict[int, np.ndarray], weights: dict[int, np.ndarray] | None = None
    ) -> list[dict[str, Any]]:
        """Every primitive of triangles with its points [V, 3] where its node puts them and its faces [F, 3]; with
        weights of morph targets, those and the skins move the points."""
        parts, total = [], 0
        for number, place in places.items():
            node = self._file.document["nodes"][number]
            if "mesh" not in node:
                continue
            mesh = self._file.document["meshes"][node["mesh"]]
            for primitive in mesh["primitives"]:
                attributes = primitive["attributes"]
                mode = primitive.get("mode", _TRIANGLES)
                if mode not in (_TRIANGLES, _STRIP, _FAN) or "POSITION" not in attributes:
                    continue  # lines and points are no part of a person
                points = self._file.array(attributes["POSITION"]).astype(np.float64)
                if weights is not None:
                    amounts = weights[number] if number in weights else node.get("weights", mesh.get("weights", []))
                    self._morph(points, amounts, primitive.get("targets", []))
                order = self._file.array(primitive["indices"])[:, 0] if "indices" in primitive else len(points)
                faces = _triangles(order, mode)
                if not len(faces):
                    continue
                if weights is not None and "skin" in node and "JOINTS_0" in attributes:
                    skin = self._file.document["skins"][node["skin"]]
                    points = self._skinned(points, attributes, skin, places)
                else:
                    points = points @ place[:3, :3].T + place[:3, 3]
                    faces = faces[:, ::-1] if np.linalg.det(place[:3, :3]) < 0 else faces
                if not np.isfinite(points).all() or faces.min() < 0 or faces.max() >= len(points):
                    raise ValueError("expected finite vertices and faces that use them")
                total += max(len(faces), len(points))
                if total > MAX_FACES:
                    raise ValueError(f"expected at most {MAX_FACES} triangles")
                parts.append({"points": points, "faces": faces, "primitive": primitive, "attributes": attributes})
        if not parts:
            raise SomacastError(f"{self.path}: expected triangles, found none")
        return parts

    def _morph(self, points: np.ndarray, amounts: Any, targets: list[dict[str, int]]) -> None:
        """Add to points [V, 3] what morph targets say, each by its amount."""
        for amount, target in zip(amounts, targets, strict=False):
            if amount and "POSITION" in target:
                points += amount * self._file.array(target["POSITION"])

    def _skinned(
        self, points: np.ndarray, attributes: dict[str, int], skin: dict[str, Any], places: dict[int, np.ndarray]
    ) -> np.ndarray:
        """Linear blend skinning: points [V, 3] of the bind pose to the world, by up to 8 joints each."""
        moves = np.stack([places[joint] for joint in skin["joints"]])
        if "inverseBindMatrices" in skin:
            moves = moves @ self._file.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        blend, total = np.zeros((len(points), 3, 4)), np.zeros(len(points))
        for number in range(2):
            if f"JOINTS_{number}" not in attributes:
                break
            joints = self._file.array(attributes[f"JOINTS_{number}"])
            share = self._file.array(attributes[f"WEIGHTS_{number}"]).astype(np.float64)
            for k in range(joints.shape[1]):
                blend += share[:, k, None, None] * moves[joints[:, k], :3]
                total += share[:, k]
        blend /= np.where(total > 0, total, 1)[:, None, None]
        return np.einsum("vij,vj->vi", blend[:, :, :3], points) + blend[:, :, 3]

    # -- the colours ---------------------------------------------------------------------------------------------------

    def _has_our_texture(self, parts: list[dict[str, Any]]) -> bool:
        return self._file.generator == GENERATOR and all("TEXCOORD_0" in part["attributes"] for part in parts)

    def _textured(self, part: dict[str, Any]) -> Mesh:
        """A part of a file of ours with its texture, its vertices joined at the seams."""
        material = self._file.document["materials"][part["primitive"]["material"]]
        picture = self._file.picture(material["pbrMetallicRoughness"]["baseColorTexture"]["index"])
        uv = self._file.array(part["attributes"]["TEXCOORD_0"]).astype(np.float32)
        texture = Texture(np.asarray(picture.convert("RGB")), uv[part["faces"]])
        return joined_at_seams(part["points"], part["faces"], texture, uv)

    def _colored(
        self, part: dict[str, Any], longest: float, stored: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """points [V, 3], faces [F, 3], colours [V, 3] sRGB of a part; `stored`: with transparent triangles too, and
        its texture not averaged."""
        points, faces, attributes = part["points"], part["faces"], part["attributes"]
        number = part["primitive"].get("material")
        material = {} if number is None else self._file.document["materials"][number]
        old = material.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness", {})
        pbr = material.get("pbrMetallicRoughness", {})
        texture = pbr.get("baseColorTexture", old.get("diffuseTexture", {}))
        factor = np.array(pbr.get("baseColorFactor", old.get("diffuseFactor", [1, 1, 1, 1])), np.float64)
        light = np.tile(factor, (len(points), 1))  # linear RGB and alpha
        if "COLOR_0" in attributes:
            own = self._file.array(attributes["COLOR_0"]).astype(np.float64)
            # trimesh writes sRGB where glTF says linear
            in_srgb = "trimesh" in self._file.generator
            light[:, : own.shape[1]] *= np.c_[srgb_to_linear(own[:, :3]), own[:, 3:]] if in_srgb else own
        elif number is None:
            light[:, :3] = srgb_to_linear(np.array(DEFAULT_COLOR))
        picture = self._file.picture(texture["index"]) if texture else None
        move = texture.get("extensions", {}).get("KHR_texture_transform", {})
        name = f"TEXCOORD_{move.get('texCoord', texture.get('texCoord', 0))}"
        if picture is not None and name in attributes:
            uv = _moved_uv(self._file.array(attributes[name]).astype(np.float64), move)
            if longest > 0:
                dense, faces = refine(np.c_[points, uv, light], faces, longest)
                points, uv, light = dense[:, :3], dense[:, 3:5], dense[:, 5:]
            color = _sampled(picture, uv, faces, averaged=not stored)
            light *= np.c_[srgb_to_linear(color[:, :3]), color[:, 3]]
        if material.get("alphaMode", "OPAQUE") != "OPAQUE" and not stored:
            faces = faces[light[faces, 3].mean(1) >= material.get("alphaCutoff", 0.5)]
        color = linear_to_srgb(np.clip(light[:, :3], 0, 1))
        # Ours were 8-bit sRGB before they became linear floats.
        return points, faces, np.round(color * 255) / 255 if self._file.generator == GENERATOR else color


def _triangles(order: np.ndarray | int, mode: int) -> np.ndarray:
    """Triangles [F, 3] int64 of vertices in an order [N] (a number: as they come), listed, in a strip or in a fan."""
    order = np.arange(order) if isinstance(order, int) else order.astype(np.int64)
    if mode == _TRIANGLES:
        return order[: len(order) // 3 * 3].reshape(-1, 3)
    k = np.arange(max(len(order) - 2, 0))
    if mode == _STRIP:  # every other triangle the other way round
        return order[np.stack([k, k + 1 + k % 2, k + 2 - k % 2], 1)]
    return order[np.stack([k + 1, k + 2, 0 * k], 1)]


def _moved_uv(uv: np.ndarray, move: dict[str, Any]) -> np.ndarray:
    """KHR_texture_transform; the result has v up, as `sample_texture` takes it."""
    angle, (sx, sy) = move.get("rotation", 0.0), move.get("scale", (1, 1))
    c, s = np.cos(angle), np.sin(angle)
    x, y = uv[:, 0] * sx, uv[:, 1] * sy
    u, v = np.c_[c * x + s * y, c * y - s * x].T + np.array(move.get("offset", (0, 0)))[:, None]
    return np.c_[u, 1 - v]


def _sampled(picture: Any, uv: np.ndarray, faces: np.ndarray, averaged: bool) -> np.ndarray:
    """Colours [V, 4] of a picture at uv [V, 2]; `averaged`: one finer than the triangles is made smaller before."""
    if not averaged:
        return sample_texture(np.asarray(picture, np.float32) / 255, uv)
    steps = np.abs(uv[faces[:, 0]] - uv[faces[:, 1]]) * [picture.width, picture.height]
    factor = int(np.clip(np.median(steps.max(1)), 1, max(1, min(picture.size) // 16)))
    values = np.asarray(picture.reduce(factor) if factor > 1 else picture, np.float32) / 255
    return sample_texture(values, uv)


def _local(node: dict[str, Any]) -> np.ndarray:
    """Transform [4, 4] of a node relative to its parent."""
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = np.array(node.get("rotation", (0, 0, 0, 1)), np.float64)
    out = np.eye(4)
    out[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    out[:3, :3] *= np.array(node.get("scale", (1, 1, 1)), np.float64)
    out[:3, 3] = node.get("translation", (0, 0, 0))
    return out


def _between(times: np.ndarray, keys: np.ndarray, moment: float, how: str, rotation: bool) -> np.ndarray:
    """Value [C] of keys [T, 1, C] (CUBICSPLINE: [T, 3, C], tangents around the value) at a moment in seconds.

    Rotations are blended on the shorter way and normalised, which differs from slerp by less than keys lie apart.
    """
    middle = keys.shape[1] // 2
    after = int(np.searchsorted(times, moment, "right"))
    if after == 0 or after == len(times):
        return keys[min(after, len(times) - 1), middle]
    a, b, span = keys[after - 1], keys[after], times[after] - times[after - 1]
    t = (moment - times[after - 1]) / span
    if how == "STEP":
        return a[middle]
    if how == "CUBICSPLINE":
        h = np.array([2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t, 3 * t**2 - 2 * t**3, t**3 - t**2])
        value = h[0] * a[1] + h[1] * span * a[2] + h[2] * b[1] + h[3] * span * b[0]
    else:
        sign = -1.0 if rotation and a[0] @ b[0] < 0 else 1.0
        value = (1 - t) * a[0] + t * sign * b[0]
    return value / np.linalg.norm(value) if rotation else value


def _area(parts: list[dict[str, Any]]) -> float:
    total = 0.0
    for part in parts:
        a, b, c = part["points"][part["faces"]].transpose(1, 0, 2)
        total += float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)
    return total


def _join(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Mesh:
    """Points, faces and colours of all parts as one mesh."""
    starts = np.cumsum([0, *(len(points) for points, _, _ in parts)])
    faces = np.concatenate([faces + start for (_, faces, _), start in zip(parts, starts, strict=False)])
    points, colors = (np.concatenate([part[i] for part in parts]).astype(np.float32) for i in (0, 2))
    return Mesh(points, np.ascontiguousarray(faces, np.int32), colors)


def _used(mesh: Mesh, path: Path) -> Mesh:
    """A mesh without the points of left-out triangles, which would count as the person's size."""
    used, faces = np.unique(mesh.faces, return_inverse=True)
    if not len(used) or mesh.colors is None:
        raise SomacastError(f"{path}: expected triangles, found none that can be seen")
    faces = np.ascontiguousarray(faces.reshape(-1, 3), np.int32)
    return Mesh(mesh.vertices[used], faces, mesh.colors[used], mesh.texture)
