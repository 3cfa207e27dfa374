"""The settings of the evaluation protocol; light, as command lines are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from somacast.options import check_positive

SAMPLES = 100_000


@dataclass(frozen=True)
class ProtocolConfig:
    """How a result is compared with the truth. Of all this only the samples are an option of a command."""

    azimuths_deg: tyro.conf.Suppress[tuple[float, ...]] = (0.0, 90.0, 180.0, 270.0)
    """level views around the vertical axis of the papers' figures"""
    sides_deg: tyro.conf.Suppress[tuple[float, ...]] = (-45.0, 45.0, 90.0, 180.0, 270.0)
    """level views beside that of the input camera"""
    size_px: tyro.conf.Suppress[int] = 256
    """side of the square view"""
    extent_m: tyro.conf.Suppress[float] = 2.2
    """side of the square view"""
    input_margin: tyro.conf.Suppress[float] = 0.25
    """of the input camera's view around the person, in sides of the person's box"""
    background: tyro.conf.Suppress[float] = 0.5
    """grey behind the person"""
    samples: Annotated[int, tyro.conf.arg(prefix_name=False)] = SAMPLES
    """points on each surface for Chamfer and normals"""
    seed: tyro.conf.Suppress[int] = 0
    """of the samples"""

    def __post_init__(self) -> None:
        check_positive(samples=self.samples)
