"""The asset wardrobe: garments, hair, skins and motions read from a folder (format in docs/assets.md)."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from somacast.body.clothing import MATERIALS
from somacast.errors import SomacastError
from somacast.synthetic.wardrobe.garments import (
    TEXTURE_SIZE_PX,
    Garment,
    Layer,
    Outfit,
    dye_matrix,
    hair_matrix,
    scale_matrix,
)

GARMENT_KEYS = ("idx", "w", "off", "scale_v", "scale_d", "uv", "f", "ft", "delete", "z_depth")
_HAIR_STYLE = {"afro": "afro", "long": "long", "bob": "long", "braid": "tied", "ponytail": "tied", "short": "short"}
_TEST_GARMENTS = ("male_casualsuit04", "female_sportsuit01", "shoes05", "short04", "bob02")
_TEST_SKINS = ("young_lightskinned_male_diffuse3", "middleage_darkskinned_female_diffuse")


def _texture(path: Path | None, fallback: tuple[int, int, int]) -> np.ndarray:
    size = (TEXTURE_SIZE_PX, TEXTURE_SIZE_PX)
    if path is None:
        plain = np.full((*size, 4), 255, np.uint8)
        plain[..., :3] = fallback
        return plain
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGBA").resize(size, Image.Resampling.BOX))


def _split_suit(index: np.ndarray, offset: np.ndarray, faces: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Materials of a one-piece outfit: faces above the waist are top, those below bottom."""
    height = rest[index].mean(1)[:, 1] + offset[:, 1]
    waist = 0.12  # metres above the pelvis of the mean body in rest pose: navel height
    top = height[faces].mean(1) > waist
    return np.where(top, MATERIALS.index("top"), MATERIALS.index("bottom")).astype(np.uint8)


def read_garment(folder: Path, kind: str, entry: dict) -> Garment:
    """One garment of the asset folder; `entry` is its element of index.json."""
    from somacast.body.table import load_body

    name = entry["name"]
    raw = np.load(folder / kind / f"{name}.npz", allow_pickle=False)
    file = entry["textures"][0]["file"] if entry.get("textures") else None
    file = file or (entry["ao_only"]["file"] if entry.get("ao_only") else None)
    hair = kind == "hair"
    texture = _texture(folder / kind / file if file else None, (70, 55, 45) if hair else (150, 150, 150))
    index, offset = raw["idx"].astype(np.int32), raw["off"].astype(np.float32) * 0.1
    faces = raw["f"].astype(np.int32)
    if hair or kind == "eyes":
        material = np.full(len(faces), MATERIALS.index("hair" if hair else "eyes"), np.uint8)
    elif "shoes" in name:
        material = np.full(len(faces), MATERIALS.index("shoes"), np.uint8)
    elif "fedora" in name:
        material = np.full(len(faces), MATERIALS.index("hat"), np.uint8)
    else:
        material = _split_suit(index, offset, faces, load_body().shape_mean)
    return Garment(
        name=f"{kind}/{name}",
        index=index,
        weight=raw["w"].astype(np.float32),
        offset=offset,
        scale_vertices=raw["scale_v"].astype(np.int64),
        scale_distance_m=raw["scale_d"].astype(np.float32) * 0.1,
        uvs=raw["uv"].astype(np.float32),
        faces=faces,
        face_uvs=raw["ft"].astype(np.int32),
        face_material=material,
        hidden=raw["delete"].astype(np.int64),
        depth=int(raw["z_depth"]),
        texture=texture,
        cut_out=kind in ("hair", "clothes"),
    )


