"""`somacast encode`: picture or video -> .soma."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from somacast.cli.common import check_device, show_notes
from somacast.errors import SomacastError
from somacast.options import Device, check_output, check_positive
from somacast.systems.registry import DEFAULT


@dataclass(frozen=True)
class Arguments:
    """Turn a picture of a person into a .soma file of a few hundred bytes, or a video into one of a few hundred bytes a
    second.

    Example: somacast encode person.jpg -o person.soma --budget-bytes 300 --report report.json

    Example: somacast encode walk.mp4 -o walk.soma --kbit-s 3
    """

    image: tyro.conf.Positional[Path]
    """picture of a person (JPEG, PNG, WebP, AVIF, TIFF, ...; transparency counts as a mask), or video (MP4, WebM, ...),
    or synthetic:walking"""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """.soma file to write"""
    system: str = DEFAULT
    """which system makes the file"""
    budget_bytes: int | None = None
    """the most bytes the file may have; full quality if not given"""
    mask: Path | None = None
    """picture of the same size, white where the person is; found by ourselves if not given"""
    height_m: float | None = None
    """how tall the person stands, barefoot, in metres; one picture does not tell it"""
    report: Path | None = None
    """JSON file with person box, joints by name in pixels and metres, bits of every label group, stage times"""
    kbit_s: float | None = None
    """of a video: the most that motion may take a second; full quality if not given"""
    seconds: float | None = None
    """of a video: end after that long"""
    device: Device = "cpu"


def run(arguments: Arguments) -> int:
    """Encode, write."""
    check_output(arguments.out)
    if arguments.report:
        check_output(arguments.report)
    check_positive(
        budget_bytes=arguments.budget_bytes, height_m=arguments.height_m, kbit_s=arguments.kbit_s,
        seconds=arguments.seconds,
    )  # fmt: skip
    from somacast.pipeline.sources import names_a_video

    if names_a_video(str(arguments.image)):
        return _video(arguments)
    if arguments.kbit_s or arguments.seconds:
        raise SomacastError(f"--kbit-s and --seconds are for videos; expected one, got {arguments.image}")
    from somacast.capture.pictures import read_image
    from somacast.types import Capture

    # before the networks: a wrong file is told at once
    capture = Capture([read_image(arguments.image, arguments.mask)], arguments.height_m)
    device = check_device(arguments.device)
    from somacast.files import write_atomically
    from somacast.pipeline.still.sender import Sender

    result = Sender(arguments.system, device).encode(capture, arguments.budget_bytes)
    write_atomically(arguments.out, result.data)
    if arguments.report:
        write_atomically(arguments.report, (json.dumps(result.report, indent=2) + "\n").encode())
    show_notes(result.report["notes"])
    picture_bytes = arguments.image.stat().st_size
    ratio = picture_bytes / len(result.data)
    print(f"{arguments.out}: {len(result.data)} bytes, {ratio:,.0f} times fewer than the picture ({picture_bytes:,})")
    return 0


def _video(arguments: Arguments) -> int:
    """A video to a .soma video."""
    if arguments.budget_bytes or arguments.mask or arguments.report:
        raise SomacastError("--budget-bytes, --mask and --report are for pictures; for a video there is --kbit-s")
    from somacast.pipeline.sources import SourceOptions, captures_of

    seconds = arguments.seconds or (4.0 if str(arguments.image).startswith("synthetic:") else None)
    options = SourceOptions(realtime=False, seconds=seconds)
    source, captures = captures_of(str(arguments.image), options, arguments.height_m)
    device = check_device(arguments.device)
    from rich.console import Console

    from somacast.files import write_atomically
    from somacast.pipeline.video.files import encode_video
    from somacast.systems import registry
    from somacast.weights.sessions import one_blas_thread

    with source, Console(stderr=True).status("looking at the first frame") as line, one_blas_thread():
        system = registry.get(arguments.system)
        tracker = system.tracker(device, careful=True)
        data, report = encode_video(
            captures, system, tracker, arguments.kbit_s, lambda n, s: line.update(f"{n} frames, {s:.1f} s of video")
        )
    write_atomically(arguments.out, data)
    show_notes([*source.notes, *tracker.notes, *report.notes])
    span = max(report.seconds, 1e-9)
    rate = f", {8 * len(data) / span / 1000:.1f} kbit/s" if report.frames > 1 else ""
    print(f"{arguments.out}: {len(data):,} bytes for {report.frames} frames in {report.seconds:.1f} s{rate}")
    return 0
