"""`somacast train`: the networks of a system, from synthetic people; `somacast train ablations`: variants of a run;
`somacast train motion`: the tables of the motion coder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from somacast.cli.common import Device, check_device, check_output, check_positive, parse
from somacast.errors import SomacastError
from somacast.extras import require

TRAINABLE = ("aflsc",)


@dataclass(frozen=True)
class Arguments:
    """Train the networks of a system on people made on the fly.

    Checkpoints, learning curves and the resolved configuration go into the output folder; an interrupted run goes on
    with --resume.

    Example: somacast train aflsc --minutes 60 --out runs/aflsc --resume
    """

    system: tyro.conf.Positional[str]
    """system to train: aflsc; or ablations or motion, see somacast train ablations --help"""
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
    warm_start: Path | None = None
    """weights file (.safetensors) whose networks to go on from instead of starting from nothing"""
    threads: int = 1
    """threads of each process; several: torchrun --nproc-per-node N -m somacast.cli.main train aflsc ..."""
    producers: int = 1
    """processes that draw people beside the training"""
    device: Device = "auto"


@dataclass(frozen=True)
class Ablations:
    """Make variants of a finished run of AFLSC with one idea taken away from each, for `somacast bench ablations`.

    They go into the folder ablations of the run: coding tables without conditional probabilities and without
    importance, a semantic coder without its discriminator, an extractor without task increments and without task masks.
    Variants that are trained have a control of as many steps. What is there already is not made again.

    Example: somacast train ablations --run runs/aflsc --minutes 10
    """

    run: Path
    """folder of a finished training"""
    minutes: float = 10.0
    """length of each of the five trainings, brought to steps at the start"""
    charts: Path | None = None
    """folder of the training's charts; RUN/charts if not given"""
    pool: Path | None = None
    """folder of the training's pictures; RUN/pool if not given"""
    held_out: Path | None = None
    """folder of pictures that the training has not seen; RUN/held_out if not given"""
    shards: int = 12
    """how many of the newest shards of the pool to learn from"""
    threads: int = 1
    """threads of the networks"""
    seed: int = 0
    """start of all randomness"""
    device: Device = "cpu"


@dataclass(frozen=True)
class MotionTables:
    """Count the tables of the motion coder on training motions: about a minute, no network.

    Example: somacast train motion --out runs/aflsc_motion.safetensors --assets my_assets
    """

    out: Path
    """weights file to write"""
    assets: Path | None = None
    """folder with more motions; built-in ones alone if not given"""
    poses: int = 20_000
    """stills behind the tables of a first frame"""
    seed: int = 11
    """start of all randomness"""
    device: Device = "cpu"
    """not used: no network is trained"""


def run(argv: Sequence[str]) -> int:
    """Parse and train."""
    if argv and argv[0] == "ablations":
        return ablations(argv[1:])
    if argv and argv[0] == "motion":
        return motion(argv[1:])
    arguments = parse(Arguments, argv, "somacast train")
    if arguments.system not in TRAINABLE:
        raise SomacastError(f"system {arguments.system!r} cannot be trained; expected one of {', '.join(TRAINABLE)}")
    check_positive(minutes=arguments.minutes, threads=arguments.threads, producers=arguments.producers)
    if arguments.warm_start and not arguments.warm_start.is_file():
        raise SomacastError(f"{arguments.warm_start}: no such file; expected weights to start from")
    if arguments.assets and not arguments.assets.is_dir():
        raise SomacastError(f"{arguments.assets}: no such folder; expected one with assets")
    for package in ("torch", "onnx", "scipy"):
        require(package, "training")
    device = check_device(arguments.device, needs_torch=True)
    from somacast.systems.aflsc.training import recipe as aflsc

    aflsc.main(
        aflsc.TrainConfig(
            out=arguments.out,
            minutes=arguments.minutes,
            resume=arguments.resume,
            assets=arguments.assets,
            seed=arguments.seed,
            device=device,
            warm_start=str(arguments.warm_start or ""),
            threads=arguments.threads,
            producers=arguments.producers,
        )
    )
    return 0


def ablations(argv: Sequence[str]) -> int:
    """Parse and make the variants."""
    arguments = parse(Ablations, argv, "somacast train ablations")
    check_positive(minutes=arguments.minutes, shards=arguments.shards, threads=arguments.threads)
    require("torch", "training")
    device = check_device(arguments.device, needs_torch=True)
    from somacast.systems.aflsc.training.ablations import AblationConfig, main

    print(main(AblationConfig(**{**vars(arguments), "device": device})))
    return 0


def motion(argv: Sequence[str]) -> int:
    """Parse and count."""
    arguments = parse(MotionTables, argv, "somacast train motion")
    check_output(arguments.out, (".safetensors",))
    check_positive(poses=arguments.poses)
    check_device(arguments.device)
    from somacast.systems.aflsc.training.motion import MotionRecipe, main

    found = main(MotionRecipe(poses=arguments.poses, seed=arguments.seed, assets=arguments.assets), arguments.out)
    print(f"{arguments.out}: {found['labels']} labels, {found['bytes']:,} bytes")
    return 0
