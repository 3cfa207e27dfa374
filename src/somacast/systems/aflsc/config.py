"""Configurations of AFLSC: the product, the paper's letter, and one idea taken away at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from somacast.geometry.texturing.sizes import DEFAULT_TEXTURE_PX, check_texture_px


@dataclass(frozen=True)
class EncoderConfig:
    """alignment_rounds: how often the silhouette of the rendered body is brought onto that of the picture; mirrored:
    look at the crop's mirror image too; picture, tokens: what a budget may be spent on behind the labels. Tokens are off
    until their weights ship."""

    alignment_rounds: int = 1
    mirrored: bool = True
    picture: bool = True
    tokens: bool = False


@dataclass(frozen=True)
class DecoderConfig:
    """steps: 1 to 8 denoising steps; sample: draw z' and X_T (seed) instead of their modes; literal: the paper's
    steps (eq. 26-27) instead of ours, an ablation; resolution: cells of the surface grid along the longest axis;
    texture_px: side of the texture, one of TEXTURE_PX."""

    steps: int = 1
    sample: bool = False
    seed: int = 0
    literal: bool = False
    resolution: int = 144
    texture_px: int = DEFAULT_TEXTURE_PX

    def __post_init__(self):
        check_texture_px(self.texture_px)


@dataclass(frozen=True)
class AflscConfig:
    """weights: another weights file than the package's, None for those."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    weights: Path | None = None


VARIANTS = {
    "literal": AflscConfig(decoder=DecoderConfig(literal=True, steps=8)),  # eq. 26-27 as printed, from X_T = 0
    "sampled": AflscConfig(decoder=DecoderConfig(sample=True, steps=8)),  # eq. 21 with noise
    "without_alignment": AflscConfig(encoder=EncoderConfig(alignment_rounds=0)),
    "without_picture": AflscConfig(encoder=EncoderConfig(picture=False)),
    "without_mirror": AflscConfig(encoder=EncoderConfig(mirrored=False)),
}
