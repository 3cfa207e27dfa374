"""What no camera saw of a person, completed in the body's UV square from what one did see.

    colour, weight, base --reduced--> texels of limbs --twins, carried around, hair--> completed --enlarged--> base

A texel that is not seen takes the colour of the one opposite: left for right, back for front, a pattern with its
pattern. What lies in the middle of a front alone (an emblem, an open collar, a hand before the belly) is not taken;
there the colours around the limb at the same height go on. A head has no front behind: its back has the colour of the
hair that is seen. What is left keeps its own colours.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from somacast.geometry.gaussian import gaussian_filter
from somacast.geometry.preview import to_bytes_image
from somacast.geometry.texturing.limbs import (
    ENDS,
    LEFT_ARM,
    LEFT_LEG,
    LIMBS,
    LIMBS_PX,
    RIGHT_ARM,
    RIGHT_LEG,
    TRUNK,
    LimbTexels,
    limb_texels,
)
from somacast.geometry.texturing.seams import enlarged
from somacast.kernels import compiled

# How far each source is trusted: the other side's texel, that in front or behind, the one diagonally opposite, what
# goes around the limb, the texel's own base. Of several the most trusted one counts almost alone (SHARP): a mean of
# two patterns is none.
MIRRORED, THROUGH, ACROSS, AROUND, BASE = 1.0, 0.5, 0.35, 0.03, 0.01
SHARP = 3
ALIKE = 0.3  # how far base colours may differ between a texel and its source, sRGB in [0, 1]
# Seen texels at the border of what is seen are no sources: there another limb or the background shows through.
BORDER_PX, BORDER = 2.5, (0.6, 0.95)
SEEN = (0.0, 0.6)  # weights of texels that are no source, and a full one
LEFT_OVER = 0.05  # trust in what lies along the border all the same, if there is nothing else
# Of the middle of a front only what is also seen at the sides is taken: within so many degrees of it, metres of
# height, and sRGB; shares of the sides' texels over the middle's below and above which a colour is rare and common.
MIDDLE_DEG, HEIGHT_M, COLOR, COMMON = (35.0, 55.0), 0.05, 0.09, (0.1, 0.5)
FRONTS = ((TRUNK,), (LEFT_LEG, RIGHT_LEG))
# Limbs before which others are held, whose colours are none of theirs: shares of the limb's own texels of a colour over
# the other limb's below and above which it is the other's, and its own.
BEFORE = (((TRUNK,), (LEFT_ARM, RIGHT_ARM, ENDS)), ((LEFT_LEG, RIGHT_LEG), (ENDS,)))
OWN = (0.15, 0.5)
FEW_SAMPLES = 100
SAMPLES = 300  # texels of a middle or of its sides that stand for all
SIDES = 0.3  # share of the middle that the sides must have at a height, for anything to be known of them
# Rings and sectors in which colours are carried around a limb: height and number, how fast they fade.
RING_M, RINGS, SECTORS, FADE = 0.015, 80, 16, 0.125
TWIN_LIMB = 0.25  # what the other arm or leg counts for
FULL_RING = 6.0  # texels seen, faded, from which on a ring is known
HAIR_DEG, HAIR_EDGE_DEG = (0.0, 14.0), (-8.0, 6.0)  # degrees inside the hairline: sources, and where they go
HAIR_BORDER = 0.5  # what hair along the border of what is seen counts for: of short hair there is no other
HAIR_SEEN = 0.03  # share of the scalp that tells the hair's colour
HAIR_DETAIL = 0.5  # of the base's own pattern under it
MIRRORED_HAIR = 0.3  # what the mirrored side's own hair counts for, beside its mean colour
EVEN_PX, EVENED = 3.0, 0.7  # where seen and completed meet, the difference that is taken out, over texels of 2 x 2


def completed(color: np.ndarray, weight: np.ndarray, base: np.ndarray) -> np.ndarray:
    """What is to be shown where nothing was seen: base [S, S, 3] float32, sRGB in [0, 1], completed from color
    [S, S, 3] as far as its weight [S, S] in [0, 1] goes; S a multiple of 256. With nothing seen, the base as it is.

    All three lie in the body's UV square, as in `baking.Baked`. The result holds 256 x 256 colours; what was seen is
    to be blended over it.
    """
    size = len(weight)
    if size % LIMBS_PX or color.shape != (size, size, 3) or base.shape != color.shape:
        raise ValueError(f"expected squares of a multiple of {LIMBS_PX} texels, got {color.shape} and {base.shape}")
    if not weight.any():
        return base
    texels = limb_texels()
    seen, trust, own = (np.empty((len(texels.at), *shape), np.float32) for shape in ((3,), (), (3,)))
    reduce_texels(color, weight, base, texels.at, seen, trust, own)
    image = _square(texels, _completed(texels, seen, trust, own))
    return enlarged(to_bytes_image(image), size) * np.float32(1 / 255)


def _completed(texels: LimbTexels, seen: np.ndarray, weight: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Colours [N, 3] of all texels, from those that are seen [N, 3] with weights [N], and their own [N, 3]."""
    trust = _sources(texels, weight)
    for limbs, others in BEFORE:
        _without_others(texels, limbs, others, seen, trust)
    usual = np.ones(len(trust), np.float32)
    for limbs in FRONTS:
        _only_common(texels, limbs, seen, trust, usual)
    ring, known = _carried_around(texels, seen, trust * usual)
    without = seen + ((1 - usual) * np.minimum(20 * known, 1))[:, None] * (ring - seen)

    out = np.empty_like(own)
    mix_sources(texels.left_right, texels.front_back, seen, without, trust, own, ring, known, out)
    _put_hair(texels, seen, np.maximum(trust, HAIR_BORDER * _ramp(weight, SEEN)), own, out)
    return out + EVENED * _difference(texels, seen - out, weight)


