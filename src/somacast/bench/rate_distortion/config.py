"""Settings of `somacast bench rd`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from somacast.errors import SomacastError
from somacast.metrics.config import ProtocolConfig
from somacast.options import (
    SYNTHETIC_TEST,
    Assets,
    Device,
    Existing,
    IsSystem,
    Json,
    Made,
    People,
    PeopleFormat,
    check_people,
    check_positive,
)

SAMPLES = 20_000  # on each surface: a twelfth of the time that the protocol's 100,000 take


@dataclass(frozen=True)
class RdConfig:
    """Measure quality against bytes: real files of every system, picture codecs followed by our own reconstruction and
    meshes among them, at the same budgets; delta rates, curves and pictures.

    Writes the JSON, and beside it FILE.png and FILE_pictures.jpg. Minutes per person. Ctrl-C loses the people in work;
    with --cache the others are kept.

    Example: somacast bench rd --json results/stills/rd.json --people 8 --workers 2 --cache runs/rd
    """

    json_path: Json = Path("results/stills/rd.json")
    """file for the results"""
    budgets_bytes: tuple[int, ...] = (60, 100, 170, 250, 350, 600, 900, 1500, 2500, 5000, 10_000, 20_000)
    """most bytes of a file, one point of the curves each"""
    systems: Annotated[tuple[str, ...], IsSystem()] = ()
    """what is compared, each NAME or NAME:VARIANT; all that send a person from one picture if not given"""
    people: int = 8
    """how many people"""
    data: People = SYNTHETIC_TEST
    """folder with people, or synthetic-test or rigged-test"""
    format: PeopleFormat = "synthetic"
    """layout of the folder"""
    assets: Assets = None
    """asset wardrobe and motions for synthetic-test; rigged people and motions for rigged-test"""
    seed: int = 0
    """start of all randomness"""
    device: Device = "cpu"
    workers: int = 1
    """processes"""
    cache: Annotated[Path | None, Made()] = None
    """folder of finished people, for a run that goes on where it was stopped"""
    known: Annotated[Path | None, Existing("the JSON of an earlier run")] = None
    """JSON of an earlier run on the same people: settings that its searches found are not searched for again"""
    protocol: ProtocolConfig = field(default_factory=lambda: ProtocolConfig(samples=SAMPLES))
    """of the comparison"""

    def __post_init__(self) -> None:
        check_positive(people=self.people, workers=self.workers)
        check_people(self.data, self.assets)
        budgets = self.budgets_bytes
        if not budgets or min(budgets) < 1 or len(set(budgets)) != len(budgets):
            raise SomacastError(f"--budgets-bytes: expected different numbers of bytes above 0, got {list(budgets)}")

    @property
    def more_written(self) -> list[Path]:
        """Beside the JSON."""
        return [self.figure_path, self.sheet_path]

    @property
    def figure_path(self) -> Path:
        """The curves, beside the JSON."""
        return self.json_path.with_suffix(".png")

    @property
    def sheet_path(self) -> Path:
        """The pictures, beside the JSON."""
        return self.json_path.with_name(self.json_path.stem + "_pictures.jpg")
