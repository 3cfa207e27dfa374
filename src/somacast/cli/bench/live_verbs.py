"""`somacast bench link`, `video`, `live`, `soak`, `hostile`: the figures of the live stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from somacast.cli.common import Device, check_device, check_output, check_positive, parse

Json = Annotated[Path, tyro.conf.arg(name="json")]


@dataclass(frozen=True)
class Link:
    """Measure how well rate control holds a link whose capacity steps between 1 Mbit/s and 10 kbit/s, against AIMD and
    fixed rates, on a simulated clock. Writes the JSON, and beside it FILE.png.

    Example: somacast bench link --json results/link.json
    """

    json: Json = Path("results/link.json")
    """file for the results"""
    step_s: float = 20.0
    """length of a step"""
    queue_bytes: int = 12_500
    """of the bottleneck"""
    losses: tuple[float, ...] = (0.0, 0.02, 0.1)
    """shares of datagrams and reports lost at random"""
    seed: int = 0
    """start of all randomness"""
    device: Device = "cpu"
    """not used: labels are made on the CPU"""


@dataclass(frozen=True)
class Video:
    """Measure what moving people cost at full and at the smallest quality, how smooth they are, and what losses do to
    how they look. On a simulated clock, with the real tracker for the looks.

    Example: somacast bench video --json results/video.json
    """

    json: Json = Path("results/video.json")
    """file for the results"""
    seconds: float = 8.0
    """length of each motion"""
    clips: int = 2
    """motions of each action whose rates are measured"""
    people: int = 3
    """synthetic people who are tracked in pictures and sent over lossy links"""
    seed: int = 11
    """start of all randomness"""
    device: Device = "cpu"
    """not used: this is about the CPU"""


@dataclass(frozen=True)
class Live:
    """Measure the delay from camera to drawn person, and how soon somebody is seen over a narrow, lossy link, with real
    processes and sockets. Figures are worth something on a quiet machine only.

    Example: somacast bench live --json results/live.json
    """

    json: Json = Path("results/live.json")
    """file for the results"""
    seconds: float = 20.0
    """length of the delay measurement"""
    fps: float = 16.0
    """of the made camera"""
    starts: int = 10
    """how often a start is timed, for each transport"""
    rate_kbit_s: float = 50.0
    """of the narrow link, both ways"""
    rtt_ms: float = 100.0
    """there and back"""
    loss: float = 0.1
    """share of datagrams lost, each way"""
    seed: int = 1
    """start of all randomness"""
    device: Device = "cpu"
    """not used: this is about the CPU"""


@dataclass(frozen=True)
class Soak:
    """Run the live stream for a simulated hour over links that lose, reorder, copy and fail, while both ends restart:
    crashes, memory, stalls.

    Example: somacast bench soak --minutes 60 --json results/soak.json
    """

    json: Json = Path("results/soak.json")
    """file for the results"""
    minutes: float = 60.0
    """simulated"""
    seed: int = 0
    """start of all randomness"""
    device: Device = "cpu"
    """not used: no network runs"""


@dataclass(frozen=True)
class Fuzz:
    """Feed a million changed packets to everything that reads bytes of others: crashes, hangs, memory, stalls.

    Example: somacast bench fuzz --packets 1000000 --json results/fuzz.json
    """

    json: Json = Path("results/fuzz.json")
    """file for the results"""
    packets: int = 1_000_000
    """in all"""
    processes: int = 2
    """1 or 2"""
    seed: int = 0
    """start of all chance"""
    device: Device = "cpu"
    """not used: no network runs"""


def _options(arguments: Any, *left_out: str) -> dict[str, Any]:
    """Arguments as settings of the benchmark, after what all of them check."""
    check_output(arguments.json, (".json",))
    check_device(arguments.device)
    numbers = ("seconds", "clips", "people", "fps", "starts", "rate_kbit_s", "rtt_ms", "minutes", "packets", "step_s")
    check_positive(**{name: getattr(arguments, name) for name in numbers if hasattr(arguments, name)})
    return {name: value for name, value in vars(arguments).items() if name not in ("device", *left_out)}


def link(argv: Sequence[str]) -> int:
    """Parse and measure."""
    arguments = parse(Link, argv, "somacast bench link")
    options = _options(arguments, "json")
    from somacast.bench.network.link import LinkBenchConfig, run_link_bench

    run_link_bench(LinkBenchConfig(json_path=arguments.json, **options))
    return 0


def video(argv: Sequence[str]) -> int:
    """Parse and measure."""
    arguments = parse(Video, argv, "somacast bench video")
    options = _options(arguments)
    from somacast.bench.network.video import VideoBench, run

    result = run(VideoBench(**options))
    for row in result["rates"]:
        if row["action"] == "walking":
            print(f"walking, {row['quality']}: {row['payload_kbit_s']:.1f} kbit/s of payload")
    for row in result["losses"]:
        print(f"{row['link']}: SSIM {row['ssim_whole']:.3f} whole, {row['ssim_box']:.3f} box")
    return 0


def live(argv: Sequence[str]) -> int:
    """Parse and measure."""
    arguments = parse(Live, argv, "somacast bench live")
    options = _options(arguments)
    from somacast.bench.network.live import LiveBench, run

    result = run(LiveBench(**options))
    delay = result["delay"]
    print("camera to drawn: p50 {p50:.0f} ms, p95 {p95:.0f} ms".format(**delay["camera_to_drawn_ms"]))
    for name, row in result["starts"].items():
        print(f"{name}: seen after {row['first_seen_s']['p50']:.2f} s (p95 {row['first_seen_s']['p95']:.2f} s)")
    return 0


def soak(argv: Sequence[str]) -> int:
    """Parse and run."""
    arguments = parse(Soak, argv, "somacast bench soak")
    options = _options(arguments, "json")
    from somacast.bench.robustness.soak import SoakConfig, run_soak

    run_soak(SoakConfig(json_path=arguments.json, **options))
    print(f"{arguments.json}: {arguments.minutes:g} simulated minutes")
    return 0


def _page_readers() -> dict[str, Any]:
    """The viewer's decoders with real messages for each."""
    import numpy as np

    from somacast.viewer import messages as m

    pose = m.Pose(1, 2.0, np.tile([0.0, 0, 0, 1], (21, 1)), np.zeros(3))
    page = [m.Hello().encode(), m.Rendered(3, 1e12).encode(), m.Want(1).encode()]
    messages = (m.Welcome(), pose, m.Status({"fps": 30.0}), m.Picture(b"x" * 50), m.Part(1, 0, 100, b"y" * 50))
    server = [one.encode() for one in (*messages, m.Person(1, b"z" * 50))]
    return {"page": (m.decode_page, page), "server": (m.decode_server, server)}


def fuzz(argv: Sequence[str]) -> int:
    """Parse and run."""
    arguments = parse(Fuzz, argv, "somacast bench fuzz")
    options = _options(arguments, "json")
    from somacast.bench.robustness.fuzz import FuzzConfig, run_fuzz

    run_fuzz(FuzzConfig(json_path=arguments.json, **options), _page_readers())
    print(f"{arguments.json}: {arguments.packets:,} packets")
    return 0
