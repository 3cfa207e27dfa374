"""Configurations of AFLSC: the product, the paper's letter, and one idea taken away at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from somacast.errors import SomacastError
from somacast.geometry.texturing.sizes import DEFAULT_TEXTURE_PX, check_texture_px
from somacast.systems.aflsc.picture_layer.share import TOKEN_OVERLAP

MAX_STEPS = 8


@dataclass(frozen=True)
class EncoderConfig:
    """alignment_rounds: how often the silhouette of the rendered body is brought onto that of the picture; mirrored:
    look at the crop's mirror image too; picture, tokens: what a budget may be spent on behind the labels;
    token_overlap: of body and silhouette, up to which they go beside a picture."""

    alignment_rounds: int = 1
    mirrored: bool = True
    picture: bool = True
    tokens: bool = True
    token_overlap: float = TOKEN_OVERLAP


@dataclass(frozen=True)
class DecoderConfig:
    """steps: of the look tokens' diffusion, 1 to MAX_STEPS; sample: draw its noise (seed) instead of taking its mean;
    literal: the paper's steps (eq. 27 as printed) instead of ours, an ablation; networks: run those of the tokens,
    whether tokens come or not; without them tokens say nothing; front, back, depth: believe them about the side that
    the camera sees, about the one behind, and about how far away both are; resolution: cells of the surface grid along
    the longest axis; texture_px: side of the texture, one of TEXTURE_PX. SomacastError for others."""

    steps: int = 1
    sample: bool = False
    seed: int = 0
    literal: bool = False
    networks: bool = True
    front: bool = True
    back: bool = True
    depth: bool = True
    resolution: int = 144
    texture_px: int = DEFAULT_TEXTURE_PX

    def __post_init__(self):
        check_texture_px(self.texture_px)
        if not 1 <= self.steps <= MAX_STEPS:
            raise SomacastError(f"steps: expected 1 to {MAX_STEPS} of the diffusion, got {self.steps}")


@dataclass(frozen=True)
class AflscConfig:
    """weights: another weights file than the package's, None for those."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    weights: Path | None = None


VARIANTS = {
    "literal": AflscConfig(decoder=DecoderConfig(literal=True, steps=8)),  # eq. 27 as printed
    "sampled": AflscConfig(decoder=DecoderConfig(sample=True, steps=8)),  # with the noise of eq. 26
    "without_alignment": AflscConfig(encoder=EncoderConfig(alignment_rounds=0)),
    "without_networks": AflscConfig(EncoderConfig(tokens=False), DecoderConfig(networks=False)),
    "without_picture": AflscConfig(encoder=EncoderConfig(picture=False)),
    "without_tokens": AflscConfig(encoder=EncoderConfig(tokens=False)),
    "without_mirror": AflscConfig(encoder=EncoderConfig(mirrored=False)),
}