class AssetWardrobe:
    """Wardrobe of an asset folder (`somacast data check-assets DIR` explains faults)."""

    def __init__(self, folder: Path):
        folder = Path(folder)
        if not (folder / "index.json").is_file():
            raise SomacastError(f"{folder}: expected an asset folder with index.json")
        self.folder = folder
        entries = json.loads((folder / "index.json").read_text())
        self._entries = {f"{e['kind']}/{e['name']}": e for e in entries if e["kind"] in ("clothes", "hair", "eyes")}
        self._cache: dict[str, Garment] = {}
        clothes = [n.split("/")[1] for n in self._entries if n.startswith("clothes/")]
        self.suits = sorted(n for n in clothes if "shoes" not in n and "fedora" not in n)
        self.shoes = sorted(n for n in clothes if "shoes" in n)
        self.hats = sorted(n for n in clothes if "fedora" in n)
        self.hair = sorted(n.split("/")[1] for n in self._entries if n.startswith("hair/"))
        self.skins = sorted(p.stem for p in (folder / "skins").glob("*.jpg") if "special" not in p.stem)

    def garment(self, name: str) -> Garment:
        if name not in self._cache:
            self._cache[name] = read_garment(self.folder, name.split("/")[0], self._entries[name])
        return self._cache[name]

    @lru_cache(maxsize=64)  # noqa: B019 - a wardrobe lives as long as its process
    def skin(self, name: str) -> np.ndarray:
        return _texture(self.folder / "skins" / f"{name}.jpg", (180, 140, 120))

    def outfit(self, rng: np.random.Generator, person: dict[str, float], split: str) -> Outfit:
        """See Wardrobe.outfit. Attributes follow from the garments' names and shapes."""

        def pick(names: list[str]) -> str:
            held = [n for n in names if any(t in n for t in (*_TEST_GARMENTS, *_TEST_SKINS))]
            pool = held if (split == "test" and held and rng.random() < 0.5) else [n for n in names if n not in held]
            return str(rng.choice(pool or names))

        female = person["gender"] > 0.5
        dark = person["african"] > 0.45
        sex = "female" if female else "male"
        skins = [s for s in self.skins if ("female" in s) == female and ("dark" in s) == dark]
        outfit = Outfit(self.skin(pick(skins or self.skins)), scale_matrix(rng.uniform(0.7, 1.12)), [])
        outfit.attributes = {"sleeves": "none", "legs": "bare", "shoes": "bare", "hair": "none", "hat": "none"}
        outfit.layers.append(Layer(self.garment("eyes/low-poly"), scale_matrix(1)))
        suits = [s for s in self.suits if s.startswith(sex)] or self.suits
        if not suits:
            raise SomacastError(f"{self.folder}: expected at least one outfit under clothes; nobody is drawn undressed")
        suit = self.garment("clothes/" + pick(suits))
        outfit.layers.append(Layer(suit, dye_matrix(rng)))
        outfit.attributes |= suit_attributes(suit)
        if self.shoes and rng.random() < 0.95:
            outfit.layers.append(Layer(self.garment("clothes/" + pick(self.shoes)), dye_matrix(rng)))
            outfit.attributes["shoes"] = "shoes"
        womens = [h for h in self.hair if not h.startswith("short")]
        mens = [h for h in self.hair if h.startswith(("short", "afro"))]
        styles = (womens if rng.random() < 0.85 else mens) if female else (mens if rng.random() < 0.95 else womens)
        if styles and rng.random() < 0.93:
            style = pick(styles)
            outfit.layers.append(Layer(self.garment("hair/" + style), hair_matrix(rng)))
            outfit.attributes["hair"] = next(v for k, v in _HAIR_STYLE.items() if style.startswith(k))
        if self.hats and rng.random() < 0.04:
            outfit.layers.append(Layer(self.garment("clothes/" + pick(self.hats)), dye_matrix(rng)))
            outfit.attributes["hat"] = "hat"
        return outfit


def suit_attributes(garment: Garment) -> dict[str, str]:
    """Sleeve and leg class of a one-piece outfit from how far it reaches along arms and legs in the rest pose."""
    from somacast.body.table import load_body

    body = load_body()
    place = garment.fit(body.shape_mean)
    joints = body.bone_mean[body.joint_bone]
    elbow, wrist, knee, ankle = joints[7, 0], joints[8, 0], joints[14, 1], joints[15, 1]
    reach = np.percentile(place[:, 0], 99.5)
    sleeves = "long" if reach > (elbow + 2 * wrist) / 3 else "short" if reach > (joints[6, 0] + elbow) / 2 else "none"
    low = np.percentile(place[:, 1], 0.5)
    legs = "trousers" if low < (knee + 2 * ankle) / 3 else "shorts"
    between = (np.abs(place[:, 0]) < 0.02) & (place[:, 1] < joints[0, 1] - 0.2) & (place[:, 1] > knee)
    if between.sum() > 8:
        legs = "skirt"
    return {"sleeves": sleeves, "legs": legs}


_MESH_KINDS = ("clothes", "hair", "eyes", "eyebrows", "eyelashes")
_POSE_KINDS = ("canonical", "mh_full_rig")
_BODY_VERTICES = 19158  # of hm08 with its helpers


