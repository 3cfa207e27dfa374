"""`somacast train`: the networks of a system, from made people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from somacast.cli.common import Device, check_device, check_positive, parse
from somacast.types import SomacastError

TRAINABLE = ("aflsc",)


@dataclass(frozen=True)
class Arguments:
    """Train the networks of a system on people made on the fly.

    Checkpoints, learning curves and the resolved configuration go into the output folder; an interrupted run goes on
    with --resume.

    Example: somacast train aflsc --minutes 60 --out runs/aflsc --resume
    """

    system: tyro.conf.Positional[str]
    """system to train: aflsc"""
    minutes: float = 60.0
    """wall-clock time for all stages together"""
    resume: bool = False
    """go on from the checkpoints in the output folder"""
    out: Path = Path("runs/aflsc")
    """folder for checkpoints and curves, made if needed"""
    assets: Path | None = None
    """folder with an asset wardrobe and motions; built-in ones if not given"""
    seed: int = 0
    """start of all randomness"""
    device: Device = "cpu"


def run(argv: Sequence[str]) -> int:
    """Parse and train."""
    arguments = parse(Arguments, argv, "somacast train")
    if arguments.system not in TRAINABLE:
        raise SomacastError(f"system {arguments.system!r} cannot be trained; expected one of {', '.join(TRAINABLE)}")
    check_positive(minutes=arguments.minutes)
    if arguments.assets and not arguments.assets.is_dir():
        raise SomacastError(f"{arguments.assets}: no such folder; expected one with assets")
    device = check_device(arguments.device)
    from somacast.train import aflsc

    aflsc.main(
        aflsc.TrainConfig(
            out=arguments.out,
            minutes=arguments.minutes,
            resume=arguments.resume,
            assets=arguments.assets,
            seed=arguments.seed,
            device=device,
        )
    )
    return 0
