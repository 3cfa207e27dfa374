"""`somacast encode`: picture or video -> .soma."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from somacast.cli.common import check_budget, show_notes
from somacast.errors import SomacastError
from somacast.options import SOURCES, Device, Existing, SystemName, Written, check_positive
from somacast.systems import registry


@dataclass(frozen=True)
class Arguments:
    """Turn a picture of a person into a .soma file of a few hundred bytes, or a video into one of a few hundred bytes a
    second.

    Example: somacast encode person.jpg -o person.soma --budget-bytes 300 --report report.json

    Example: somacast encode walk.mp4 -o walk.soma --kbit-s 3

    Of a folder every picture and video becomes a file, on several processes; the same command goes on where it was
    stopped. The exit code is 3 if some files were refused.

    Example: somacast encode photographs -o people --report people.json
    """

    image: Annotated[
        tyro.conf.Positional[Path], Existing("a picture or video", stream=True, folder=True, words=SOURCES)
    ]
    """picture of a person (JPEG, PNG, WebP, AVIF, TIFF, ...; transparency counts as a mask), or video (MP4, WebM, ...),
    or synthetic:walking; or a folder of those; - for one on standard input"""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"]), Written((".soma",), stream="", beside="image")]
    """.soma file to write, - for standard output; of a folder the folder for them"""
    system: SystemName = registry.DEFAULT
    """which system makes the file"""
    budget_bytes: int | None = None
    """the most bytes the file may have; full quality if not given"""
    mask: Annotated[Path | None, Existing("a mask")] = None
    """picture of the same size, white where the person is; found by ourselves if not given"""
    height_m: float | None = None
    """how tall the person stands, barefoot, in metres; one picture does not tell it"""
    report: Annotated[Path | None, Written((".json",))] = None
    """JSON file with person box, joints by name in pixels and metres, bits of every label group, stage times; of a
    folder bytes, notes and refusals of every file"""
    kbit_s: float | None = None
    """of a video: the most that motion may take a second; full quality if not given"""
    seconds: float | None = None
    """of a video: end after that long"""
    workers: int | None = None
    """of a folder: processes; one on each core if not given"""
    overwrite: bool = False
    """of a folder: replace files in the output folder that were there before"""
    device: Device = "cpu"

    def __post_init__(self) -> None:
        check_positive(
            budget_bytes=self.budget_bytes, height_m=self.height_m, kbit_s=self.kbit_s, seconds=self.seconds,
            workers=self.workers,
        )  # fmt: skip


@dataclass(frozen=True)
class Encoded:
    """What was written: notes for the user and a line about it."""

    notes: list[str]
    line: str


def run(arguments: Arguments) -> int:
    """Encode, write."""
    if arguments.image.is_dir():
        return _folder(arguments)
    if arguments.workers or arguments.overwrite:
        raise SomacastError(f"--workers and --overwrite are for folders; expected one, got {arguments.image}")
    encoded = encode(arguments)
    show_notes(encoded.notes)
    print(encoded.line)
    return 0


def _folder(arguments: Arguments) -> int:
    """Every picture and video of a folder."""
    from somacast.cli.folders import refuse_options, run_folder
    from somacast.pipeline.sources import is_picture, is_video

    refuse_options(arguments, ["mask"])
    check_budget(arguments.system, arguments.budget_bytes)

    def gives(path: Path) -> Literal["one"] | None:
        return "one" if is_picture(path) or is_video(path) else None

    return run_folder(arguments, arguments.image, ".soma", gives, _encode_one, "pictures or videos")


def _encode_one(arguments: Arguments, source: Path, target: Path) -> list[str]:
    """One file of a folder, in a worker; options that are not for its kind do not count."""
    from somacast.pipeline.sources import is_video

    idle = {"budget_bytes": None} if is_video(source) else {"kbit_s": None, "seconds": None}
    return encode(replace(arguments, image=source, out=target, report=None, **idle)).notes


def encode(arguments: Arguments) -> Encoded:
    """One picture or video to a file."""
    check_budget(arguments.system, arguments.budget_bytes)
    from somacast.pipeline.sources import names_a_video

    if names_a_video(str(arguments.image)):
        return _video(arguments)
    if arguments.kbit_s or arguments.seconds:
        raise SomacastError(f"--kbit-s and --seconds are for videos; expected one, got {arguments.image}")
    from somacast.capture.pictures import read_image
    from somacast.types import Capture

    # before the networks: a wrong file is told at once
    capture = Capture([read_image(arguments.image, arguments.mask)], arguments.height_m)
    from somacast.files import write_atomically

    result = _sender(arguments.system, arguments.device).encode(capture, arguments.budget_bytes)
    write_atomically(arguments.out, result.data)
    if arguments.report:
        write_atomically(arguments.report, (json.dumps(result.report, indent=2) + "\n").encode())
    picture_bytes = arguments.image.stat().st_size
    ratio = picture_bytes / len(result.data)
    line = f"{arguments.out}: {len(result.data)} bytes, {ratio:,.0f} times fewer than the picture ({picture_bytes:,})"
    return Encoded(result.report["notes"], line)


@lru_cache(maxsize=1)
def _sender(system: str, device: str) -> Any:
    """The loaded sender; a worker has many pictures for it."""
    from somacast.pipeline.still.sender import Sender

    return Sender(system, device)


def _video(arguments: Arguments) -> Encoded:
    """A video to a .soma video."""
    if arguments.budget_bytes or arguments.mask or arguments.report:
        raise SomacastError("--budget-bytes, --mask and --report are for pictures; for a video there is --kbit-s")
    from somacast.pipeline.sources import SourceOptions, captures_of

    seconds = arguments.seconds or (4.0 if str(arguments.image).startswith("synthetic:") else None)
    options = SourceOptions(realtime=False, seconds=seconds)
    source, captures = captures_of(str(arguments.image), options, arguments.height_m)
    from rich.console import Console

    from somacast.files import write_atomically
    from somacast.pipeline.video.files import encode_video
    from somacast.systems import registry
    from somacast.weights.sessions import one_blas_thread

    with source, Console(stderr=True).status("looking at the first frame") as line, one_blas_thread():
        system = registry.get(arguments.system)
        tracker = system.tracker(arguments.device, careful=True)
        data, report = encode_video(
            captures, system, tracker, arguments.kbit_s, lambda n, s: line.update(f"{n} frames, {s:.1f} s of video")
        )
    write_atomically(arguments.out, data)
    span = max(report.seconds, 1e-9)
    rate = f", {8 * len(data) / span / 1000:.1f} kbit/s" if report.frames > 1 else ""
    text = f"{arguments.out}: {len(data):,} bytes for {report.frames} frames in {report.seconds:.1f} s{rate}"
    return Encoded([*source.notes, *tracker.notes, *report.notes], text)
