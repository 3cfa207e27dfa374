"""Rigged people on disk: one .npz a person and outfit, with textures, rig and units (docs/assets.md)."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from somacast.errors import SomacastError
from somacast.synthetic.rigged.rig import Rig, make_rig

FOLDER = "rigged"  # of an asset folder
# Persons kept for tests: both sexes and five ethnic groups. Everybody else is for training, in every outfit.
TEST_PERSONS = ("Asian_F_2", "Black_M_2", "Hispanic_F_3", "MENA_M_3", "White_F_1")
_PARTS = {
    "units": ("vertices_low_m", "vertices_step_m", "rest_m"),
    "rig": ("joint", "weight_u8", "bones", "parent", "rest_m"),
    "surface": ("vertices_u16", "faces", "material", "uv_i16"),
}
_UV_STEPS = 8192
_MAX_TEXTURES = 8


@dataclass(frozen=True)
class Figure:
    """One person in one outfit, at rest in a T-pose: x = the person's left, y up, z forward, metres.

    vertices [V, 3] float32, one for each place; skin_index [V, 4] int32 and skin_weight [V, 4] float32 into the bones;
    heads [B, 3] float32 of the bones; faces [F, 3] int32; face_uvs [F, 3] int32 into uvs [T, 2] float32 in [0, 1), v
    up; face_layer [F] int32 into textures [L, S, S, 4] uint8: 0 is skin and clothes, others are hair.
    """

    name: str
    vertices: np.ndarray
    skin_index: np.ndarray
    skin_weight: np.ndarray
    rig: Rig
    heads: np.ndarray
    faces: np.ndarray
    face_uvs: np.ndarray
    uvs: np.ndarray
    face_layer: np.ndarray
    textures: np.ndarray

    @property
    def person(self) -> str:
        return person_of(self.name)


def person_of(name: str) -> str:
    """Whose figure a file holds: its name is PERSON_OUTFIT."""
    return name.rpartition("_")[0]


def _missing(path: Path) -> str | None:
    """What a file lacks, in words; None if all arrays are there."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {n.removesuffix(".npy") for n in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return "cannot be read"
    lacks = [f"{part} ({', '.join(n for n in needs if n not in names)})"
             for part, needs in _PARTS.items() if not names >= set(needs)]  # fmt: skip
    if "texture_0_webp" not in names:
        lacks.append("textures (texture_0_webp)")
    return f"no {', no '.join(lacks)}" if lacks else None


def list_figures(assets: Path) -> dict[str, list[Path]]:
    """Files of ASSETS/rigged by person, in order of name.

    Raises SomacastError if there are none, and one that names every file without a rig, textures, surface or units.
    """
    folder = assets / FOLDER
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise SomacastError(f"{folder}: expected rigged people as PERSON_OUTFIT.npz, found none")
    faults = [(p.name, _missing(p) if person_of(p.stem) else "not named PERSON_OUTFIT.npz") for p in files]
    if any(fault for _, fault in faults):
        raise SomacastError(f"{folder}: " + "; ".join(f"{name}: {fault}" for name, fault in faults if fault))
    people: dict[str, list[Path]] = {}
    for path in files:
        people.setdefault(person_of(path.stem), []).append(path)
    return people


def check_rigged(assets: Path) -> list[str]:
    """Every fault of the rigged people of an asset folder as one line that names the file; empty where there are none
    of them or all is well."""
    faults = []
    for path in sorted((assets / FOLDER).glob("*.npz")):
        try:
            read_figure(path, 64)
            if not person_of(path.stem):
                faults.append(f"{FOLDER}/{path.name}: expected the name PERSON_OUTFIT.npz")
        except SomacastError as fault:
            faults.append(f"{FOLDER}/{path.name}" + str(fault).removeprefix(str(path)))
    return faults


def read_figure(path: Path, texture_px: int) -> Figure:
    """One file, its textures brought to texture_px; SomacastError in one line that names the file and the fault."""
    lacks = _missing(path)
    if lacks:
        raise SomacastError(f"{path}: {lacks}; expected a rigged person with textures and metres")
    try:
        with np.load(path, allow_pickle=False) as file:
            raw = {name: file[name] for name in file.files}
        _check_shapes(path, raw)
        return _figure(path, raw, texture_px)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as fault:
        reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise SomacastError(f"{path}: is damaged ({reason}); expected a rigged person") from fault


