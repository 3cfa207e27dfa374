"""Configurations of the Draco system: light, as they are read for every list of systems."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DracoConfig:
    """bits: of a coordinate in a file without a budget; textured: with a texture in place of colours at the
    vertices."""

    bits: int = 11
    textured: bool = False


VARIANTS = {"textured": DracoConfig(textured=True)}
