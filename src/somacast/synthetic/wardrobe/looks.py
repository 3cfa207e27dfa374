"""What makes people differ beyond their clothes: prints, patterns, two-coloured suits, beards, tattoos, glasses."""

from __future__ import annotations

import numpy as np

from somacast.body.clothing import MATERIALS
from somacast.body.table import load_body
from somacast.synthetic.wardrobe import textures as paint
from somacast.synthetic.wardrobe.decals import baked, draw_print, lay_on, surface_of
from somacast.synthetic.wardrobe.garments import Layer, Outfit, dye_matrix, scale_matrix
from somacast.synthetic.wardrobe.glasses import glasses
from somacast.synthetic.wardrobe.shapes import JOINT, kind_of
from somacast.synthetic.wardrobe.skins import shade_beard, tattoo

_TOP, _BOTTOM = MATERIALS.index("top"), MATERIALS.index("bottom")
_HAIR = MATERIALS.index("hair")


def embellish(rng: np.random.Generator, outfit: Outfit, person: dict[str, float], split: str) -> Outfit:
    """The outfit with more variation; attributes and shapes of garments stay. `person` as of Wardrobe.outfit."""
    layers = [_vary_cloth(rng, layer, split) for layer in outfit.layers]
    prints = [k for k, layer in enumerate(layers) if (layer.garment.face_material == _TOP).any()]
    if prints and rng.random() < 0.5:
        outer = max(prints, key=lambda k: layers[k].garment.depth)
        layers[outer] = _print_on(rng, layers[outer])
    if rng.random() < 0.2 and person["age_years"] > 8:
        layers.append(Layer(glasses(rng, kind_of(person)), scale_matrix(1)))
    return Outfit(_vary_skin(rng, outfit, person), outfit.skin_matrix, layers, dict(outfit.attributes))


def _vary_cloth(rng: np.random.Generator, layer: Layer, split: str) -> Layer:
    """Asset garments with another pattern or colour of top, bottom or both; the built-in ones have their own."""
    garment = layer.garment
    if garment.name.startswith("builtin/"):
        return layer
    kinds = [k for k in (_TOP, _BOTTOM) if (garment.face_material == k).any()]
    if not kinds:
        return layer
    parted, patterned = len(kinds) == 2 and rng.random() < 0.3, rng.random() < 0.35
    if not (parted or patterned):
        return layer
    surface = surface_of(garment)
    layer = baked(layer)
    if parted:  # the trousers of another suit
        other = baked(Layer(garment, dye_matrix(rng))).garment.texture
        below = surface.material == _BOTTOM + 1
        layer.garment.texture[below] = other[below]
    if patterned:
        part = int(rng.choice([0, *kinds]))
        where = surface.material > 0 if part == 0 else surface.material == part + 1
        _weave(rng, layer.garment.texture, surface.place, where, split)
    return layer


def _weave(rng: np.random.Generator, texture: np.ndarray, place: np.ndarray, where: np.ndarray, split: str) -> None:
    """A second colour in a pattern over texels `where` [256, 256], folds kept."""
    names = [n for n in paint.TRAIN_PATTERNS if n not in ("plain", "denim", "knit", "print")]
    names += list(paint.TEST_PATTERNS) if split == "test" else []
    x, y = np.moveaxis(place.astype(np.float32), -1, 0)
    share = paint.pattern_share(rng, str(rng.choice(names)), x - x[where].min(), y - y[where].min())
    share = share[where].astype(np.float32)[:, None] * np.float32(rng.uniform(0.4, 1))
    cloth = texture[where][:, :3].astype(np.float32)
    light = cloth.mean(1, keepdims=True)
    second = paint.random_color(rng) * np.clip(light / max(float(light.mean()), 8), 0.5, 1.4)
    colors = np.clip(cloth + share * (second - cloth), 0, 255).astype(np.uint8)
    texture[where] = np.concatenate([colors, texture[where][:, 3:]], 1)


def _print_on(rng: np.random.Generator, layer: Layer) -> Layer:
    """Letters, numbers or logos on chest, heart side, back or several of these."""
    surface = surface_of(layer.garment)
    if not len(surface.front):
        return layer
    layer = baked(layer)
    texture = layer.garment.texture
    body = load_body()
    chest, neck = (float(body.bone_mean[body.joint_bone[JOINT[n]], 1]) for n in ("chest", "neck"))
    cloth = texture.reshape(-1, 4)[surface.front, :3].mean(0)
    ink = paint.random_color(rng)
    if rng.random() < 0.6 and np.abs(ink - cloth).max() < 110:  # what is printed is meant to be seen
        ink = np.full(3, 235.0 if cloth.mean() < 120 else 20.0) * rng.uniform(0.85, 1.05, 3)
    spots = ("chest", "heart", "back", "both")
    spot = str(rng.choice(spots, p=(0.4, 0.2, 0.15, 0.25)))
    for back in (False, True):
        if spot not in (("back", "both") if back else ("chest", "heart", "both")):
            continue
        small = spot == "heart" and not back
        image = draw_print(rng, rng.uniform(0.05, 0.09) if small else rng.uniform(0.13, 0.30), ink)
        height = neck - rng.uniform(0.12, 0.16) if small else chest + rng.uniform(-0.03, 0.35) * (neck - chest)
        lay_on(texture, surface, image, (0.085 if small else rng.normal(0, 0.01), height), back)
    return layer


def _vary_skin(rng: np.random.Generator, outfit: Outfit, person: dict[str, float]) -> np.ndarray:
    skin = outfit.skin
    if person["gender"] < 0.5 and person["age_years"] > 17 and rng.random() < 0.45:
        skin = shade_beard(rng, skin, _hair_color(outfit))
    if person["age_years"] > 17 and rng.random() < 0.08:
        skin = tattoo(rng, skin)
    return skin


def _hair_color(outfit: Outfit) -> np.ndarray:
    """Mean colour [3] of the hair as worn; dark brown for the bald."""
    for layer in outfit.layers:
        if layer.garment.face_material[0] == _HAIR:
            seen = layer.garment.texture[..., 3] > 128
            mean = layer.garment.texture[seen][::64, :3].mean(0) if seen.any() else np.full(3, 60.0)
            return np.clip(layer.color_matrix[:, :3] @ mean + layer.color_matrix[:, 3], 10, 200)
    return np.array([50.0, 38, 30])
