"""The asset wardrobe: garments, hair, skins and motions read from a folder (format in docs/assets.md)."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from somacast.data.wardrobe import (
    MATERIALS,
    TEXTURE_SIZE_PX,
    Garment,
    Layer,
    Outfit,
    dye_matrix,
    hair_matrix,
    scale_matrix,
)
from somacast.types import SomacastError

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
    from somacast.human.body import load_body

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
        sex="f" if name.startswith("female") else "m" if name.startswith("male") else "any",
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
        self._entries = {
            f"{e['kind']}/{e['name']}": e for e in entries if e["kind"] in ("clothes", "hair", "eyes")
        }
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
        if rng.random() < 0.97:
            suit = self.garment("clothes/" + pick([s for s in self.suits if s.startswith(sex)]))
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
    from somacast.human.body import load_body

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
