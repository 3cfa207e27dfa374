"""Harder light than one plain lamp, and cameras that expose, tint and shade what they see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.synthetic.scenes import Light

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_SEEN = np.array([[0, 0, 1], [0.7, 0, 0.7], [-0.7, 0, 0.7], [0, 0.7, 0.7], [0, -0.7, 0.7]], np.float32)  # normals
_BRIGHT = (0.5, 1.15)  # what a white surface towards the camera gets on the whole; beyond it nothing can be seen


def _tint(rng: np.random.Generator, strength: float) -> np.ndarray:
    """Gains [3] of warm (above 0) or cold light with a trace of green or magenta, mean about 1."""
    warm, green = rng.normal(0, strength), rng.normal(0, strength / 4)
    return np.clip(np.array([1 + warm, 1 + green, 1 - warm]), 0.3, 1.8)


def _any_color(rng: np.random.Generator) -> np.ndarray:
    color = rng.uniform(0.1, 1, 3)
    return color / color.max()


def vary_light(rng: np.random.Generator, light: Light) -> Light:
    """The light with more contrast, from the side or behind, tinted, under a sky, or with a second lamp, by chance."""
    direction, ambient, color = light.direction, light.ambient, np.asarray(light.color, np.float64)
    if rng.random() < 0.3:
        towards = rng.normal(0, 1, 3) + [0, 0.5, 0]
        towards[2] = max(towards[2], -0.4)  # a lamp far behind would leave the person to the ambient light alone
        direction = (towards / np.linalg.norm(towards)).astype(np.float32)
    if rng.random() < 0.5:
        ambient = float(rng.uniform(0.2, 0.6))
        color = color * (1 + 0.35 * (0.6 - ambient))  # what the shadows lose, the lit side gains
    if rng.random() < 0.6:
        color = color * _tint(rng, 0.12)
    varied = Light(direction, ambient, color.astype(np.float32))
    if rng.random() < 0.45:
        sky = _tint(rng, 0.15) * rng.uniform(1.0, 1.35)
        ground = (_any_color(rng) if rng.random() < 0.3 else _tint(rng, 0.15)) * rng.uniform(0.35, 0.9)
        varied = varied._replace(sky=sky.astype(np.float32), ground=ground.astype(np.float32))
    if rng.random() < 0.4:
        towards = rng.normal(0, 1, 3) + [-1.2 * direction[0], 0, 0.3]
        fill = (_any_color(rng) if rng.random() < 0.5 else _tint(rng, 0.2)) * rng.uniform(0.1, 0.5)
        unit = (towards / np.linalg.norm(towards)).astype(np.float32)
        varied = varied._replace(fill_direction=unit, fill_color=fill.astype(np.float32))
    bright = brightness(varied)
    gain = np.float32(np.clip(bright, *_BRIGHT) / bright)
    return varied._replace(color=varied.color * gain, fill_color=varied.fill_color * gain)


def brightness(light: Light) -> float:
    """Luma that a white person seen from the front has on the average; 1 is white."""
    above = (1 + _SEEN[:, 1:2]) / 2
    ambient = light.ambient * (above * light.sky + (1 - above) * light.ground)
    lamp = (1 - light.ambient) * np.maximum(_SEEN @ light.direction, 0)[:, None]
    second = np.maximum(_SEEN @ light.fill_direction, 0)[:, None] * light.fill_color
    return float(((light.color * (ambient + lamp) + second) @ _LUMA).mean())


@dataclass(frozen=True)
class Look:
    """What a camera makes of a scene: curves [3, 256] uint8 of the channels, saturation (1: as it is) and vignette,
    the share of light that the corners lose; its middle [2] in sides of the picture."""

    curves: np.ndarray
    saturation: float = 1.0
    vignette: float = 0.0
    middle: tuple[float, float] = (0.5, 0.5)

    def develop(self, image: np.ndarray) -> np.ndarray:
        """The picture [S, S, 3] uint8 as this camera shows it."""
        size = len(image)
        out = np.stack([self.curves[k][image[..., k]] for k in range(3)], -1)
        if self.saturation == 1 and not self.vignette:
            return out
        bright = out.astype(np.float32)
        if self.saturation != 1:
            grey = (bright @ _LUMA)[..., None]
            bright = grey + (bright - grey) * self.saturation
        if self.vignette:
            g = (np.arange(size, dtype=np.float32) + 0.5) / size
            radius = (g[:, None] - self.middle[1]) ** 2 + (g[None] - self.middle[0]) ** 2
            bright *= (1 - self.vignette * np.minimum(2 * radius, 1))[..., None]
        return np.clip(bright, 0, 255).astype(np.uint8)


def draw_look(rng: np.random.Generator) -> Look:
    """Under- or over-exposed, flat or steep, warm or cold, pale or colourful, darker in the corners: each by chance."""
    gain, gamma, black = np.ones(3), 1.0, 0.0
    if rng.random() < 0.45:
        gain = gain * 2 ** rng.normal(0, 0.33)
    if rng.random() < 0.35:
        gain = gain * _tint(rng, 0.08)
    if rng.random() < 0.35:
        gamma = float(np.exp(rng.normal(0, 0.22)))
    if rng.random() < 0.25:  # haze, or blacks that are cut off
        black = float(rng.uniform(-0.04, 0.15))
    tone = np.linspace(0, 1, 256) ** gamma * (1 - black) + black
    curves = np.clip(tone[None] * gain[:, None] * 255, 0, 255).astype(np.uint8)
    saturation = float(rng.uniform(0.3, 1.4)) if rng.random() < 0.3 else 1.0
    vignette = float(rng.uniform(0.15, 0.7)) if rng.random() < 0.25 else 0.0
    middle = tuple(float(m) for m in rng.uniform(0.35, 0.65, 2))
    return Look(curves, saturation, vignette, middle)  # pyright: ignore[reportArgumentType]
