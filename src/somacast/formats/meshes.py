"""Meshes to and from files: GLB, PLY and OBJ with a colour per vertex.

Writing is our own (no import beyond NumPy, so that the commands start fast); reading anybody's file is trimesh's.
Colours are kept as 8-bit sRGB. glTF defines vertex colours as linear light, so GLB holds them as linear floats, from
which every 8-bit sRGB value comes back exactly; PLY and OBJ have no rule and by custom hold sRGB. The GLB bears
no material unless asked: viewers then light it by glTF's default, while trimesh and what stands on it drop the vertex
colours of anything that has a material.
"""

from __future__ import annotations

import io
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from somacast.body.table import vertex_normals
from somacast.errors import SomacastError
from somacast.files import check_output_path, write_atomically
from somacast.geometry.rasteriser import linear_to_srgb, sample_texture, srgb_to_linear
from somacast.geometry.sampling import DEFAULT_COLOR
from somacast.geometry.subdivision import refine
from somacast.types import Mesh

GENERATOR = "Somacast"
_GLB_JSON, _GLB_BIN = 0x4E4F534A, 0x004E4942
_FLOAT, _UINT32 = 5126, 5125
MATTE = {"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}
MAX_FILE_BYTES = 2 << 30
MAX_FACES = 50_000_000


def _byte_colors(mesh: Mesh) -> np.ndarray:
    """Colours [V, 3] uint8; grey where there are none."""
    if mesh.colors is None:
        return np.full((len(mesh.vertices), 3), round(255 * DEFAULT_COLOR), np.uint8)
    return np.round(np.clip(mesh.colors, 0, 1) * 255).astype(np.uint8)


def gltf_surface(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A mesh as glTF has it: vertices in metres, unit normals and linear colours, each [V, 3] little-endian float32."""
    vertices = np.ascontiguousarray(mesh.vertices, "<f4")
    normals = np.empty((len(vertices), 3), np.float32)
    vertex_normals(vertices, mesh.faces, normals)
    # glTF wants unit normals even where no triangle gives one.
    normals[~(np.abs(np.linalg.norm(normals, axis=1) - 1) < 1e-3)] = (0, 1, 0)
    return vertices, normals.astype("<f4"), srgb_to_linear(_byte_colors(mesh) / 255.0).astype("<f4")


def glb_container(document: dict[str, Any], binary: bytes) -> bytes:
    """A glTF document and its one buffer (a multiple of four bytes long) as the bytes of a GLB file."""
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(binary))
    return b"".join([head, struct.pack("<II", len(text), _GLB_JSON), text,
                     struct.pack("<II", len(binary), _GLB_BIN), binary])  # fmt: skip


def encode_glb(mesh: Mesh, matte: bool = False) -> bytes:
    """A binary glTF 2.0 file: one mesh, smooth normals, linear vertex colours; `matte` adds a material."""
    vertices, normals, color = gltf_surface(mesh)
    parts: list[tuple[np.ndarray, dict[str, Any], int]] = [
        (vertices, {"componentType": _FLOAT, "type": "VEC3", "min": vertices.min(0).tolist(),
                    "max": vertices.max(0).tolist()}, 34962),
        (normals, {"componentType": _FLOAT, "type": "VEC3"}, 34962),
        (color, {"componentType": _FLOAT, "type": "VEC3"}, 34962),
        (mesh.faces.astype("<u4").reshape(-1), {"componentType": _UINT32, "type": "SCALAR"}, 34963),
    ]  # fmt: skip
    views, accessors, offset = [], [], 0
    for number, (array, kind, target) in enumerate(parts):
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": array.nbytes, "target": target})
        accessors.append({"bufferView": number, "count": len(array), **kind})
        offset += array.nbytes  # all parts are multiples of four bytes
    primitive: dict[str, Any] = {"attributes": {"POSITION": 0, "NORMAL": 1, "COLOR_0": 2}, "indices": 3}
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": GENERATOR},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "person"}],
        "meshes": [{"primitives": [primitive]}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": offset}],
    }
    if matte:
        primitive["material"] = 0
        document["materials"] = [MATTE]
    return glb_container(document, b"".join(array.tobytes() for array, _, _ in parts))


def encode_ply(mesh: Mesh) -> bytes:
    """A binary little-endian PLY file with red, green, blue per vertex."""
    vertex = np.empty(len(mesh.vertices), [("place", "<f4", 3), ("color", "u1", 3)])
    vertex["place"] = mesh.vertices
    vertex["color"] = _byte_colors(mesh)
    face = np.empty(len(mesh.faces), [("count", "u1"), ("corner", "<i4", 3)])
    face["count"] = 3
    face["corner"] = mesh.faces
    head = "\n".join([
        "ply", "format binary_little_endian 1.0", f"comment {GENERATOR}: metres, y up, sRGB",
        f"element vertex {len(vertex)}", *(f"property float {n}" for n in "xyz"),
        *(f"property uchar {n}" for n in ("red", "green", "blue")),
        f"element face {len(face)}", "property list uchar int vertex_indices", "end_header\n",
    ])  # fmt: skip
    return head.encode() + vertex.tobytes() + face.tobytes()


def encode_obj(mesh: Mesh) -> bytes:
    """An OBJ file with the widely read `v x y z r g b` lines."""
    buffer = io.StringIO()
    buffer.write(f"# {GENERATOR}: metres, y up, sRGB vertex colours\no person\n")
    # Six places are a micrometre and keep 8-bit colours exact.
    np.savetxt(
        buffer, np.concatenate([mesh.vertices, _byte_colors(mesh) / 255.0], 1), "v %.6f %.6f %.6f %.6f %.6f %.6f"
    )
    np.savetxt(buffer, mesh.faces + 1, "f %d %d %d")
    return buffer.getvalue().encode()


WRITERS: dict[str, Callable[[Mesh], bytes]] = {".glb": encode_glb, ".ply": encode_ply, ".obj": encode_obj}
READERS = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")


def mesh_suffix(path: str | os.PathLike[str]) -> str:
    """The suffix in small letters if a mesh can be written in that form; else SomacastError."""
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise SomacastError(f"{path}: expected one of {', '.join(WRITERS)}, got {suffix or 'no suffix'}")
    return suffix


def save_mesh(mesh: Mesh, path: str | os.PathLike[str]) -> int:
    """Write a mesh as the suffix says, wholly or not at all; returns the size in bytes.

    Raises SomacastError for an unknown suffix, a missing folder, a full disk, or a mesh with nothing in it.
    """
    writer = WRITERS[mesh_suffix(path)]
    check_output_path(path)
    if not len(mesh.vertices) or not len(mesh.faces) or not np.isfinite(mesh.vertices).all():
        raise SomacastError(f"{path}: expected a mesh with finite triangles, got {len(mesh.faces)} triangles")
    data = writer(mesh)
    write_atomically(path, data)
    return len(data)


def _gltf_generator(data: bytes) -> str:
    """Name of the program that wrote a GLB or glTF file; empty if it does not say."""
    try:
        if data[:4] == b"glTF":
            data = data[20 : 20 + struct.unpack_from("<I", data, 12)[0]]
        return str(json.loads(data)["asset"].get("generator", ""))
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError):
        return ""


def _read_own_glb(data: bytes) -> Mesh | None:
    """A GLB in the form that `encode_glb` writes, colours to the last bit and without trimesh; else None."""
    if _gltf_generator(data) != GENERATOR:
        return None
    length = struct.unpack_from("<I", data, 12)[0]
    try:
        document = json.loads(data[20 : 20 + length])
        if len(document["meshes"]) != 1 or len(document["nodes"]) != 1 or "matrix" in document["nodes"][0]:
            return None
        arrays = []
        for view, accessor in zip(document["bufferViews"], document["accessors"], strict=True):
            dtype = {_FLOAT: "<f4", _UINT32: "<u4"}[accessor["componentType"]]
            width = {"VEC3": 3, "SCALAR": 1}[accessor["type"]]
            flat = np.frombuffer(data, dtype, accessor["count"] * width, 20 + length + 8 + view["byteOffset"])
            arrays.append(flat.reshape(-1, width))
        vertices, _, color, index = arrays
        if index.max() >= len(vertices) or len(color) != len(vertices) or not np.isfinite(vertices).all():
            return None
        faces = index.reshape(-1, 3).astype(np.int32)
    except (ValueError, KeyError, IndexError, TypeError):
        return None  # another program has been at it
    srgb = np.round(linear_to_srgb(np.clip(color, 0, 1)) * 255) / 255
    return Mesh(vertices.astype(np.float32), faces, srgb.astype(np.float32))


def srgb_product(color: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Two sRGB colours multiplied as light."""
    return linear_to_srgb(srgb_to_linear(color) * srgb_to_linear(factor))


def _picture_of(material: Any) -> np.ndarray | None:
    """Base colour picture [H, W, 3] float32 sRGB of a trimesh material, if there is one."""
    picture = getattr(material, "baseColorTexture", None)
    if picture is None:
        picture = getattr(material, "image", None)
    return None if picture is None else np.asarray(picture.convert("RGB"), np.float32) / 255


def _factor_of(material: Any) -> np.ndarray:
    """Base colour [3] of a trimesh material as sRGB float: glTF stores linear light, OBJ what people see."""
    value = getattr(material, "baseColorFactor", None)
    linear = value is not None
    if value is None:
        value = getattr(material, "diffuse", None)
    if value is None:
        return np.ones(3)
    array = np.asarray(value)[:3]
    factor = array / 255.0 if array.dtype.kind in "ui" else array.astype(np.float64)
    return linear_to_srgb(factor) if linear else factor


def _colors_of(geometry: Any, linear: bool) -> np.ndarray | None:
    """A trimesh geometry's colours [V, 3] float32 sRGB, from vertex colours, texture or material; None if none."""
    visual = geometry.visual
    if visual.kind == "texture":
        picture, factor = _picture_of(visual.material), _factor_of(visual.material)
        if picture is None or visual.uv is None:
            attribute = visual.vertex_attributes.get("color")
            if attribute is not None and len(attribute) == len(geometry.vertices):
                values = np.asarray(attribute)[:, :3]
                values = values / np.iinfo(values.dtype).max if values.dtype.kind in "ui" else values
                srgb = linear_to_srgb(np.clip(values, 0, 1)) if linear else values
                return np.clip(srgb_product(srgb, factor), 0, 1).astype(np.float32)
            return np.tile(factor, (len(geometry.vertices), 1)).astype(np.float32)
        color = sample_texture(picture, visual.uv)
        # An OBJ with a picture often carries a stray Kd that other programs ignore; glTF says multiply.
        if getattr(visual.material, "baseColorFactor", None) is not None:
            color = srgb_product(color, factor)
        return np.clip(color, 0, 1).astype(np.float32)
    if visual.kind in ("vertex", "face"):
        color = np.asarray(visual.vertex_colors)[:, :3] / 255.0
        return (linear_to_srgb(color) if linear else color).astype(np.float32)
    return None


def load_mesh(path: str | os.PathLike[str], finest: float = 0.0) -> Mesh:
    """Any GLB, glTF, OBJ, PLY, STL or OFF scene as one mesh in scene coordinates with a colour per vertex.

    Textures are read at the vertices (a mesh coarser than its picture loses detail); `finest` > 0 first splits
    textured triangles until no edge is longer than this share of the root of the scene's surface. Parts without colour
    become grey; `colors` is None only if no part has any. Skins and animations are passed over
    (formats/gltf_reader.py reads them). Raises SomacastError for what is missing, unknown or damaged.
    """
    source = Path(path)
    if source.suffix.lower() not in READERS:
        raise SomacastError(f"{path}: expected one of {', '.join(READERS)}, got {source.suffix or 'no suffix'}")
    try:
        if source.stat().st_size > MAX_FILE_BYTES:
            raise SomacastError(f"{path}: expected at most {MAX_FILE_BYTES} bytes, got {source.stat().st_size}")
        data = source.read_bytes()
    except OSError as error:
        raise SomacastError(f"{path}: cannot be read ({error.strerror or error})") from error
    own = _read_own_glb(data) if source.suffix.lower() == ".glb" else None
    if own is not None:
        return own
    # glTF says vertex colours are linear; trimesh writes sRGB there all the same.
    linear = source.suffix.lower() in (".glb", ".gltf") and "trimesh" not in _gltf_generator(data)
    try:
        import trimesh

        # Vertices are not merged: a seam in the texture needs both of its colours.
        scene = trimesh.load_scene(str(source), process=False)
        parts = []
        for node in scene.graph.nodes_geometry:  # scene.dump() would lose vertex colours beside a material
            transform, name = scene.graph[node]
            geometry = scene.geometry[name]
            if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces):
                if finest > 0:
                    size = float(scene.area) ** 0.5 / max(np.cbrt(abs(np.linalg.det(transform[:3, :3]))), 1e-12)
                    geometry = _refined(geometry, finest * size)
                parts.append(_place(geometry, transform, linear))
    except Exception as error:  # a damaged file fails in as many ways as there are formats
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SomacastError(f"{path}: cannot be read as a mesh ({reason[:120]})") from error
    return _join(parts, path)


def _refined(geometry: Any, longest: float) -> Any:
    """A trimesh geometry with a texture in triangles whose edges are at most `longest`; others as they are."""
    visual = geometry.visual
    if visual.kind != "texture" or visual.uv is None or _picture_of(visual.material) is None:
        return geometry
    from trimesh import Trimesh
    from trimesh.visual import TextureVisuals

    points, faces = refine(np.c_[np.asarray(geometry.vertices), visual.uv], np.asarray(geometry.faces), longest)
    texture = TextureVisuals(uv=points[:, 3:], material=visual.material)
    return Trimesh(points[:, :3], faces, visual=texture, process=False)


def _place(geometry: Any, transform: np.ndarray, linear: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Vertices in the scene, faces, colours of one trimesh geometry; a mirroring transform turns the faces round."""
    vertices = np.asarray(geometry.vertices) @ transform[:3, :3].T + transform[:3, 3]
    faces = np.asarray(geometry.faces)
    if np.linalg.det(transform[:3, :3]) < 0:
        faces = faces[:, ::-1]
    return vertices, faces, _colors_of(geometry, linear)


def _join(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray | None]], path: str | os.PathLike[str]) -> Mesh:
    """Several (vertices, faces, colours) as one mesh; checks that there is something and that it is sound."""
    total = sum(len(faces) for _, faces, _ in parts)
    if not 0 < total <= MAX_FACES:
        raise SomacastError(f"{path}: expected 1 to {MAX_FACES} triangles, got {total}")
    starts = np.cumsum([0, *(len(vertices) for vertices, _, _ in parts)])
    vertices = np.concatenate([vertices for vertices, _, _ in parts]).astype(np.float32)
    faces = np.concatenate([faces + start for (_, faces, _), start in zip(parts, starts, strict=False)])
    if not np.isfinite(vertices).all() or faces.min() < 0 or faces.max() >= len(vertices):
        raise SomacastError(f"{path}: expected finite vertices and faces that use them, got a damaged mesh")
    colors = None
    if any(color is not None for _, _, color in parts):
        colors = np.concatenate([np.full((len(v), 3), DEFAULT_COLOR, np.float32) if c is None else c
                                 for v, _, c in parts])  # fmt: skip
    return Mesh(vertices, np.ascontiguousarray(faces, np.int32), colors)
