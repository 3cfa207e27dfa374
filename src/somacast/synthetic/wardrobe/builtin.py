"""The built-in wardrobe: procedural clothes, hair and skins that need no file but the installed package.

Shapes are built once per style and kind of body and kept; only textures are drawn anew for every outfit.
Held out for split "test": the styles in TEST_STYLES, the patterns in builtin_textures.TEST_PATTERNS and a bank of
fold pictures of its own. A test outfit takes held-out styles for about half of its garments.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from somacast.body.clothing import MATERIALS
from somacast.synthetic.wardrobe import skins
from somacast.synthetic.wardrobe import textures as paint
from somacast.synthetic.wardrobe.garments import Garment, Layer, Outfit, dye_matrix, hair_matrix, scale_matrix
from somacast.synthetic.wardrobe.head import HairStyle, collar, eyes, hair, hat
from somacast.synthetic.wardrobe.shapes import KINDS, Part, Reference, finish, join, kind_of, reference
from somacast.synthetic.wardrobe.shells import TAIL_HEM, LegStyle, TopStyle, covered, shell_legs, shell_top
from somacast.synthetic.wardrobe.volumes import ShoeStyle, SkirtStyle, shoes, skirt

# name: (style, sleeves attribute, texture details)
TOPS: dict[str, tuple[TopStyle, str, tuple[str, ...]]] = {
    "tshirt": (TopStyle(0.62, "crew", 0.15, 0.011, 0.45), "short", ()),
    "tshirt_loose": (TopStyle(0.8, "crew", 0.13, 0.013, 0.9), "short", ("chest_pocket",)),
    "tshirt_tight": (TopStyle(0.4, "scoop", 0.2, 0.007, 0.1), "short", ()),
    "vneck": (TopStyle(0.55, "v", 0.16, 0.010, 0.4), "short", ()),
    "long": (TopStyle(1.93, "crew", 0.15, 0.010, 0.35), "long", ()),
    "blouse": (TopStyle(1.9, "scoop", 0.17, 0.010, 0.7, cuff=True), "long", ()),
    "shirt": (TopStyle(1.95, "open", 0.13, 0.012, 0.55, collar="shirt"), "long", ("placket", "chest_pocket")),
    "shirt_short": (TopStyle(0.75, "open", 0.13, 0.012, 0.6, collar="shirt"), "short", ("placket",)),
    "sweater": (TopStyle(1.97, "crew", 0.16, 0.019, 0.75, cuff=True), "long", ()),
    "hoodie": (TopStyle(1.97, "crew", 0.14, 0.021, 0.85, cuff=True, collar="hood"), "long", ("belly_pocket",)),
    "turtleneck": (TopStyle(1.95, "high", 0.15, 0.012, 0.3, cuff=True), "long", ()),
    "tank": (TopStyle(-0.5, "scoop", 0.16, 0.008, 0.3), "none", ()),
    "sleeveless": (TopStyle(-0.05, "crew", 0.16, 0.010, 0.5), "none", ()),
    # held out
    "polo": (TopStyle(0.7, "open", 0.14, 0.012, 0.5, collar="shirt"), "short", ("zip",)),
    "tunic": (TopStyle(1.75, "v", -0.25, 0.013, 0.8), "long", ()),
}
JACKETS: dict[str, tuple[TopStyle, tuple[str, ...]]] = {
    "jacket": (TopStyle(1.95, "crew", 0.14, 0.026, 0.6, opening_m=0.07, collar="stand"), ("zip",)),
    "blazer": (TopStyle(1.93, "v", 0.13, 0.024, 0.5, opening_m=0.05), ("chest_pocket",)),
    "cardigan": (TopStyle(1.9, "v", 0.13, 0.021, 0.7, opening_m=0.10), ()),
    "zipped": (TopStyle(1.97, "high", 0.15, 0.026, 0.7, cuff=True, collar="stand"), ("zip",)),
    "coat": (TopStyle(1.95, "crew", -0.55, 0.027, 0.6, opening_m=0.05, collar="stand"), ("zip",)),  # held out
}
LEGS: dict[str, tuple[LegStyle, str, tuple[str, ...]]] = {
    "slim": (LegStyle(1.93, 0.12, 0.006), "trousers", ("fly", "waistband")),
    "straight": (LegStyle(1.97, 0.5, 0.008), "trousers", ("fly", "belt")),
    "wide": (LegStyle(1.98, 0.95, 0.009), "trousers", ("waistband",)),
    "jogger": (LegStyle(1.92, 0.6, 0.010, True), "trousers", ("side_stripe",)),
    "leggings": (LegStyle(1.9, 0.0, 0.005), "trousers", ()),
    "shorts": (LegStyle(0.72, 0.7, 0.009), "shorts", ("waistband",)),
    "shorts_mini": (LegStyle(0.38, 0.5, 0.008), "shorts", ("fly",)),
    "bermuda": (LegStyle(1.02, 0.8, 0.009), "shorts", ("fly", "belt")),
    "capri": (LegStyle(1.5, 0.35, 0.008), "trousers", ("fly",)),  # held out
    "cyclist": (LegStyle(0.85, 0.0, 0.005), "shorts", ("side_stripe",)),  # held out
}
SKIRTS: dict[str, SkirtStyle] = {
    "mini": SkirtStyle(0.5, 0.18),
    "flared": SkirtStyle(0.85, 0.42),
    "pencil": SkirtStyle(0.98, 0.0),
    "pleated": SkirtStyle(0.75, 0.3, pleats=18),
    "long": SkirtStyle(1.8, 0.16),
    "a_line": SkirtStyle(1.2, 0.25),
    "ball": SkirtStyle(1.5, 0.55),  # held out
}
SHOES: dict[str, tuple[ShoeStyle, str]] = {
    "sneaker": (ShoeStyle(0.035, 0.022, 0.006), "sneaker"),
    "leather": (ShoeStyle(0.030, 0.014, 0.005, 0.5), "leather"),
    "hightop": (ShoeStyle(0.09, 0.022, 0.007), "sneaker"),
    "ankle_boot": (ShoeStyle(0.13, 0.022, 0.008, 0.3), "leather"),
    "pump": (ShoeStyle(0.022, 0.012, 0.004, 0.8), "pump"),
    "tall_boot": (ShoeStyle(0.30, 0.025, 0.009, 0.4), "leather"),  # held out
}
# name: (style, attribute, texture kind, men wear it, women wear it)
HAIR: dict[str, tuple[HairStyle, str, str, float, float]] = {
    "cropped": (HairStyle(54, 88, 118, 0.006), "short", "short", 2.0, 0.3),
    "short": (HairStyle(53, 92, 122, 0.016), "short", "short", 3.0, 0.5),
    "quiff": (HairStyle(50, 90, 120, 0.015, ridge_m=0.014), "short", "short", 1.6, 0.1),
    "messy": (HairStyle(60, 96, 126, 0.022, lumps=0.35), "short", "short", 1.5, 0.5),
    "fringe": (HairStyle(74, 100, 126, 0.018), "short", "short", 1.0, 0.6),
    "bob": (HairStyle(56, 100, 118, 0.022, drop_m=0.0), "long", "curtain", 0.15, 1.6),
    "bob_fringe": (HairStyle(73, 100, 118, 0.022, drop_m=0.02), "long", "curtain", 0.1, 1.0),
    "shoulder": (HairStyle(55, 98, 116, 0.022, drop_m=0.10), "long", "curtain", 0.4, 1.6),
    "long": (HairStyle(54, 98, 116, 0.020, drop_m=0.24), "long", "curtain", 0.2, 1.8),
    "ponytail": (HairStyle(52, 94, 120, 0.009, tail="pony"), "tied", "tied", 0.15, 1.5),
    "low_tail": (HairStyle(54, 96, 120, 0.011, tail="low"), "tied", "tied", 0.2, 0.8),
    "bun": (HairStyle(52, 94, 120, 0.009, tail="bun"), "tied", "tied", 0.15, 0.9),
    "afro": (HairStyle(54, 92, 118, 0.060, puff=1.0), "afro", "afro", 0.3, 0.5),
    "afro_short": (HairStyle(52, 90, 118, 0.028, puff=1.0), "afro", "afro", 0.5, 0.3),
    # held out
    "mohawk": (HairStyle(52, 88, 118, 0.004, ridge_m=0.05), "short", "short", 0.6, 0.2),
    "pigtails": (HairStyle(54, 94, 118, 0.010, tail="pigtails"), "tied", "tied", 0.0, 0.8),
    "low_bun": (HairStyle(58, 98, 120, 0.012, tail="low_bun"), "tied", "tied", 0.1, 0.8),
}
HATS = ("cap", "beanie", "bucket")
TEST_STYLES = frozenset(
    {"polo", "tunic", "coat", "capri", "cyclist", "ball", "tall_boot", "mohawk", "pigtails", "low_bun", "bucket"}
)
_DEPTH = {"eyes": 4, "shoes": 20, "tucked": 30, "boots": 45, "bottom": 40, "top": 50, "skirt": 42, "jacket": 60,
          "hair": 70, "hat": 80}  # fmt: skip
_CACHE_SIZE = 450  # all shapes of one split; about half a megabyte each
_EARTH = ("plain", "plain", "plain", "denim", "melange", "pinstripes", "check", "knit")


@dataclass(frozen=True)
class _Choice:
    """Random choices of one outfit within its split."""

    rng: np.random.Generator
    test: bool

    def pick(self, weights: dict[str, float]) -> str:
        """A name by weight; held-out names only in the test split, where they are half of what is picked."""
        held = {n: w for n, w in weights.items() if n in TEST_STYLES and w > 0}
        free = {n: w for n, w in weights.items() if n not in TEST_STYLES and w > 0}
        pool = held if self.test and held and self.rng.random() < 0.5 else free
        share = np.array(list(pool.values()), float)
        return str(self.rng.choice(list(pool), p=share / share.sum()))

    def pattern(self, plain: float = 0.35, names: tuple[str, ...] = paint.TRAIN_PATTERNS) -> str:
        if self.test and self.rng.random() < 0.4:
            return str(self.rng.choice(paint.TEST_PATTERNS))
        return "plain" if self.rng.random() < plain else str(self.rng.choice(names))


class BuiltinWardrobe:
    """Wardrobe of procedural garments. `outfit` is deterministic in the generator's state."""

    def __init__(self) -> None:
        self._shapes: OrderedDict[tuple, Garment] = OrderedDict()

    def _shape(self, key: tuple, build: Callable[[], Garment]) -> Garment:
        if key not in self._shapes:
            self._shapes[key] = build()
            if len(self._shapes) > _CACHE_SIZE:
                self._shapes.popitem(last=False)
        self._shapes.move_to_end(key)
        return self._shapes[key]

    def _top(self, kind: str, name: str, style: TopStyle, slot: str, variant: int) -> Garment:
        def build() -> Garment:
            ref = reference(kind)
            part, field = shell_top(ref, style, variant)
            if style.collar != "none":
                part = join([part, collar(ref, style.collar)])
            if style.hem < TAIL_HEM - 0.05:
                part, field = self._with_tail(ref, part, field, style, variant)
            return finish(ref, part, f"builtin/{name}", MATERIALS.index("top"), covered(field), _DEPTH[slot], False)

        return self._shape((kind, name, style, slot, variant), build)

    def _with_tail(self, ref: Reference, part: Part, field: np.ndarray, style: TopStyle, variant: int):
        """A top with its lower part, that hangs like a skirt around both legs; painted like the torso."""
        length = SkirtStyle(0.25 - style.hem, 0.1, rise_m=-0.035, gap_m=style.gap_m + 0.003)
        tail, low = skirt(ref, length, variant)
        tail.uvs[:, 1] = 0.41 + 0.12 * tail.uvs[:, 1]
        return join([part, tail]), np.maximum(field, low - 0.01)

    def _legs(self, kind: str, name: str, variant: int) -> Garment:
        def build() -> Garment:
            ref = reference(kind)
            part, field = shell_legs(ref, LEGS[name][0], variant)
            return finish(
                ref, part, f"builtin/{name}", MATERIALS.index("bottom"), covered(field), _DEPTH["bottom"], False
            )

        return self._shape((kind, name, variant), build)

    def _skirt(self, kind: str, name: str, style: SkirtStyle, variant: int) -> Garment:
        def build() -> Garment:
            ref = reference(kind)
            part, field = skirt(ref, style, variant)
            return finish(
                ref, part, f"builtin/{name}", MATERIALS.index("bottom"), covered(field, 0.03), _DEPTH["skirt"], False
            )

        return self._shape((kind, "skirt", name, style, variant), build)

    def _volume(
        self, kind: str, name: str, slot: str, make: Callable[[Reference], tuple[Part, np.ndarray]], cut_out: bool
    ) -> Garment:
        def build() -> Garment:
            ref = reference(kind)
            part, hidden = make(ref)
            material = MATERIALS.index("shoes" if slot == "boots" else slot)
            return finish(ref, part, f"builtin/{name}", material, hidden, _DEPTH[slot], cut_out)

        return self._shape((kind, slot, name), build)

    def outfit(self, rng: np.random.Generator, person: dict[str, float], split: str) -> Outfit:
        """See Wardrobe.outfit."""
        choice = _Choice(rng, split == "test")
        kind = kind_of(person)
        hair_color = hair_matrix(rng)
        brows = hair_color[:, :3] @ np.array([104.0, 76, 54]) + hair_color[:, 3]
        outfit = Outfit(skins.skin_texture(rng, person, brows), scale_matrix(rng.uniform(0.9, 1.05)), [])
        outfit.attributes = {"sleeves": "none", "legs": "bare", "shoes": "bare", "hair": "none", "hat": "none"}
        eye = self._volume(kind, "eyes", "eyes", lambda ref: (eyes(ref), np.zeros(0, np.int64)), False)
        outfit.layers.append(Layer(replace(eye, texture=paint.eye_texture(rng)), scale_matrix(1)))
        self._clothes(choice, kind, person, outfit)
        self._head(choice, kind, person, outfit, hair_color)
        return outfit

    def _wear(self, outfit: Outfit, rng: np.random.Generator, garment: Garment, texture: np.ndarray) -> np.ndarray:
        matrix = dye_matrix(rng) if rng.random() < 0.4 else scale_matrix(rng.uniform(0.75, 1.2))
        outfit.layers.append(Layer(replace(garment, texture=texture), matrix.astype(np.float32)))
        return matrix

    def _clothes(self, choice: _Choice, kind: str, person: dict[str, float], outfit: Outfit) -> None:
        rng, split = choice.rng, "test" if choice.test else "train"
        female = person["gender"] > 0.5
        variant = int(choice.test)  # other folds and strands for tests
        roll = rng.random()
        if female and roll < 0.2:
            self._dress(choice, kind, outfit, variant)
        else:
            bottom_skirt = female and roll < 0.42
            tucked = rng.random() < (0.6 if bottom_skirt else 0.22)
            if bottom_skirt:
                name = choice.pick(dict.fromkeys(SKIRTS, 1.0))
                texture = paint.cloth(rng, "around", choice.pattern(0.4), split, hems=(0.93,))
                self._wear(outfit, rng, self._skirt(kind, name, SKIRTS[name], variant), texture)
                outfit.attributes["legs"] = "skirt"
            else:
                weights = dict.fromkeys(LEGS, 1.0) | {"straight": 1.6, "slim": 1.6}
                weights |= {"leggings": 1.0 if female else 0.25, "wide": 1.0 if female else 0.6}
                weights["shorts_mini"] = 0.7 if female else 0.0
                name = choice.pick(weights)
                _, legs, details = LEGS[name]
                texture = paint.cloth(rng, "legs", choice.pattern(0.3, _EARTH), split, details, hems=(0.965,))
                self._wear(outfit, rng, self._legs(kind, name, variant), texture)
                outfit.attributes["legs"] = legs
            self._upper(choice, kind, female, outfit, variant, tucked)
        if rng.random() < 0.95:
            weights = {"sneaker": 2.2, "leather": 1.0, "hightop": 0.8, "ankle_boot": 0.8,
                       "pump": 0.9 if female else 0.0, "tall_boot": 0.9 if female else 0.3}  # fmt: skip
            name = choice.pick(weights)
            style, texture = SHOES[name]
            over = style.collar_m > 0.1 and outfit.attributes["legs"] != "trousers"
            slot = "boots" if over else "shoes"
            garment = self._volume(kind, name, slot, lambda ref: shoes(ref, style), False)
            self._wear(outfit, rng, garment, paint.shoe_texture(rng, texture))
            outfit.attributes["shoes"] = "shoes"

    def _upper(self, choice: _Choice, kind: str, female: bool, outfit: Outfit, variant: int, tucked: bool) -> None:
        rng, split = choice.rng, "test" if choice.test else "train"
        weights = dict.fromkeys(TOPS, 1.0) | {"tshirt": 2.0, "shirt": 1.5, "hoodie": 1.3}
        weights |= {"blouse": 1.2 if female else 0.0, "tunic": 1.0 if female else 0.2,
                    "tshirt_tight": 1.0 if female else 0.4, "tank": 0.9 if female else 0.5}  # fmt: skip
        name = choice.pick(weights)
        style, sleeves, details = TOPS[name]
        outer = ""
        if rng.random() < 0.22 and style.gap_m < 0.0125 and name != "tunic":
            outer = choice.pick(dict.fromkeys(JACKETS, 1.0))
            tucked = tucked or style.hem < 0.15
        if tucked and style.gap_m < 0.0125:
            style = replace(style, hem=0.24, gap_m=0.006, loose=min(style.loose, 0.2), collar=style.collar)
        pattern = "knit" if name in ("sweater", "turtleneck") and rng.random() < 0.6 else choice.pattern()
        texture = paint.cloth(rng, "top", pattern, split, details, hems=(0.03, 0.53), fold=0.5 + style.loose)
        self._wear(outfit, rng, self._top(kind, name, style, "tucked" if tucked else "top", variant), texture)
        outfit.attributes["sleeves"] = sleeves
        if outer:
            style, details = JACKETS[outer]
            texture = paint.cloth(rng, "top", choice.pattern(0.5, _EARTH), split, details, hems=(0.03,), fold=1.1)
            self._wear(outfit, rng, self._top(kind, outer, style, "jacket", variant), texture)
            outfit.attributes["sleeves"] = "long"

    def _dress(self, choice: _Choice, kind: str, outfit: Outfit, variant: int) -> None:
        rng, split = choice.rng, "test" if choice.test else "train"
        name = choice.pick(dict.fromkeys(SKIRTS, 1.0))
        lower = replace(SKIRTS[name], rise_m=0.05, gap_m=0.013)
        bodice = choice.pick({"tshirt_tight": 1, "tank": 1.2, "vneck": 1, "sleeveless": 1, "long": 0.7, "tshirt": 0.5})
        style, sleeves, _ = TOPS[bodice]
        style = replace(style, hem=0.27, gap_m=0.007, loose=0.12)
        pattern, seed = choice.pattern(0.3), int(rng.integers(2**31))
        first = paint.cloth(np.random.default_rng(seed), "around", pattern, split)
        second = paint.cloth(np.random.default_rng(seed), "top", pattern, split)
        matrix = self._wear(outfit, rng, self._skirt(kind, name, lower, variant), first)
        top = self._top(kind, f"dress_{bodice}", style, "tucked", variant)
        outfit.layers.append(Layer(replace(top, texture=second), matrix.astype(np.float32)))
        outfit.attributes |= {"legs": "dress", "sleeves": sleeves}

    def _head(self, choice: _Choice, kind: str, person: dict[str, float], outfit: Outfit, color: np.ndarray) -> None:
        rng = choice.rng
        female, old = person["gender"] > 0.5, person["age_years"] > 40
        bald = rng.random() < (0.02 if female else 0.22 if old else 0.06)
        hatted = rng.random() < 0.09
        if not bald:
            curly = 3.0 if person["african"] > 0.45 else 0.35
            weights = {n: (w if female else m) * (curly if "afro" in n else 1) for n, (_, _, _, m, w) in HAIR.items()}
            if hatted:
                weights = {
                    n: w for n, w in weights.items() if n in ("cropped", "short", "bob", "shoulder", "long", "low_tail")
                }
            name = choice.pick(weights)
            style, attribute, texture, _, _ = HAIR[name]
            if hatted:  # flat below the hat
                style, name = replace(style, thick_m=min(style.thick_m, 0.008), front=56), name + "_flat"
            variant = int(choice.test)  # other folds and strands for tests
            garment = self._volume(kind, f"{name}{variant}", "hair", lambda ref: hair(ref, style, variant), True)
            outfit.layers.append(Layer(replace(garment, texture=paint.hair_texture(rng, texture)), color))
            outfit.attributes["hair"] = attribute
        if hatted:
            name = choice.pick({n: 1.0 for n in HATS})
            garment = self._volume(kind, name, "hat", lambda ref: hat(ref, name), False)
            pattern = "knit" if name == "beanie" else choice.pattern(0.6)
            texture = paint.cloth(
                rng, "around", pattern, "test" if choice.test else "train", hems=(0.2, 0.32), fold=0.4
            )
            self._wear(outfit, rng, garment, texture)
            outfit.attributes["hat"] = "hat"

    def warm_up(self) -> None:
        """Build the reference bodies and the skin's masks ahead of the first outfit."""
        for kind in KINDS:
            reference(kind)
        skins._skin_masks()
