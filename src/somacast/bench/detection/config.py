"""Settings of `somacast bench detector`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from somacast.options import Assets, Device, Json, SystemName, check_positive
from somacast.systems.registry import DEFAULT


@dataclass(frozen=True)
class DetectorBench:
    """Measure how often one person in a picture is found, and how often nobody is taken for somebody.

    By the detector alone, and by all of a sender's decisions: whether it sends or refuses, and which place it sends.

    Example: somacast bench detector --json results/stills/detector.json
    """

    json_path: Json = Path("results/stills/detector.json")
    """file for the results"""
    system: SystemName = DEFAULT
    """system whose sender decides"""
    people: int = 200
    """pictures of one person"""
    empty: int = 200
    """pictures without anybody"""
    low: float = 0.35
    """smallest height of a person over the picture's"""
    high: float = 0.95
    """largest"""
    assets: Assets = None
    """asset wardrobe and motions"""
    seed: int = 0
    """start of all randomness"""
    device: Device = "cpu"

    def __post_init__(self) -> None:
        check_positive(people=self.people, empty=self.empty, low=self.low, high=self.high)
