"""`somacast data synth` and `somacast data check-assets`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from somacast.cli.common import Device, check_device, check_positive, parse
from somacast.errors import SomacastError

SUBVERBS = {
    "synth": "write a data set of synthetic people: pictures and everything that is true about them",
    "check-assets": "name every fault of an asset folder",
}


@dataclass(frozen=True)
class Synth:
    """Write a data set of synthetic people with a manifest (seed, versions, licences, digest).

    The same seed gives the same bytes on any number of processes; an interrupted run goes on where it stopped.

    Example: somacast data synth --out people --people 100 --seed 1 --processes 2
    """

    out: Path
    """folder for the data set, made if needed"""
    people: int
    """how many people"""
    views: int = 6
    """pictures of every person"""
    size_px: int = 256
    """side of the pictures"""
    split: Literal["train", "val", "test"] = "train"
    """which bodies and motions are drawn; val: other draws of those of train"""
    stereo: bool = False
    """a second picture beside each, as a rectified pair"""
    assets: Path | None = None
    """folder with an asset wardrobe and motions; built-in ones if not given"""
    backgrounds: Path | None = None
    """folder with pictures to stand people in front of"""
    seed: int = 0
    """start of all randomness"""
    processes: int = 1
    """how many processes work"""
    device: Device = "cpu"
    """not used: people are made on the CPU"""


@dataclass(frozen=True)
class CheckAssets:
    """Name every fault of an asset folder; exit code 2 if there is one.

    Example: somacast data check-assets my_assets
    """

    folder: tyro.conf.Positional[Path]
    """folder in the format of docs/assets.md"""
    device: Device = "cpu"
    """not used: this verb loads no network"""


def run(argv: Sequence[str]) -> int:
    """Find the second verb and run it."""
    from somacast.cli.main import listing

    if not argv or argv[0] in ("-h", "--help"):
        print(listing(SUBVERBS, "somacast data"))
        print("\nExample: somacast data synth --out people --people 100")
        return 0
    if argv[0] == "synth":
        return synth(argv[1:])
    if argv[0] == "check-assets":
        return check(argv[1:])
    raise SomacastError(
        f"unknown verb 'data {argv[0]}': expected one of {', '.join(SUBVERBS)} (see somacast data --help)"
    )


def synth(argv: Sequence[str]) -> int:
    """Parse and make people."""
    arguments = parse(Synth, argv, "somacast data synth")
    check_positive(
        people=arguments.people, views=arguments.views, size_px=arguments.size_px, processes=arguments.processes
    )
    for folder in (arguments.assets, arguments.backgrounds):
        if folder and not folder.is_dir():
            raise SomacastError(f"{folder}: no such folder")
    check_device(arguments.device)
    from somacast.synthetic.datasets.writer import SynthConfig, synthesise

    options = {name: value for name, value in vars(arguments).items() if name != "device"}
    manifest = synthesise(SynthConfig(**options))
    print(f"{arguments.out}: {len(manifest['files'])} files, sha256 of the set {manifest['sha256']}")
    return 0


def check(argv: Sequence[str]) -> int:
    """Parse, check, list the faults."""
    arguments = parse(CheckAssets, argv, "somacast data check-assets")
    if not arguments.folder.is_dir():
        raise SomacastError(f"{arguments.folder}: no such folder; expected one with assets")
    from somacast.synthetic.wardrobe.assets import check_assets

    faults = check_assets(arguments.folder)
    for fault in faults:
        print(fault)
    if faults:
        raise SomacastError(f"{arguments.folder}: {len(faults)} faults in this asset folder")
    print(f"{arguments.folder}: no faults")
    return 0
