"""`somacast bench link`, `video`, `live`, `soak`, `fuzz`: the figures of the live stream."""

from __future__ import annotations

from typing import Any

from somacast.bench.network.config import LinkBenchConfig, LiveBench, VideoBench
from somacast.bench.robustness.config import FuzzConfig, SoakConfig


def link(config: LinkBenchConfig) -> int:
    """Measure."""
    from somacast.bench.network.link import run_link_bench

    run_link_bench(config)
    return 0


def video(config: VideoBench) -> int:
    """Measure, show the rates of walking and what losses do."""
    from somacast.bench.network.video import run

    results = run(config).results
    for row in results["rates"]:
        if row["action"] == "walking":
            print(f"walking, {row['quality']}: {row['payload_kbit_s']:.1f} kbit/s of payload")
    for row in results["losses"]:
        print(f"{row['link']}: SSIM {row['ssim_whole']:.3f} whole, {row['ssim_box']:.3f} box")
    return 0


def live(config: LiveBench) -> int:
    """Measure, show delays and starts."""
    from somacast.bench.network.live import run

    results = run(config).results
    delay = results["delay"]
    print("camera to rendered: p50 {p50:.0f} ms, p95 {p95:.0f} ms".format(**delay["camera_to_rendered_ms"]))
    for name, row in results["starts"].items():
        print(f"{name}: seen after {row['first_seen_s']['p50']:.2f} s (p95 {row['first_seen_s']['p95']:.2f} s)")
        worn = row["first_textured_s"]
        print("  with their picture: never" if worn is None else f"  with their picture after {worn['p50']:.2f} s")
    return 0


def soak(config: SoakConfig) -> int:
    """Run."""
    from somacast.bench.robustness.soak import run_soak

    run_soak(config)
    print(f"{config.json_path}: {config.minutes:g} simulated minutes")
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


def fuzz(config: FuzzConfig) -> int:
    """Run."""
    from somacast.bench.robustness.fuzz import run_fuzz

    run_fuzz(config, _page_readers())
    print(f"{config.json_path}: {config.packets:,} packets")
    return 0
