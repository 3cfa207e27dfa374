"""Configuration of the Draco system: light, as it is read for every list of systems."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DracoConfig:
    """bits: of a coordinate in a file without a budget, which has every triangle and all colours."""

    bits: int = 11
