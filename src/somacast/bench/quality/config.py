"""Settings of `somacast evaluate` and `bench against`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from somacast.metrics.config import ProtocolConfig
from somacast.options import (
    Assets,
    Device,
    Folder,
    Json,
    People,
    PeopleFormat,
    SystemName,
    Written,
    check_people,
    check_positive,
)
from somacast.systems.registry import DEFAULT


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure a system on test people and write the results as JSON.

    Data is a folder, or synthetic-test for people made on the fly whose bodies and motions no training has seen, or
    rigged-test for the rigged people of --assets with real faces and clothes that are kept for tests.

    Example: somacast evaluate --system aflsc --data synthetic-test --people 40 --json results/stills/aflsc.json
    """

    system: SystemName
    """system to measure"""
    data: People
    """folder with people, or synthetic-test or rigged-test"""
    json_path: Json
    """file for the results"""
    format: PeopleFormat = "synthetic"
    """layout of the folder: THuman2.0, a folder of GLB or OBJ people, or what `somacast data synth` writes"""
    people: int | None = None
    """how many people; all of a folder if not given; a folder of meshes gives four pictures of each"""
    assets: Assets = None
    """asset wardrobe and motions for synthetic-test; rigged people and motions for rigged-test"""
    seed: int = 0
    """start of all randomness"""
    device: Device = "cpu"
    budget_bytes: int | None = None
    """most bytes a person may have; full quality if not given"""
    tell_height: bool = False
    """tell the sender how tall each person stands, as encode --height-m does"""
    without_controls: bool = False
    """leave out what anybody could show instead, which takes most of the time"""
    sheet: Annotated[Path | None, Written((".png",))] = None
    """PNG with the worst, the median and the best person, beside the truth and the controls"""
    protocol: tyro.conf.Suppress[ProtocolConfig] = field(default_factory=ProtocolConfig)
    """of the comparison"""

    def __post_init__(self) -> None:
        check_positive(people=self.people, budget_bytes=self.budget_bytes)
        check_people(self.data, self.assets)


@dataclass(frozen=True)
class AgainstConfig:
    """Run this checkout beside another one on the same synthetic people: figures person by person, times as ratios.

    The other one is run with the packages that are installed here; it needs no installation of its own.

    Example: somacast bench against --other ../before --json results/stills/against.json
    """

    other: Annotated[Path, Folder("a checkout's src/")]
    """folder of the other checkout, with src/ in it"""
    json_path: Json
    """file for the results"""
    system: SystemName = DEFAULT
    """system to compare"""
    people: int = 40
    """how many people are compared"""
    timed_people: int = 5
    """how many people each round of times takes"""
    repeats: int = 5
    """rounds of times, turn and turn about"""
    seed: int = 0
    """start of all randomness"""

    def __post_init__(self) -> None:
        check_positive(people=self.people, timed_people=self.timed_people, repeats=self.repeats)
