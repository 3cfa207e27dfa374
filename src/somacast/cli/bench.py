"""`somacast bench speed`, `somacast bench people`, `somacast bench report`: the figures of the README."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from somacast.cli.common import Device, check_device, check_output, check_positive, parse
from somacast.types import SomacastError

SUBVERBS = {
    "speed": "time of every stage and of whole commands, peak memory, size on disk",
    "people": "how many made people are drawn per second",
    "report": "draw the README's table and the learning curves from the results",
}


@dataclass(frozen=True)
class Speed:
    """Measure stages, whole commands, peak memory and the size of the package on made people.

    Figures are worth something on a quiet machine only; how busy it was is written down.

    Example: somacast bench speed --json results/speed.json --people 10
    """

    json: Annotated[Path, tyro.conf.arg(name="json")]
    """file for the results"""
    system: str = "aflsc"
    """system to measure"""
    people: int = 5
    """how many made pictures"""
    repeats: int = 3
    """how often each is run"""
    command_runs: int = 4
    """how often the whole commands are run, at least 2"""
    cores: int = 2
    """the most processor cores to use"""
    seed: int = 0
    """start of all randomness"""
    device: Device = "cpu"


@dataclass(frozen=True)
class People:
    """Measure how many samples per second are drawn, everything true about them included.

    Example: somacast bench people --json results/people.json
    """

    json: Annotated[Path, tyro.conf.arg(name="json")]
    """file for the results"""
    size_px: int = 256
    """side of the pictures"""
    seconds: float = 20.0
    """length of each measurement"""
    assets: Path | None = None
    """folder with an asset wardrobe and motions; built-in ones if not given"""
    seed: int = 0
    """start of all randomness"""
    device: Device = "cpu"
    """not used: people are made on the CPU"""


@dataclass(frozen=True)
class Report:
    """Draw the README's table from the committed results, and the learning curves.

    With --check nothing is written: exit code 2 if the README and the results differ.

    Example: somacast bench report --check
    """

    root: Path = Path(".")
    """working copy with README.md and results/"""
    check: bool = False
    """only compare"""
    device: Device = "cpu"
    """not used: this verb loads no network"""


def run(argv: Sequence[str]) -> int:
    """Find the second verb and run it."""
    from somacast.cli.main import listing

    if not argv or argv[0] in ("-h", "--help"):
        print(listing(SUBVERBS, "somacast bench"))
        print("\nExample: somacast bench speed --json results/speed.json --device cpu")
        return 0
    verbs = {"speed": speed, "people": people, "report": report}
    if argv[0] not in verbs:
        raise SomacastError(
            f"unknown verb 'bench {argv[0]}': expected one of {', '.join(SUBVERBS)} (see somacast bench --help)"
        )
    return verbs[argv[0]](argv[1:])


def speed(argv: Sequence[str]) -> int:
    """Parse and measure."""
    arguments = parse(Speed, argv, "somacast bench speed")
    check_output(arguments.json, (".json",))
    numbers = ("people", "repeats", "command_runs", "cores")
    check_positive(**{name: getattr(arguments, name) for name in numbers})
    device = check_device(arguments.device)
    from somacast.bench.speed import SpeedConfig, measure_speed
    from somacast.systems import registry

    registry.get(arguments.system)
    options = {name: value for name, value in vars(arguments).items() if name not in ("json", "device")}
    measure_speed(SpeedConfig(json_path=arguments.json, device=device, **options))
    return 0


def people(argv: Sequence[str]) -> int:
    """Parse and draw."""
    arguments = parse(People, argv, "somacast bench people")
    check_output(arguments.json, (".json",))
    check_positive(size_px=arguments.size_px, seconds=arguments.seconds)
    if arguments.assets and not arguments.assets.is_dir():
        raise SomacastError(f"{arguments.assets}: no such folder; expected one with assets")
    check_device(arguments.device)
    from somacast.bench.people import PeopleBench
    from somacast.bench.people import run as measure

    options = {name: value for name, value in vars(arguments).items() if name != "device"}
    for row in measure(PeopleBench(**options))["results"]:
        print(f"{row['processes']} processes: {row['samples_per_s']:.1f} samples/s")
    return 0


def report(argv: Sequence[str]) -> int:
    """Parse, draw or compare."""
    arguments = parse(Report, argv, "somacast bench report")
    check_device(arguments.device)
    from somacast.bench.report import check, write

    if arguments.check:
        faults = check(arguments.root)
        if faults:
            raise SomacastError("; ".join(faults))
        print("README.md agrees with the results")
        return 0
    for path in write(arguments.root):
        print(path)
    return 0