def check_assets(folder: Path) -> list[str]:
    """Every fault of an asset folder as one line that names the file; empty if all is well.

    The format is docs/assets.md. Never raises for what is in the folder.
    """
    folder = Path(folder)
    entries, faults = _read_index(folder / "index.json", ("kind", "name"))
    names: set[tuple[str, str]] = set()
    for number, entry in enumerate(entries):
        kind, name = entry["kind"], entry["name"]
        where = f"index.json: {kind}/{name}"
        if kind not in (*_MESH_KINDS, "skins"):
            faults.append(f"{where}: unknown kind; expected one of {', '.join((*_MESH_KINDS, 'skins'))}")
            continue
        if Path(name).name != name:
            faults.append(f"{where}: expected a plain name (entry {number})")
            continue
        if (kind, name) in names:
            faults.append(f"{where}: is listed twice")
        names.add((kind, name))
        if kind == "hair" and not name.startswith(tuple(_HAIR_STYLE)):
            faults.append(f"{where}: expected a name that starts with one of {', '.join(_HAIR_STYLE)}")
        if kind != "skins":
            faults += _check_garment(folder / kind / f"{name}.npz", f"{kind}/{name}.npz")
        faults += _check_textures(folder, kind, name, entry)
    if not faults or names:
        faults += _check_completeness(folder, names)
    return faults + _check_poses(folder / "poses")


def _read_index(path: Path, keys: tuple[str, ...]) -> tuple[list[dict], list[str]]:
    """Elements of a list of objects that have the given text values, and what is wrong with the rest."""
    label = path.name if path.parent.name != "poses" else "poses/index.json"
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return [], [f"{label}: is missing"]
    except (OSError, ValueError) as fault:
        return [], [f"{label}: cannot be read ({fault})"]
    if not isinstance(content, list):
        return [], [f"{label}: expected a list, got {type(content).__name__}"]
    good, faults = [], []
    for number, entry in enumerate(content):
        missing = [k for k in keys if not isinstance(entry, dict) or not isinstance(entry.get(k), str) or not entry[k]]
        if missing:
            faults.append(f"{label}: entry {number} lacks {', '.join(missing)}")
        else:
            good.append(entry)
    return good, faults


