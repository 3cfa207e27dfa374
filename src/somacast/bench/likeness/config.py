"""Settings of `somacast bench likeness` and `bench sheet`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from somacast.errors import SomacastError
from somacast.metrics.config import ProtocolConfig
from somacast.options import (
    SYNTHETIC_TEST,
    Assets,
    Device,
    Folder,
    IsSystem,
    Json,
    Made,
    People,
    SystemName,
    Written,
    check_people,
    check_positive,
)
from somacast.systems.registry import DEFAULT

BUDGETS_BYTES = (110, 200, 300, 600, 1500)
JUDGED_BYTES = 600  # what people are ranked, told apart and set beside controls at
GALLERY = 40  # people among whom the right one must be found
SIDE = "45"  # the level view that they are told apart from
SAMPLES = 20_000  # on each surface
SHEET_ENDINGS = (".jpg",)


def check_budgets(budgets: tuple[int, ...]) -> None:
    """SomacastError for budgets that are none, or come twice."""
    if not budgets or min(budgets) < 1 or len(set(budgets)) != len(budgets):
        raise SomacastError(f"--budgets-bytes: expected different numbers of bytes above 0, got {list(budgets)}")


@dataclass(frozen=True)
class LikenessConfig:
    """Measure how like people look at several budgets: from the input camera and from other sides, whether each is told
    from others in the same pose seen from beside the input camera, how they stand; beside a grey mannequin and a wrong
    person.

    Example: somacast bench likeness --json results/likeness/likeness.json --sheet docs/likeness/synthetic.jpg
    """

    json_path: Json
    """file for the results"""
    system: SystemName = DEFAULT
    """system to measure"""
    people: int = 40
    """how many people"""
    data: People = SYNTHETIC_TEST
    """synthetic-test or rigged-test"""
    budgets_bytes: tuple[int, ...] = BUDGETS_BYTES
    """most bytes of a file"""
    judged_bytes: int = JUDGED_BYTES
    """budget at which people are told apart, ranked, and set beside controls"""
    assets: Assets = None
    """asset wardrobe and motions for synthetic-test; rigged people and motions for rigged-test"""
    seed: int = 0
    """start of all randomness"""
    device: Device = "cpu"
    workers: int = 1
    """processes"""
    cache: Annotated[Path | None, Made()] = None
    """folder of finished people, for a run that goes on where it was stopped"""
    sheet: Annotated[Path | None, Written(SHEET_ENDINGS)] = None
    """JPEG of people from all sides at all budgets, the best, the median and the worst among them"""
    sheet_people: int = 10
    """how many people are on it"""
    beside: Annotated[str | None, IsSystem()] = None
    """system whose people of the same budgets stand below on the sheet; nothing of it is measured"""
    protocol: tyro.conf.Suppress[ProtocolConfig] = field(default_factory=lambda: ProtocolConfig(samples=SAMPLES))
    """of the comparison"""

    def __post_init__(self) -> None:
        check_positive(people=self.people, workers=self.workers, sheet_people=self.sheet_people)
        check_people(self.data, self.assets)
        check_budgets(self.budgets_bytes)
        if self.judged_bytes not in self.budgets_bytes:
            raise SomacastError(f"--judged-bytes: expected one of {list(self.budgets_bytes)}, got {self.judged_bytes}")


@dataclass(frozen=True)
class SheetConfig:
    """Rebuild the people of photographs at several budgets and show them from the input camera, from 45 degrees, from
    the side and from behind, a row for each; nothing is measured, as nobody knows the truth.

    Example: somacast bench sheet --pictures photographs/ --sheet people.jpg
    """

    pictures: Annotated[Path, Folder("photographs")]
    """folder with photographs"""
    sheet: Annotated[Path, Written(SHEET_ENDINGS)]
    """JPEG for the people"""
    system: SystemName = DEFAULT
    """system that rebuilds them"""
    beside: Annotated[str | None, IsSystem()] = None
    """system whose people of the same budgets stand below"""
    budgets_bytes: tuple[int, ...] = BUDGETS_BYTES
    """most bytes of a file"""
    without_input: bool = False
    """leave the photographs themselves out: a sheet of what was rebuilt alone"""
    device: Device = "cpu"

    def __post_init__(self) -> None:
        check_budgets(self.budgets_bytes)