def _ramp(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """0 below the first limit, 1 above the second, smooth between."""
    t = np.clip((values - limits[0]) / (limits[1] - limits[0]), 0, 1)
    return t * t * (3 - 2 * t)


def _square(texels: LimbTexels, values: np.ndarray) -> np.ndarray:
    """Values [N] or [N, C] as a picture [S, S, C] float32, 0 outside."""
    out = np.zeros((LIMBS_PX**2, *values.shape[1:]), np.float32)
    out[texels.at] = values
    return out.reshape(LIMBS_PX, LIMBS_PX, *values.shape[1:])


def _blurred(texels: LimbTexels, values: np.ndarray) -> np.ndarray:
    picture = gaussian_filter(_square(texels, values), BORDER_PX, int(3 * BORDER_PX), (0, 1))
    return picture.ravel()[texels.at]


@lru_cache(maxsize=1)
def _island_share() -> np.ndarray:
    """How much of the neighbourhood of each texel [N] lies on an island."""
    texels = limb_texels()
    return _blurred(texels, np.ones(len(texels.at), np.float32))


def _sources(texels: LimbTexels, weight: np.ndarray) -> np.ndarray:
    """How far each texel [N] is to be trusted as a source: little along the border of what is seen."""
    seen = _ramp(weight, SEEN)
    deep = np.minimum(_ramp(_blurred(texels, weight) / _island_share(), BORDER), seen)
    return np.maximum(deep, LEFT_OVER * seen).astype(np.float32)


def _without_others(
    texels: LimbTexels, limbs: tuple[int, ...], others: tuple[int, ...], seen: np.ndarray, trust: np.ndarray
) -> None:
    """Takes the trust [N] out of texels of limbs that have the colour of other limbs, before them in the picture."""
    where = np.flatnonzero(np.isin(texels.limb, limbs) & (trust > 0))
    sure = [np.flatnonzero(np.isin(texels.limb, kind) & (trust > 0.5)) for kind in (limbs, others)]
    if not all(len(found) for found in sure):
        return
    places = np.concatenate([texels.along_m[:, None] / (3 * HEIGHT_M), seen / COLOR], 1).astype(np.float32)
    own, other = (found[:: max(1, len(found) // FEW_SAMPLES)] for found in sure)
    alike, level = np.empty((2, 2, len(where)), np.float32)
    near_ones(places[where], places[own], trust[own], alike[0], level[0])
    places[:, 0] = 0  # at any height of the other
    near_ones(places[where], places[other], trust[other], alike[1], level[1])
    share = alike * level[::-1]
    trust[where] *= _ramp(share[0] / np.maximum(share[1], 1e-9), OWN)


def _only_common(
    texels: LimbTexels, limbs: tuple[int, ...], seen: np.ndarray, trust: np.ndarray, usual: np.ndarray
) -> None:
    """Lowers usual [N] to 0 for colours that are seen in the middle of the front or back of limbs alone."""
    degrees = 360 * np.abs((texels.around + 0.5) % 1 - 0.5)
    beside = _ramp(np.minimum(degrees, 180 - degrees), MIDDLE_DEG)
    known = np.isin(texels.limb, limbs) & (trust > 0.3)
    middle = np.flatnonzero(known & (beside < 0.5))
    side = np.flatnonzero(known & (beside >= 0.5))
    if not len(middle) or not len(side):
        return
    places = np.concatenate([texels.along_m[:, None] / HEIGHT_M, seen / COLOR], 1).astype(np.float32)
    alike, level = np.empty((2, 2, len(middle)), np.float32)
    for number, others in enumerate((middle, side)):
        chosen = others[:: max(1, len(others) // SAMPLES)]
        near_ones(places[middle], places[chosen], trust[chosen], alike[number], level[number])
    rare = alike[0] * level[1]  # the middle's share of like colours, times what the sides' is divided by
    share = _ramp(alike[1] * level[0] / np.maximum(rare, 1e-9), COMMON)
    share[level[1] * len(side) < SIDES * level[0] * len(middle)] = 1
    usual[middle] = 1 - (1 - beside[middle]) * (1 - share)


@compiled(fastmath=True, nogil=True)
def near_ones(places, others, trust, alike, level):
    """Means over others [M, 4] of their trust [M], by how near they are to places [N, 4]: fills alike [N] by all four
    numbers, level [N] by the first one. A bell that is nearly a normal one: (1 + d^2 / 16)^-8."""
    for n in range(len(places)):
        near, flat = np.float32(0), np.float32(0)
        for m in range(len(others)):
            d = places[n, 0] - others[m, 0]
            a = d * d
            b = a
            for k in range(1, 4):
                d = places[n, k] - others[m, k]
                b += d * d
            a = 1 / (1 + a * np.float32(0.0625))
            b = 1 / (1 + b * np.float32(0.0625))
            a *= a
            b *= b
            a *= a
            b *= b
            flat += trust[m] * a * a
            near += trust[m] * b * b
        alike[n] = near / len(others)
        level[n] = flat / len(others)


def near_ones_reference(places, others, trust):
    """Readable twin of `near_ones`: alike, level."""
    apart = (places[:, None].astype(np.float64) - others) ** 2
    return tuple((1 + d / 16) ** -8 @ trust / len(others) for d in (apart.sum(2), apart[..., 0]))


def _carried_around(texels: LimbTexels, seen: np.ndarray, trust: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean colours [N, 3] of what is seen at the same height of the same limb, what is nearer around it before all,
    and how far they are known, [N] in [0, 1]; 0 where nothing goes around."""
    on = np.flatnonzero(texels.limb < LIMBS)
    ring = np.minimum(texels.along_m[on] / RING_M, RINGS - 1.001)
    sector = texels.around[on] * SECTORS
    cell = (texels.limb[on].astype(np.int64) * RINGS + ring.astype(int)) * SECTORS + sector.astype(int)
    count = LIMBS * RINGS * SECTORS
    values = np.concatenate([seen[on], np.ones((len(on), 1))], 1) * trust[on, None]
    sums = np.stack([np.bincount(cell, column, count) for column in values.T], 1).reshape(LIMBS, RINGS, SECTORS, 4)

    other = sums.copy()
    for a, b in ((LEFT_ARM, RIGHT_ARM), (LEFT_LEG, RIGHT_LEG)):
        other[[a, b]] = sums[[b, a]]
    other[[TRUNK, LIMBS - 1]] = sums[[TRUNK, LIMBS - 1]][:, :, ::-1]
    sums += TWIN_LIMB * other
    angle = np.arange(SECTORS) / SECTORS
    apart = np.abs((angle[:, None] - angle + 0.5) % 1 - 0.5)
    sums = np.einsum("lrsc,st->lrtc", sums, np.exp(-apart / FADE))
    padded_rings = np.pad(sums, ((0, 0), (1, 1), (0, 0), (0, 0)))
    sums = 0.25 * padded_rings[:, :-2] + 0.5 * sums + 0.25 * padded_rings[:, 2:]

    found = np.zeros((len(on), 4))
    up, aside = ring - 0.5, sector - 0.5
    for i in (0, 1):
        for j in (0, 1):
            share = np.abs(1 - i - (up - np.floor(up))) * np.abs(1 - j - (aside - np.floor(aside)))
            row = np.clip(np.floor(up).astype(int) + i, 0, RINGS - 1)
            column = (np.floor(aside).astype(int) + j) % SECTORS
            found += share[:, None] * sums[texels.limb[on], row, column]
    colors, known = np.zeros_like(seen), np.zeros(len(trust), np.float32)
    colors[on] = found[:, :3] / np.maximum(found[:, 3:], 1e-6)
    known[on] = np.clip(found[:, 3] / FULL_RING, 0, 1)
    return colors, known


@compiled(fastmath=True, nogil=True)
def mix_sources(left_right, front_back, seen, without, trust, own, ring, known, out):
    """Fills out [N, 3] with a mean of each texel's twins, seen [N, 3] on the other side, `without` [N, 3] in front or
    behind, of what goes around the limb there and of its own colour, by what they are trusted, and by base colours."""
    for n in range(len(out)):
        total = np.float32(BASE**SHARP)
        ring_share = (np.float32(AROUND) * known[n]) ** SHARP
        for k in range(3):
            out[n, k] = total * own[n, k] + ring_share * ring[n, k]
        total += ring_share
        behind = front_back[n]
        for kind in range(3):
            twin = left_right[n] if kind == 0 else behind
            if kind == 2 and behind >= 0:
                twin = left_right[behind]
            if twin < 0 or trust[twin] == 0:
                continue
            apart = np.float32(0)
            for k in range(3):
                apart += (own[twin, k] - own[n, k]) ** 2
            share = np.float32(MIRRORED if kind == 0 else THROUGH if kind == 1 else ACROSS)
            share = (share * trust[twin] * np.exp(apart * np.float32(-1 / ALIKE**2))) ** SHARP
            for k in range(3):
                out[n, k] += share * (seen[twin, k] if kind == 0 else without[twin, k])
            total += share
        for k in range(3):
            out[n, k] /= total


def mix_sources_reference(left_right, front_back, seen, without, trust, own, ring, known):
    """Readable twin of `mix_sources`."""
    diagonal = np.where(front_back >= 0, left_right[front_back], -1)
    shares, colors = [np.full(len(own), BASE), AROUND * known], [own, ring]
    for twin, share, source in (
        (left_right, MIRRORED, seen),
        (front_back, THROUGH, without),
        (diagonal, ACROSS, without),
    ):
        apart = ((own[twin] - own) ** 2).sum(1)
        shares.append(share * np.where(twin >= 0, trust[twin], 0) * np.exp(-apart / ALIKE**2))
        colors.append(source[twin])
    factors = np.array(shares) ** SHARP
    return np.einsum("mn,mnk->nk", factors / factors.sum(0), np.array(colors))


def _put_hair(
    texels: LimbTexels, seen: np.ndarray, trust: np.ndarray, own: np.ndarray, out: np.ndarray
) -> None:  # fmt: skip
    """The mean colour of the hair that is seen onto out [N, 3] where hair usually is."""
    on = np.flatnonzero(texels.scalp > HAIR_EDGE_DEG[0])
    deep = trust[on] * _ramp(texels.scalp[on], HAIR_DEG)
    total = float(deep.sum())
    if total < 1:
        return
    mean = deep @ seen[on] / total + HAIR_DETAIL * (own[on] - own[on].mean(0))
    twin = texels.left_right[on]
    mirrored = np.where(twin >= 0, trust[twin], 0) > 0.3
    share = _ramp(texels.scalp[on], HAIR_EDGE_DEG) * min(total / (HAIR_SEEN * len(on)), 1)
    share *= np.where(mirrored, 1 - MIRRORED_HAIR, 1)
    out[on] += share[:, None] * (mean - out[on])


def _difference(texels: LimbTexels, gap: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """What is seen over what is completed [N, 3] where both show at once, carried a little beyond."""
    edge = 4 * weight * (1 - weight)
    picture = _square(texels, np.concatenate([edge[:, None] * gap, edge[:, None]], 1))
    small = 0.25 * (picture[::2, ::2] + picture[1::2, ::2] + picture[::2, 1::2] + picture[1::2, 1::2])
    small = gaussian_filter(small, EVEN_PX, int(3 * EVEN_PX), (0, 1))
    small = small[..., :3] / np.maximum(small[..., 3:], 0.02)
    row, column = np.divmod(texels.at, LIMBS_PX)
    return small[row // 2, column // 2]


@compiled(fastmath=True, nogil=True)
def reduce_texels(color, weight, base, at, seen, trust, own):
    """Means over blocks of the squares color [S, S, 3], weight [S, S], base [S, S, 3], of which texels at [N] of the
    small square consist: fills seen [N, 3] (0 where weight is), trust [N], own [N, 3]."""
    step = weight.shape[0] // LIMBS_PX
    share = np.float32(1) / (step * step)
    for n in range(len(at)):
        top, left = step * (at[n] // LIMBS_PX), step * (at[n] % LIMBS_PX)
        total = np.float32(0)
        seen[n] = 0
        own[n] = 0
        for y in range(top, top + step):
            for x in range(left, left + step):
                w = weight[y, x]
                total += w
                for k in range(3):
                    seen[n, k] += w * color[y, x, k]
                    own[n, k] += base[y, x, k]
        trust[n] = total * share
        for k in range(3):
            own[n, k] *= share
            seen[n, k] = seen[n, k] / total if total > 0 else np.float32(0)


def reduce_texels_reference(color, weight, base, at):
    """Readable twin of `reduce_texels`: seen, trust, own."""
    step = len(weight) // LIMBS_PX

    def means(values: np.ndarray) -> np.ndarray:
        blocks = values.reshape(LIMBS_PX, step, LIMBS_PX, step, -1).mean((1, 3))
        return blocks.reshape(LIMBS_PX**2, -1)[at]

    trust = means(weight)
    return means(color * weight[..., None]) / np.maximum(trust, 1e-12), trust[:, 0], means(base)
