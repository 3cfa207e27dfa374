"""Settings of `somacast data synth`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from somacast.errors import SomacastError
from somacast.options import Folder, Made, check_positive


@dataclass(frozen=True)
class SynthConfig:
    """Write a data set of synthetic people with a manifest (seed, versions, licences, digest).

    The same seed gives the same bytes on any number of processes; an interrupted run goes on where it stopped.

    Example: somacast data synth --out people --people 100 --seed 1 --processes 2
    """

    out: Annotated[Path, Made()]
    """folder for the data set, made if needed"""
    people: int
    """how many people"""
    views: int = 6
    """pictures of every person"""
    size_px: int = 256
    """side of the pictures"""
    split: Literal["train", "val", "test"] = "train"
    """which bodies and motions are drawn; train and test share no body, garment held out, or motion; val: other draws
    of those of train"""
    stereo: bool = False
    """a second picture beside each, as a rectified pair"""
    assets: Annotated[Path | None, Folder()] = None
    """folder with an asset wardrobe and motions in the format of docs/assets.md; built-in ones if not given"""
    rigged_share: float = 0.0
    """share of people who are the rigged ones of --assets, with real faces, 0 to 1"""
    backgrounds: Annotated[Path | None, Folder()] = None
    """folder with pictures to stand people in front of"""
    seed: int = 0
    """start of all randomness"""
    processes: int = 1
    """how many processes work"""

    def __post_init__(self) -> None:
        check_positive(people=self.people, views=self.views, size_px=self.size_px, processes=self.processes)
        if not 0 <= self.rigged_share <= 1:
            raise SomacastError(f"--rigged-share {self.rigged_share}: expected a share from 0 to 1")
        if self.rigged_share and self.assets is None:
            raise SomacastError(f"--rigged-share {self.rigged_share}: expected --assets, a folder with rigged/ in it")
