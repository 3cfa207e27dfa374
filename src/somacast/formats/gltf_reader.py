"""People from glTF 2.0 files (GLB, or glTF beside its buffers): skins, animations, morph targets and textures by NumPy.

General mesh readers leave a skinned person in whatever shape the vertices were stored. Here the joints move the
vertices, as glTF 2.0 says: linear blend skinning in the default pose of the nodes or at a moment of an animation.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from somacast.errors import SomacastError
from somacast.geometry.rasteriser import linear_to_srgb, sample_texture, srgb_to_linear
from somacast.geometry.sampling import DEFAULT_COLOR
from somacast.geometry.subdivision import refine
from somacast.types import Mesh

FINEST = 1 / 150  # longest edge of textured parts over the root of the surface: 1 cm in any pose, 6 mm on average
READABLE = {
    "KHR_mesh_quantization", "KHR_texture_transform", "KHR_materials_unlit", "EXT_texture_webp",
    "KHR_materials_pbrSpecularGlossiness",
}  # fmt: skip
_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_FAULTS = (ValueError, KeyError, IndexError, TypeError, AttributeError, OSError, struct.error, binascii.Error,
           RecursionError, OverflowError, MemoryError)  # fmt: skip


class GltfPerson:
    """One glTF file. `animations` names what it can play; `mesh` gives the person in one pose.

    Raises SomacastError, here or in `mesh`, for what is missing, damaged, or needs an extension that is not read.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self._read(path.read_bytes())
            names = [a.get("name") or str(i) for i, a in enumerate(self.document.get("animations", []))]
        except SomacastError:
            raise
        except _FAULTS as error:
            raise self._fault(error) from error
        self.animations: list[str] = names

    def mesh(self, animation: int | None = None, share: float = 0.0, finest: float = FINEST) -> Mesh:
        """The whole scene as one mesh with a colour per vertex, in the file's units (metres, y up, front +z).

        animation: index into `animations`, None for the default pose of the nodes; share: moment in [0, 1] of its
        length; finest: longest edge of textured parts over the root of the whole surface, 0 leaves them as they are.
        """
        try:
            places, weights = self._pose(animation, share)
            parts = self._parts(places, weights)
            if not parts:
                raise SomacastError(f"{self.path}: expected a person of triangles, found none")
            area = sum(_area(part["points"], part["faces"]) for part in parts)
            return _join([self._colored(part, finest * area**0.5) for part in parts], self.path)
        except SomacastError:
            raise
        except _FAULTS as error:
            raise self._fault(error) from error

    def _fault(self, error: BaseException) -> SomacastError:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        return SomacastError(f"{self.path}: cannot be read as a glTF person ({reason[:120]})")

    # -- the file ------------------------------------------------------------------------------------------------------

    def _read(self, data: bytes) -> None:
        inside = b""
        if data[:4] == b"glTF":
            version, _, length, kind = struct.unpack_from("<IIII", data, 4)
            if version != 2 or kind != 0x4E4F534A:
                raise ValueError(f"expected version 2 of GLB, got {version}")
            text, rest = data[20 : 20 + length], data[20 + length :]
            if len(rest) >= 8:
                inside = rest[8 : 8 + struct.unpack_from("<I", rest)[0]]
        else:
            text = data
        self.document: dict[str, Any] = json.loads(text)
        missing = set(self.document.get("extensionsRequired", [])) - READABLE
        if missing:
            raise SomacastError(
                f"{self.path}: needs {', '.join(sorted(missing))}, which is not read; expected plain glTF"
            )
        self.linear = "trimesh" not in str(self.document["asset"].get("generator", ""))  # which writes sRGB as linear
        self._buffers = [self._uri(b["uri"]) if "uri" in b else inside for b in self.document.get("buffers", [])]
        self._pictures: dict[int, Any] = {}

    def _uri(self, uri: str) -> bytes:
        if uri.startswith("data:"):
            return base64.b64decode(uri.split(",", 1)[1])
        beside = (self.path.parent / unquote(uri)).resolve()
        if not beside.is_relative_to(self.path.parent.resolve()):
            raise ValueError(f"{uri} leaves the folder of the file")
        return beside.read_bytes()

    def _view(self, number: int) -> bytes:
        view = self.document["bufferViews"][number]
        start = view.get("byteOffset", 0)
        return self._buffers[view["buffer"]][start : start + view["byteLength"]]

    def _accessor(self, number: int) -> np.ndarray:
        """Values [N, width] of an accessor; normalised integers come as floats."""
        accessor = self.document["accessors"][number]
        dtype, width = np.dtype(_COMPONENTS[accessor["componentType"]]), _WIDTHS[accessor["type"]]
        count = accessor["count"]
        if "bufferView" in accessor:
            stride = self.document["bufferViews"][accessor["bufferView"]].get("byteStride", dtype.itemsize * width)
            data = self._view(accessor["bufferView"])
            strides = (stride, dtype.itemsize)
            values = np.ndarray((count, width), dtype, data, accessor.get("byteOffset", 0), strides).copy()
        else:
            values = np.zeros((count, width), dtype)
        if "sparse" in accessor:
            sparse = accessor["sparse"]
            n, at, new = sparse["count"], sparse["indices"], sparse["values"]
            index_type = _COMPONENTS[at["componentType"]]
            index = np.frombuffer(self._view(at["bufferView"]), index_type, n, at.get("byteOffset", 0))
            flat = np.frombuffer(self._view(new["bufferView"]), dtype, n * width, new.get("byteOffset", 0))
            values[index] = flat.reshape(n, width)
        if accessor.get("normalized") and dtype.kind in "iu":
            return np.maximum(values.astype(np.float32) / np.iinfo(dtype).max, -1)
        return values

    def _picture(self, texture: int) -> Any:
        """The picture of a texture as a PIL image, RGBA; None if it is of a kind that is not read."""
        if texture not in self._pictures:
            from PIL import Image

            entry = self.document["textures"][texture]
            source = entry.get("extensions", {}).get("EXT_texture_webp", entry).get("source")
            image = {} if source is None else self.document["images"][source]
            data = self._view(image["bufferView"]) if "bufferView" in image else b""
            data = self._uri(image["uri"]) if "uri" in image else data
            self._pictures[texture] = Image.open(io.BytesIO(data)).convert("RGBA") if data else None
        return self._pictures[texture]

    # -- the pose ------------------------------------------------------------------------------------------------------

    def _pose(self, animation: int | None, share: float) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
        """World transforms [4, 4] of the scene's nodes, and animated weights of morph targets by node."""
        nodes = self.document["nodes"]
        moved = {} if animation is None else self._moments(self.document["animations"][animation], share)
        scenes = self.document.get("scenes")
        children = {c for node in nodes for c in node.get("children", [])}
        roots = scenes[self.document.get("scene", 0)].get("nodes", []) if scenes else set(range(len(nodes))) - children
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
        times = [self._accessor(s["input"])[:, 0] for s in animation["samplers"]]
        moment = share * max(float(t[-1]) for t in times)
        out: dict[int, dict[str, np.ndarray]] = {}
        for channel in animation["channels"]:
            target, number = channel["target"], channel["sampler"]
            if "node" not in target or target["path"] not in ("translation", "rotation", "scale", "weights"):
                continue
            sampler, at = animation["samplers"][number], times[number]
            how = sampler.get("interpolation", "LINEAR")
            keys = self._accessor(sampler["output"]).astype(np.float64)
            keys = keys.reshape(len(at), 3 if how == "CUBICSPLINE" else 1, -1)
            value = _between(at.astype(np.float64), keys, moment, how, target["path"] == "rotation")
            out.setdefault(target["node"], {})[target["path"]] = value
        return out

    def _parts(self, places: dict[int, np.ndarray], weights: dict[int, np.ndarray]) -> list[dict[str, Any]]:
        """Every primitive of triangles with its points [V, 3] where the pose puts them, and its faces [F, 3]."""
        parts = []
        for number, place in places.items():
            node = self.document["nodes"][number]
            if "mesh" not in node:
                continue
            mesh = self.document["meshes"][node["mesh"]]
            amounts = weights[number] if number in weights else node.get("weights", mesh.get("weights", []))
            for primitive in mesh["primitives"]:
                if primitive.get("mode", 4) != 4 or "POSITION" not in primitive["attributes"]:
                    continue  # lines and points are no part of a person; strips are as good as never written
                points = self._accessor(primitive["attributes"]["POSITION"]).astype(np.float64)
                for amount, target in zip(amounts, primitive.get("targets", []), strict=False):
                    if amount and "POSITION" in target:
                        points += amount * self._accessor(target["POSITION"])
                if "indices" in primitive:
                    faces = self._accessor(primitive["indices"]).astype(np.int64).reshape(-1, 3)
                else:
                    faces = np.arange(len(points) // 3 * 3).reshape(-1, 3)
                if not len(faces):
                    continue
                if "skin" in node and "JOINTS_0" in primitive["attributes"]:
                    points = self._skinned(
                        points, primitive["attributes"], self.document["skins"][node["skin"]], places
                    )
                else:
                    points = points @ place[:3, :3].T + place[:3, 3]
                    faces = faces[:, ::-1] if np.linalg.det(place[:3, :3]) < 0 else faces
                if not np.isfinite(points).all() or faces.max() >= len(points):
                    raise ValueError("expected finite vertices and faces that use them")
                parts.append({"points": points, "faces": faces, "primitive": primitive})
        return parts

    def _skinned(
        self, points: np.ndarray, attributes: dict[str, int], skin: dict[str, Any], places: dict[int, np.ndarray]
    ) -> np.ndarray:
        """Linear blend skinning: points [V, 3] of the bind pose to the world, by up to 8 joints each."""
        moves = np.stack([places[joint] for joint in skin["joints"]])
        if "inverseBindMatrices" in skin:
            moves = moves @ self._accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        blend, total = np.zeros((len(points), 3, 4)), np.zeros(len(points))
        for number in range(2):
            if f"JOINTS_{number}" not in attributes:
                break
            joints = self._accessor(attributes[f"JOINTS_{number}"])
            share = self._accessor(attributes[f"WEIGHTS_{number}"]).astype(np.float64)
            for k in range(joints.shape[1]):
                blend += share[:, k, None, None] * moves[joints[:, k], :3]
                total += share[:, k]
        blend /= np.where(total > 0, total, 1)[:, None, None]
        return np.einsum("vij,vj->vi", blend[:, :, :3], points) + blend[:, :, 3]

    # -- the colours ---------------------------------------------------------------------------------------------------

    def _colored(self, part: dict[str, Any], longest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """points [V, 3], faces [F, 3], colours [V, 3] sRGB of a part; transparent triangles are left out."""
        points, faces, attributes = part["points"], part["faces"], part["primitive"]["attributes"]
        number = part["primitive"].get("material")
        material = {} if number is None else self.document["materials"][number]
        old = material.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness", {})
        pbr = material.get("pbrMetallicRoughness", {})
        place = pbr.get("baseColorTexture", old.get("diffuseTexture", {}))
        factor = np.array(pbr.get("baseColorFactor", old.get("diffuseFactor", [1, 1, 1, 1])), np.float64)
        light = np.tile(factor, (len(points), 1))  # linear RGB and alpha
        if "COLOR_0" in attributes:
            own = self._accessor(attributes["COLOR_0"]).astype(np.float64)
            light[:, : own.shape[1]] *= own if self.linear else np.c_[srgb_to_linear(own[:, :3]), own[:, 3:]]
        elif number is None:
            light[:, :3] = srgb_to_linear(np.array(DEFAULT_COLOR))
        picture = self._picture(place["index"]) if place else None
        if picture is not None:
            turn = place.get("extensions", {}).get("KHR_texture_transform", {})
            name = f"TEXCOORD_{turn.get('texCoord', place.get('texCoord', 0))}"
            uv = _moved_uv(self._accessor(attributes[name]).astype(np.float64), turn)
            if longest > 0:
                dense, faces = refine(np.c_[points, uv, light], faces, longest)
                points, uv, light = dense[:, :3], dense[:, 3:5], dense[:, 5:]
            color = _sampled(picture, uv, faces)
            light *= np.c_[srgb_to_linear(color[:, :3]), color[:, 3]]
        if material.get("alphaMode", "OPAQUE") != "OPAQUE":
            faces = faces[light[faces, 3].mean(1) >= material.get("alphaCutoff", 0.5)]
        return points, faces, linear_to_srgb(np.clip(light[:, :3], 0, 1))


def _moved_uv(uv: np.ndarray, move: dict[str, Any]) -> np.ndarray:
    """KHR_texture_transform; the result has v up, as `sample_texture` takes it."""
    turn, (sx, sy) = move.get("rotation", 0.0), move.get("scale", (1, 1))
    c, s = np.cos(turn), np.sin(turn)
    x, y = uv[:, 0] * sx, uv[:, 1] * sy
    u, v = np.c_[c * x + s * y, c * y - s * x].T + np.array(move.get("offset", (0, 0)))[:, None]
    return np.c_[u, 1 - v]


def _sampled(picture: Any, uv: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Colours [V, 4] of a picture at uv [V, 2]; one that is finer than the triangles is averaged down before."""
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


def _area(points: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = points[faces].transpose(1, 0, 2)
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def _join(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]], path: Path) -> Mesh:
    starts = np.cumsum([0, *(len(points) for points, _, _ in parts)])
    faces = np.concatenate([faces + start for (_, faces, _), start in zip(parts, starts, strict=False)])
    used, faces = np.unique(faces, return_inverse=True)  # points of left-out triangles would count as the person's size
    if not len(used):
        raise SomacastError(f"{path}: expected a person of triangles, found none that can be seen")
    points, colors = (np.concatenate([part[i] for part in parts])[used].astype(np.float32) for i in (0, 2))
    return Mesh(points, np.ascontiguousarray(faces.reshape(-1, 3), np.int32), colors)
