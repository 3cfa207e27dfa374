"""Settings of `somacast train aflsc` and of its stages `sender`, `looks`, `ablations` and `motion`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from somacast.options import Assets, Existing, Folder, Made, TrainingDevice, Written, check_positive

FOLDER = "ablations"  # of a run


@dataclass(frozen=True)
class TrainConfig:
    """Train the networks of AFLSC on people made on the fly.

    Checkpoints, learning curves and the resolved configuration go into the output folder; an interrupted run goes on
    with --resume.

    Example: somacast train aflsc --minutes 60 --out runs/aflsc --resume
    """

    out: Annotated[Path, Made()] = Path("runs/aflsc")
    """folder for checkpoints and curves, made if needed"""
    minutes: float = 60.0
    """wall-clock time for all stages together"""
    resume: bool = False
    """go on from the checkpoints in the output folder"""
    assets: Assets = None
    """folder with an asset wardrobe and motions; built-in ones if not given"""
    seed: int = 0
    """start of all randomness"""
    device: TrainingDevice = "auto"
    threads: int = 1
    """threads of each process; several: torchrun --nproc-per-node N -m somacast train aflsc ..."""
    producers: int = 1
    """processes that draw people beside the training"""
    warm_start: Annotated[Path | None, Existing("weights to start from")] = None
    """weights file (.safetensors) whose networks to go on from instead of starting from nothing"""
    charts: int = 2000
    """people without pictures that the labels are fitted to"""
    pool_shards: int = 100
    """how many shards of pictures are learnt from at a time"""
    fresh_shards: int = 16
    """how many more are drawn for the semantic coder"""
    focus: float = 1.6
    """how much more often the five actions of the evaluation are drawn than others"""

    def __post_init__(self) -> None:
        check_positive(
            minutes=self.minutes, threads=self.threads, producers=self.producers, charts=self.charts,
            pool_shards=self.pool_shards, fresh_shards=self.fresh_shards, focus=self.focus,
        )  # fmt: skip


@dataclass(frozen=True)
class SenderConfig:
    """Go on with the sender's networks of the package on people as they are made today; the labels stay.

    Streams are then the same as before: only what the sender sees in a picture is learnt again.

    Example: somacast train aflsc sender --out runs/sender --assets assets --minutes 60
    """

    out: Annotated[Path, Made()] = Path("runs/sender")
    """folder for the pool, checkpoints, curves and the ONNX file, made if needed"""
    minutes: float = 60.0
    """wall-clock time of the extractor"""
    semantic_minutes: float = 8.0
    """wall-clock time of the semantic coder"""
    resume: bool = False
    """go on from the checkpoints in the output folder"""
    assets: Assets = None
    """folder with an asset wardrobe, motions and rigged people; built-in ones if not given"""
    seed: int = 0
    """start of all randomness"""
    threads: int = 1
    """threads of the trainer"""
    producers: int = 1
    """processes that draw people beside the training"""
    rate: float = 5e-4
    """highest rate of AdamW"""
    matrix_rate: float = 0.008
    """highest rate of Muon"""
    pool_shards: int = 60
    """how many shards of pictures are learnt from at a time"""
    focus: float = 1.6
    """how much more often the five actions of the evaluation are drawn than others"""

    def __post_init__(self) -> None:
        check_positive(
            minutes=self.minutes, semantic_minutes=self.semantic_minutes, threads=self.threads,
            producers=self.producers, rate=self.rate, matrix_rate=self.matrix_rate, pool_shards=self.pool_shards,
            focus=self.focus,
        )  # fmt: skip


@dataclass(frozen=True)
class LooksConfig:
    """Train the look tokens of AFLSC on people as its sender of the package sees them, whose labels stay.

    Drawing people takes as long as learning from them; an interrupted run goes on with --resume.

    Example: somacast train aflsc looks --out runs/looks --assets assets --minutes 360
    """

    out: Annotated[Path, Made()] = Path("runs/looks")
    """folder for the pool, checkpoints and curves, made if needed"""
    minutes: float = 360.0
    """wall-clock time of the training"""
    resume: bool = False
    """go on from the checkpoint in the output folder"""
    start: Annotated[Path | None, Existing("weights to start from")] = None
    """looks.safetensors of an earlier run, whose weights are the first ones"""
    assets: Assets = None
    """folder with an asset wardrobe, motions and rigged people; built-in ones if not given"""
    seed: int = 0
    """start of all randomness"""
    threads: int = 1
    """threads of the trainer"""
    producers: int = 1
    """processes that draw people beside the training"""
    shards: int = 60
    """how many shards of 256 pictures are drawn; each is learnt from again and again"""

    def __post_init__(self) -> None:
        check_positive(minutes=self.minutes, threads=self.threads, producers=self.producers, shards=self.shards)


@dataclass(frozen=True)
class AblationConfig:
    """Make variants of a finished run of AFLSC with one idea taken away from each, for `bench study aflsc ablations`.

    They go into the folder ablations of the run: coding tables without conditional probabilities and without
    importance, a semantic coder without its discriminator, an extractor without task increments and without task masks.
    Variants that are trained have a control of as many steps. What is there already is not made again.

    Example: somacast train aflsc ablations --run runs/aflsc --minutes 10
    """

    run: Annotated[Path, Folder("a finished training")]
    """folder of a finished training"""
    minutes: float = 10.0
    """length of each of the five trainings, brought to steps at the start"""
    charts: Annotated[Path | None, Folder("charts")] = None
    """folder of the training's charts; RUN/charts if not given"""
    pool: Annotated[Path | None, Folder("shards of pictures")] = None
    """folder of the training's pictures; RUN/pool if not given"""
    held_out: Annotated[Path | None, Folder("shards of pictures")] = None
    """folder of pictures that the training has not seen; RUN/held_out if not given"""
    shards: int = 12
    """how many of the newest shards of the pool to learn from"""
    threads: int = 1
    """threads of the networks"""
    seed: int = 0
    """start of all randomness"""
    device: TrainingDevice = "cpu"

    def __post_init__(self) -> None:
        check_positive(minutes=self.minutes, shards=self.shards, threads=self.threads)

    @property
    def out(self) -> Path:
        """Where all variants go."""
        return self.run / FOLDER

    def folder(self, name: str) -> Path:
        """The folder of "charts", "pool" or "held_out"."""
        return getattr(self, name) or self.run / name


@dataclass(frozen=True)
class MotionRecipe:
    """Count the tables of the motion coder on training motions: about a minute, no network.

    Example: somacast train aflsc motion --out runs/aflsc_motion.safetensors --assets my_assets
    """

    out: Annotated[Path, Written((".safetensors",))]
    """weights file to write"""
    poses: int = 20_000
    """stills behind the tables of a first frame"""
    clips: int = 12
    """of each built-in action"""
    seconds: float = 6.0
    """length of each clip"""
    seed: int = 11
    """start of all randomness"""
    assets: Assets = None
    """folder with more motions; built-in ones alone if not given"""

    def __post_init__(self) -> None:
        check_positive(poses=self.poses, clips=self.clips, seconds=self.seconds)