def _open_npz(path: Path, label: str, keys: tuple[str, ...]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Arrays of an npz and its faults; without all `keys` there are no arrays."""
    if not path.is_file():
        return {}, [f"{label}: is missing"]
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as fault:  # a damaged zip fails in many ways
        return {}, [f"{label}: cannot be read ({str(fault).splitlines()[0] if str(fault) else type(fault).__name__})"]
    missing = [k for k in keys if k not in arrays]
    return ({}, [f"{label}: lacks {', '.join(missing)}"]) if missing else (arrays, [])


def _fault_of(array: np.ndarray, shape: tuple[int | None, ...], kinds: str, below: int | None = None) -> str | None:
    """What is wrong with an array: shape (None: any), kind of number, finite, whole numbers in [0, below)."""
    if array.dtype.kind not in kinds:
        return f"expected {'whole numbers' if 'f' not in kinds else 'numbers'}, got {array.dtype}"
    if array.ndim != len(shape) or any(w is not None and w != h for w, h in zip(shape, array.shape, strict=True)):
        return f"expected shape {['?' if n is None else n for n in shape]}, got {list(array.shape)}"
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return "has values that are not finite"
    if below is not None and array.size and (array.min() < 0 or array.max() >= below):
        return f"expected numbers from 0 to {below - 1}, got {array.min()} to {array.max()}"
    return None


def _check_garment(path: Path, label: str) -> list[str]:
    raw, faults = _open_npz(path, label, GARMENT_KEYS)
    if not raw:
        return faults
    vertices, texels, faces = (len(raw[k]) if raw[k].ndim else 0 for k in ("idx", "uv", "f"))
    rules: dict[str, tuple[tuple[int | None, ...], str, int | None]] = {
        "idx": ((None, 3), "iu", _BODY_VERTICES),
        "w": ((vertices, 3), "f", None),
        "off": ((vertices, 3), "f", None),
        "scale_v": ((3, 2), "iu", _BODY_VERTICES),
        "scale_d": ((3,), "f", None),
        "uv": ((None, 2), "f", None),
        "f": ((None, 3), "iu", vertices),
        "ft": ((faces, 3), "iu", texels),
        "delete": ((None,), "iu", _BODY_VERTICES),
        "z_depth": ((), "iu", None),
    }
    for key, rule in rules.items():
        fault = _fault_of(raw[key], *rule)
        if fault:
            faults.append(f"{label}: {key}: {fault}")
    if not faults and not (vertices and faces):
        faults.append(f"{label}: has no triangles")
    if not faults and (raw["scale_d"] < 0).any():
        faults.append(f"{label}: scale_d: expected distances of 0 or more")
    if not faults and np.abs(raw["w"].sum(1) - 1).max() > 0.02:
        faults.append(f"{label}: w: the three weights of a vertex should add up to 1")
    return faults


def _check_textures(folder: Path, kind: str, name: str, entry: dict) -> list[str]:
    faults = []
    textures = entry.get("textures") or []
    files = [t.get("file") if isinstance(t, dict) else None for t in textures] if isinstance(textures, list) else [None]
    if entry.get("ao_only"):
        files.append(entry["ao_only"].get("file") if isinstance(entry["ao_only"], dict) else None)
    if kind == "skins":
        files = files or [f"{name}.jpg"]
        if f"{name}.jpg" not in files:
            faults.append(f"skins/{name}: expected a texture {name}.jpg")
    for file in files:
        if not isinstance(file, str) or Path(file).name != file:
            faults.append(f"index.json: {kind}/{name}: expected a texture's plain file name, got {file!r}")
            continue
        label = f"{kind}/{file}"
        if not (folder / kind / file).is_file():
            faults.append(f"{label}: is missing (texture of {kind}/{name})")
            continue
        try:
            with Image.open(folder / kind / file) as picture:
                picture.load()
        except Exception as fault:  # decoders fail in many ways
            faults.append(f"{label}: is not a picture that can be read ({str(fault).splitlines()[0]})")
    return faults


def _check_completeness(folder: Path, names: set[tuple[str, str]]) -> list[str]:
    """The least a wardrobe needs: an outfit for each sex, the eyes that are drawn, one skin."""
    faults = [
        f"index.json: no outfit whose name starts with {sex}; expected at least one in clothes"
        for sex in ("female", "male")
        if not any(k == "clothes" and n.startswith(sex) for k, n in names)
    ]
    if ("eyes", "low-poly") not in names:
        faults.append("index.json: no eyes/low-poly")
    if not any(p for p in (folder / "skins").glob("*.jpg") if "special" not in p.stem):
        faults.append("skins: expected at least one skin as .jpg")
    return faults


def _check_poses(folder: Path) -> list[str]:
    from somacast.synthetic.motion.clips import _NOT_MOTION

    entries, faults = _read_index(folder / "index.json", ("file", "kind", "label"))
    for entry in entries:
        name = Path(entry["file"]).name
        label = f"poses/{name}"
        if entry["kind"] not in _POSE_KINDS:
            faults.append(f"{label}: unknown kind {entry['kind']}; expected one of {', '.join(_POSE_KINDS)}")
        elif entry["kind"] == "canonical":
            faults += _check_canonical(folder / name, label, entry)
        else:
            faults += _check_full_rig(folder / name, label) if Path(name).stem not in _NOT_MOTION else []
    return faults


def _check_canonical(path: Path, label: str, entry: dict) -> list[str]:
    raw, faults = _open_npz(path, label, ("quat",))
    if not raw:
        return faults
    quat = raw["quat"]
    fault = _fault_of(quat, (None, 21, 4), "f")
    if fault:
        return [f"{label}: quat: {fault}"]
    if not len(quat):
        return [f"{label}: quat: has no frames"]
    error = np.abs(np.linalg.norm(quat.astype(np.float64), axis=-1) - 1).max()
    if error > 0.01:  # float16 keeps three digits
        faults.append(f"{label}: quat: expected unit quaternions, one is off by {error:.3f}")
    if "root" in raw and (fault := _fault_of(raw["root"], (len(quat), 3), "f")):
        faults.append(f"{label}: root: {fault}")
    fps = entry.get("fps", 1)
    if not isinstance(fps, (int, float)) or not 0 < fps < 1000:
        faults.append(f"{label}: fps: expected frames per second above 0, got {fps!r}")
    return faults


def _check_full_rig(path: Path, label: str) -> list[str]:
    from somacast.body.table import load_body

    raw, faults = _open_npz(path, label, ("bones", "world"))
    if not raw:
        return faults
    known, bones = load_body().bone_names, raw["bones"]
    if bones.ndim != 1 or bones.dtype.kind != "U":
        return [f"{label}: bones: expected a list of names, got {bones.dtype} {list(bones.shape)}"]
    names = bones.tolist()
    odd = sorted(set(names) - set(known)) or sorted(n for n in set(names) if names.count(n) > 1)
    if not odd and "root" not in names:
        odd = ["root, which is missing"]
    if odd:  # a bone that is not listed follows the one above it
        return [f"{label}: bones: expected names of the full rig, each once, the root among them (see {odd[0]})"]
    fault = _fault_of(raw["world"], (len(names), 3, 3), "f")
    if fault:
        return [f"{label}: world: {fault}"]
    world = raw["world"].astype(np.float64)
    off = np.abs(world @ np.swapaxes(world, -1, -2) - np.eye(3)).max()
    if off > 0.01 or (np.linalg.det(world) < 0).any():
        faults.append(f"{label}: world: expected rotations (orthonormal, no mirroring)")
    return faults
