"""Settings of `somacast bench study aflsc ablations`, `... sides`, `... chain` and `... allocation`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from somacast.metrics.config import ProtocolConfig
from somacast.options import SYNTHETIC_TEST, Assets, Device, Folder, Json, People, Written, check_people, check_positive
from somacast.systems.aflsc.training.config import FOLDER


@dataclass(frozen=True)
class AblateConfig:
    """Measure what each idea of AFLSC is worth on made test people: importance, conditional probabilities,
    discriminator, parts of the extractor; and where the bits go, and how small a stream may be.

    The variants come from `somacast train aflsc ablations`.

    Example: somacast bench study aflsc ablations --run runs/aflsc --people 20 --json results/stills/ablations.json
    """

    run: Annotated[Path, Folder()]
    """folder of the training whose variants to measure"""
    json_path: Json
    """file for the results"""
    figure: Annotated[Path | None, Written((".svg",))] = None
    """SVG of the bits by label group; bits.svg beside the results if not given"""
    people: int = 20
    """how many test people"""
    budgets: tuple[int, ...] = (45, 60, 80, 100)
    """bytes at which the label coding is compared, beside full quality"""
    assets: Assets = None
    """folder with an asset wardrobe and motions; built-in ones if not given"""
    seed: int = 0
    """start of all randomness"""
    device: Device = "cpu"

    def __post_init__(self) -> None:
        check_positive(people=self.people, budgets=min(self.budgets, default=None))

    @property
    def more_written(self) -> list[Path]:
        """Beside the JSON."""
        return [] if self.figure else [self.figure_path]

    @property
    def figure_path(self) -> Path:
        """Where bits by group are drawn."""
        return self.figure or self.json_path.with_name("bits.svg")

    def weights(self, name: str) -> Path:
        """Weights of a variant."""
        return self.run / FOLDER / f"{name}.safetensors"

    def figures(self, name: str) -> dict[str, Any] | None:
        """Held-out figures that the training left, or None."""
        path = self.run / FOLDER / name
        return json.loads(path.read_text()) if path.is_file() else None


@dataclass(frozen=True)
class PeopleConfig:
    """What studies on test people share."""

    json_path: Json
    """file for the results"""
    people: int = 20
    """how many people"""
    data: People = SYNTHETIC_TEST
    """synthetic-test or rigged-test"""
    assets: Assets = None
    """asset wardrobe and motions for synthetic-test; rigged people and motions for rigged-test"""
    seed: int = 0
    """start of all randomness"""
    device: Device = "cpu"
    protocol: tyro.conf.Suppress[ProtocolConfig] = field(default_factory=lambda: ProtocolConfig(samples=20_000))
    """of the comparison"""

    def __post_init__(self) -> None:
        check_positive(people=self.people)
        check_people(self.data, self.assets)


@dataclass(frozen=True)
class SidesConfig(PeopleConfig):
    """Measure what both sides of a person would bring a receiver that knows pose and build: the truth in place of look
    tokens, front, back and depth one after the other.

    Example: somacast bench study aflsc sides --people 20 --json results/looks/sides.json
    """

    heights_px: tuple[int, ...] = (96, 144, 192)
    """sizes at which the front is told"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(heights_px=min(self.heights_px, default=None))


@dataclass(frozen=True)
class ChainConfig(PeopleConfig):
    """Take away one part of the chain of eq. 1 to 28 at a time, and measure how much worse people become from files of
    the same bytes. Look tokens are sent, whether the product sends them or not.

    Example: somacast bench study aflsc chain --people 40 --json results/looks/chain.json
    """

    budgets: tuple[int, ...] = (200, 600)
    """bytes of the files"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(budgets=min(self.budgets, default=None))


@dataclass(frozen=True)
class AllocationConfig(PeopleConfig):
    """Measure how well eq. 14 and 17 spend the bytes of the look tokens, against a Lagrangian search that knows the
    truth.

    Example: somacast bench study aflsc allocation --people 20 --json results/looks/allocation.json
    """

    budgets: tuple[int, ...] = (300, 1000)
    """bytes of the files"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(budgets=min(self.budgets, default=None))
