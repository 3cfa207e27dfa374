"""Settings of the training of the look tokens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LooksRecipe:
    """bits: wanted of each grid, coarse first; perceptual: weight of the perceptual loss, from the share `late` of the
    minutes on, and the share `judged` of a batch that it sees; adversary: weight of the adversary, from the share
    `opposed` of the minutes on; noise: of the mixture's components; free: share of the minutes in which bits cost
    nothing, or all symbols would become 0 before priors have learnt."""

    minutes: float = 360.0
    batch: int = 8
    threads: int = 1
    seed: int = 0
    rate: float = 1e-3
    matrix_rate: float = 0.006
    bits: tuple[float, ...] = (80.0, 300.0, 1200.0)
    perceptual: float = 2.0
    late: float = 0.03
    judged: float = 0.5
    adversary: float = 0.02
    opposed: float = 0.4
    free: float = 0.03
    noise: float = 1.0
