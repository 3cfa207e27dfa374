"""Settings of `somacast evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from somacast.metrics.config import ProtocolConfig
from somacast.options import Assets, Device, Json, People, PeopleFormat, Written, check_positive


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure a system on test people and write the results as JSON.

    Data is a folder, or synthetic-test for people made on the fly whose bodies and motions no training has seen.

    Example: somacast evaluate --system aflsc --data synthetic-test --people 40 --json results/stills/aflsc.json
    """

    system: str
    """system to measure"""
    data: People
    """folder with people, or synthetic-test"""
    json_path: Json
    """file for the results"""
    format: PeopleFormat = "synthetic"
    """layout of the folder: THuman2.0, a folder of GLB or OBJ people, or what `somacast data synth` writes"""
    people: int | None = None
    """how many people; all of a folder if not given; a folder of meshes gives four pictures of each"""
    assets: Assets = None
    """asset wardrobe and motions for synthetic-test"""
    seed: int = 0
    """start of all randomness"""
    device: Device = "cpu"
    budget_bytes: int | None = None
    """most bytes a person may have; full quality if not given"""
    tell_height: bool = False
    """tell the sender how tall each person stands, as encode --height-m does"""
    sheet: Annotated[Path | None, Written((".png",))] = None
    """PNG with the worst, the median and the best person"""
    protocol: tyro.conf.Suppress[ProtocolConfig] = field(default_factory=ProtocolConfig)
    """of the comparison"""

    def __post_init__(self) -> None:
        check_positive(people=self.people, budget_bytes=self.budget_bytes)