def _check_shapes(path: Path, raw: dict[str, np.ndarray]) -> None:
    vertices, triangles, bones = len(raw["vertices_u16"]), len(raw["faces"]), len(raw["bones"])
    layers = sum(f"texture_{k}_webp" in raw for k in range(_MAX_TEXTURES))
    expected = {
        "vertices_u16": (vertices, 3), "vertices_low_m": (3,), "vertices_step_m": (3,), "faces": (triangles, 3),
        "material": (triangles,), "uv_i16": (vertices, 2), "joint": (vertices, 4), "weight_u8": (vertices, 4),
        "bones": (bones,), "parent": (bones,), "rest_m": (bones, 3),
    }  # fmt: skip
    for name, shape in expected.items():
        if raw[name].shape != shape:
            raise SomacastError(f"{path}: {name} has shape {raw[name].shape}; expected {shape}")
        if name != "bones" and not np.isfinite(raw[name]).all():
            raise SomacastError(f"{path}: {name} holds numbers that are not finite")
    if not vertices or not triangles:
        raise SomacastError(f"{path}: expected a surface, got {vertices} vertices and {triangles} triangles")
    for name, top in (("faces", vertices), ("joint", bones), ("material", layers)):
        if raw[name].min() < 0 or raw[name].max() >= top:
            raise SomacastError(f"{path}: {name} goes to {raw[name].max()}; expected numbers below {top}")
    if not (raw["parent"] < np.arange(bones)).all() or raw["parent"].min() < -1:
        raise SomacastError(f"{path}: parent: expected bones after the one they hang on")
    height = float(np.ptp(raw["vertices_u16"][:, 1].astype(np.float64)) * raw["vertices_step_m"][1])
    if not 0.3 < height < 3:
        raise SomacastError(f"{path}: stands {height:.3g} m tall; expected metres")


def _texture(data: np.ndarray, size_px: int) -> np.ndarray:
    picture = Image.open(io.BytesIO(data.tobytes())).convert("RGBA")
    if picture.size != (size_px, size_px):
        smaller = picture.width > size_px
        picture = picture.resize((size_px, size_px), Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC)
    return np.asarray(picture)


def _shared(raw: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """First row of each place that bones move alike, and its number [V] int32 for every row."""
    place = raw["vertices_u16"].astype(np.uint64) << np.array([0, 16, 32], np.uint64)
    moved = np.ascontiguousarray(np.concatenate([raw["joint"], raw["weight_u8"]], 1), np.uint8).view(np.uint64)[:, 0]
    key = place.sum(1, dtype=np.uint64)
    order = np.lexsort((moved, key))
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(key[order]) != 0) | (np.diff(moved[order]) != 0)
    same = np.empty(len(order), np.int32)
    same[order] = np.cumsum(new) - 1
    return order[new], same


def _figure(path: Path, raw: dict[str, np.ndarray], texture_px: int) -> Figure:
    # the file holds a vertex once for each of its texture coordinates: shared again, so that normals have no seams
    first, same = _shared(raw)
    weight = raw["weight_u8"][first].astype(np.float32)
    corners = raw["faces"].astype(np.int32)
    uv = raw["uv_i16"].astype(np.float32) / _UV_STEPS
    uv[:, 1] = 1 - uv[:, 1]
    layers = sorted(n for n in raw if n.startswith("texture_"))
    try:
        rig = make_rig([str(b) for b in raw["bones"]], raw["parent"])
    except ValueError as fault:
        raise SomacastError(f"{path}: {fault}") from fault
    return Figure(
        name=path.stem,
        vertices=(raw["vertices_low_m"] + raw["vertices_u16"][first] * raw["vertices_step_m"]).astype(np.float32),
        skin_index=raw["joint"][first].astype(np.int32),
        skin_weight=weight / np.maximum(weight.sum(1, keepdims=True), 1),
        rig=rig,
        heads=raw["rest_m"].astype(np.float32),
        faces=same[corners],
        face_uvs=corners,
        uvs=np.clip(uv, 0, 1 - 1e-6),  # a texture repeats: 1 would be its other edge
        face_layer=raw["material"].astype(np.int32),
        textures=np.stack([_texture(raw[name], texture_px) for name in layers]),
    )
