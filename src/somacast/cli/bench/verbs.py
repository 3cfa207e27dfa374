"""`somacast bench speed`, `bench people`, `bench rd`, `bench ablations`, `bench report`: the figures of the
README; those of the live stream stand in live_verbs.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from somacast.cli.common import Device, check_device, check_output, check_positive, parse
from somacast.cli.evaluate import SYNTHETIC_TEST
from somacast.errors import SomacastError
from somacast.extras import require

SUBVERBS = {
    "speed": "time of every stage and of whole commands, peak memory, size on disk",
    "people": "how many synthetic people are drawn per second",
    "rd": "quality against bytes: AFLSC, picture codecs with our reconstruction, Draco meshes",
    "ablations": "what each idea of AFLSC is worth, and where the bits go",
    "link": "how well rate controls hold a link whose capacity steps",
    "video": "what moving people cost, how smooth they are, and what losses do to them",
    "live": "delay from camera to screen, and how soon somebody is seen over a bad link",
    "soak": "an hour of trouble on a simulated clock: crashes, memory, stalls",
    "fuzz": "a million changed packets: crashes, hangs, memory, stalls",
    "report": "draw the README's tables and the curves from the results",
}


@dataclass(frozen=True)
class Speed:
    """Measure stages, whole commands, peak memory and the size of the package on synthetic people.

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
class RateDistortion:
    """Measure quality against bytes: real files of AFLSC, of picture codecs followed by our own reconstruction, and of
    Draco meshes, at the same budgets; delta rates, curves and pictures.

    Writes the JSON, and beside it FILE.png and FILE_pictures.png. Minutes per person. Ctrl-C loses the people in work;
    with --cache the others are kept.

    Example: somacast bench rd --json results/rd.json --people 8 --workers 2 --cache runs/rd
    """

    json: Annotated[Path, tyro.conf.arg(name="json")] = Path("results/rd.json")
    """file for the results"""
    budgets_bytes: tuple[int, ...] = (100, 140, 200, 280, 400, 560, 800, 1100, 1600, 2300, 3400, 5000)
    """most bytes of a file, one point of the curves each"""
    systems: tuple[str, ...] = ()
    """what is compared, all if not given: aflsc, aflsc-literal, jpeg, webp, avif, x265, svt-av1, vvc, draco"""
    people: int = 8
    """how many people"""
    data: str = SYNTHETIC_TEST
    """folder with people, or synthetic-test"""
    format: Literal["thuman2", "meshes", "synthetic"] = "synthetic"
    """layout of the folder"""
    assets: Path | None = None
    """asset wardrobe and motions for synthetic-test"""
    sides_px: tuple[int, ...] = (32, 48, 64, 96, 128, 192, 256)
    """sides of coded pictures, the best is taken"""
    flat: bool = False
    """rivals' pictures get a background of one colour"""
    samples: int = 20_000
    """points on each surface for Chamfer and normals"""
    workers: int = 1
    """processes"""
    cache: Path | None = None
    """folder of finished people, for a run that goes on where it was stopped"""
    known: Path | None = None
    """JSON of an earlier run on the same people: settings of pictures that it found are not searched for again"""
    seed: int = 0
    """start of all randomness"""
    device: Device = "cpu"


@dataclass(frozen=True)
class Ablations:
    """Measure what each idea of AFLSC is worth on made test people: importance, conditional probabilities,
    discriminator, diffusion steps; and where the bits go, and how small a stream may be.

    The variants come from `somacast train ablations`.

    Example: somacast bench ablations --run runs/aflsc --people 20 --json results/ablations.json
    """

    run: Path
    """folder of the training whose variants to measure"""
    json: Annotated[Path, tyro.conf.arg(name="json")]
    """file for the results"""
    figure: Path | None = None
    """SVG of the bits by label group; bits.svg beside the results if not given"""
    people: int = 20
    """how many test people"""
    budgets: tuple[int, ...] = (45, 60, 80, 100)
    """bytes at which the label coding is compared, beside full quality"""
    assets: Path | None = None
    """folder with an asset wardrobe and motions; built-in ones if not given"""
    seed: int = 0
    """start of all randomness"""
    device: Device = "cpu"


@dataclass(frozen=True)
class Report:
    """Draw the README's tables from the committed results, and the curves.

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
    from somacast.cli.bench import live_verbs

    verbs = {
        "speed": speed, "people": people, "rd": rate_distortion, "ablations": ablations, "report": report,
        "link": live_verbs.link, "video": live_verbs.video, "live": live_verbs.live, "soak": live_verbs.soak,
        "fuzz": live_verbs.fuzz,
    }  # fmt: skip
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
    from somacast.bench.speed.stages import SpeedConfig, measure_speed
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
    from somacast.bench.speed.people import PeopleBench
    from somacast.bench.speed.people import run as measure

    options = {name: value for name, value in vars(arguments).items() if name != "device"}
    for row in measure(PeopleBench(**options))["results"]:
        print(f"{row['processes']} processes: {row['samples_per_s']:.1f} samples/s")
    return 0


def rate_distortion(argv: Sequence[str]) -> int:
    """Parse and measure."""
    arguments = parse(RateDistortion, argv, "somacast bench rd")
    check_output(arguments.json, (".json",))
    check_positive(**{name: getattr(arguments, name) for name in ("people", "samples", "workers")})
    if arguments.data != SYNTHETIC_TEST and not Path(arguments.data).is_dir():
        raise SomacastError(f"{arguments.data}: no such folder; expected one with people, or {SYNTHETIC_TEST}")
    if arguments.assets and not arguments.assets.is_dir():
        raise SomacastError(f"{arguments.assets}: no such folder; expected one with assets")
    device = check_device(arguments.device)
    from somacast.bench.rate_distortion.measure import RdConfig, measure_rd
    from somacast.bench.rate_distortion.systems import SYSTEMS
    from somacast.metrics.protocol import ProtocolConfig

    taken = ("json", "device", "systems", "samples")
    options = {name: value for name, value in vars(arguments).items() if name not in taken}
    options |= {"systems": arguments.systems or SYSTEMS, "protocol": ProtocolConfig(samples=arguments.samples)}
    measure_rd(RdConfig(json_path=arguments.json, device=device, **options))
    return 0


def ablations(argv: Sequence[str]) -> int:
    """Parse and measure."""
    arguments = parse(Ablations, argv, "somacast bench ablations")
    figure = arguments.figure or arguments.json.with_name("bits.svg")
    check_output(arguments.json, (".json",))
    check_output(figure, (".svg",))
    check_positive(people=arguments.people, budgets=min(arguments.budgets, default=None))
    for folder in (arguments.run, arguments.assets):
        if folder and not folder.is_dir():
            raise SomacastError(f"{folder}: no such folder")
    require("torch", "another file of weights")
    device = check_device(arguments.device)
    from somacast.systems.aflsc.ablation.measure import AblateConfig, ablate

    options = {name: value for name, value in vars(arguments).items() if name not in ("json", "figure", "device")}
    ablate(AblateConfig(json_path=arguments.json, figure=figure, device=device, **options))
    return 0


def report(argv: Sequence[str]) -> int:
    """Parse, draw or compare."""
    arguments = parse(Report, argv, "somacast bench report")
    check_device(arguments.device)
    from somacast.bench.report.stills import check, write

    if arguments.check:
        faults = check(arguments.root)
        if faults:
            raise SomacastError("; ".join(faults))
        print("README.md agrees with the results")
        return 0
    for path in write(arguments.root):
        print(path)
    return 0
