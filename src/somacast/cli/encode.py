"""`somacast encode`: picture or video -> .soma."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from somacast.checks import check_number
from somacast.cli.common import check_budget, show_notes
from somacast.errors import SomacastError
from somacast.options import SOURCES, Device, Existing, SystemName, Written, check_positive, is_stream
from somacast.systems import registry

if TYPE_CHECKING:
    from somacast.pipeline.still.people import HowMany

MAX_PEOPLE = 100


@dataclass(frozen=True)
class Arguments:
    """Turn a picture of a person into a .soma file of a few hundred bytes, or a video into one of a few hundred bytes a
    second.

    Example: somacast encode person.jpg -o person.soma --budget-bytes 600 --report report.json

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
    """the most bytes the file may have: 60 for a pose in coarse colours, from 160 on the picture itself lies on the
    person, 600 show who it is, from 1200 on the face is finer, more than 20000 show nothing more; all labels and no
    picture, about 100 bytes, if not given; of a video what who it is may have, motion aside"""
    network_state: float | None = None
    """f of AFLSC eq. 18, from 0 (the network bears everything) to 1: the more, the coarser what matters less is told"""
    link: str | None = None
    """the same by what the link is like, as 50kbit/s,200ms: rate and delay between 10 kbit/s and 1 Mbit/s, 20 ms and
    1 s"""
    mask: Annotated[Path | None, Existing("a mask")] = None
    """picture of the same size, white where the person is; found by ourselves if not given"""
    height_m: float | None = None
    """how tall the person stands, barefoot, in metres; one picture does not tell it"""
    report: Annotated[Path | None, Written((".json",))] = None
    """JSON file with person box, joints by name in pixels and metres, bits of every label group, stage times; of a
    folder bytes, notes and refusals of every file"""
    people: str = "largest"
    """of a picture: largest; all, or how many of the largest: they become person_1.soma, person_2.soma and so on, each
    with the place where it stood and at most the budget"""
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
        if self.link is not None and self.network_state is not None:
            raise SomacastError("--link and --network-state say the same: expected one of them")
        state_of(self)
        if how_many(self.people) != "largest" and is_stream(self.out):
            raise SomacastError(f"--people {self.people}: several files go into no stream; expected a name for --out")

    @property
    def more_written(self) -> list[Path]:
        """All that several people of one picture may become."""
        if self.people == "largest" or self.image.is_dir():
            return []
        most = MAX_PEOPLE if self.people == "all" else int(self.people)
        return [self.numbered(number) for number in range(1, most + 1)]

    def numbered(self, number: int) -> Path:
        """File of one of several people, from 1."""
        return self.out.with_stem(f"{self.out.stem}_{number}")


_LINK = re.compile(r"(\d+(?:\.\d+)?)\s*([kM]?)bit/s\s*,\s*(\d+(?:\.\d+)?)\s*(m?)s")


def state_of(arguments: Arguments) -> int:
    """f of eq. 18 in 1/255 as --network-state or --link say; SomacastError for anything else than they expect."""
    if arguments.link is None:
        return round(255 * check_number("--network-state", arguments.network_state or 0.0, 0.0, 1.0))
    found = _LINK.fullmatch(arguments.link.strip())
    if found is None or not float(found[1]):
        raise SomacastError(f"--link {arguments.link}: expected a rate and a delay, as 50kbit/s,200ms")
    from somacast.network.congestion.monitor import pressure_of

    rate, unit, delay, milli = found.groups()
    bps = float(rate) * {"": 1.0, "k": 1e3, "M": 1e6}[unit]
    return round(255 * pressure_of(bps, float(delay) / (1000 if milli else 1)))


def how_many(people: str) -> HowMany:
    """What --people says; SomacastError for anything but largest, all and a number."""
    if people in ("largest", "all"):
        return people
    if people.isascii() and people.isdigit() and 1 <= int(people) <= MAX_PEOPLE:
        return int(people)
    raise SomacastError(f"--people {people}: expected largest, all, or a number from 1 to {MAX_PEOPLE}")


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
    from somacast.capture.kinds import named_so
    from somacast.cli.folders import refuse_options, run_folder
    from somacast.pipeline.sources import is_picture, is_video

    refuse_options(arguments, ["mask"])
    check_budget(arguments.system, arguments.budget_bytes)
    several = how_many(arguments.people) != "largest"

    def gives(path: Path) -> Literal["one", "several"] | None:
        if is_video(path):
            return "one"
        # a damaged picture or film is refused, not passed over
        picture = is_picture(path) or named_so(path)
        return ("several" if several else "one") if picture else None

    return run_folder(arguments, arguments.image, ".soma", gives, _encode_one, "pictures or videos")


def _encode_one(arguments: Arguments, source: Path, target: Path) -> list[str]:
    """One file of a folder, in a worker; options that are not for its kind do not count."""
    from somacast.pipeline.sources import is_video

    idle: dict[str, Any] = {"kbit_s": None, "seconds": None}
    if is_video(source):
        idle = {"people": "largest", "link": None, "network_state": None}
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
    from somacast.pipeline.still.people import encode_people
    from somacast.types import Capture

    chosen = how_many(arguments.people)
    # before the networks: a wrong file is told at once
    capture = Capture([read_image(arguments.image, arguments.mask)], arguments.height_m)
    from somacast.files import write_atomically

    sender, out = _sender(arguments.system, arguments.device), arguments.out
    state = state_of(arguments)
    people = encode_people(lambda one: sender.encode(one, arguments.budget_bytes, state), capture, chosen)
    alone = chosen == "largest"
    paths = [out if alone else arguments.numbered(k) for k in range(1, len(people.results) + 1)]
    notes, lines = list(people.notes), []
    picture_bytes = arguments.image.stat().st_size
    for path, result in zip(paths, people.results, strict=True):
        write_atomically(path, result.data)
        notes += [note if alone else f"{path.stem}: {note}" for note in result.report["notes"]]
        ratio = picture_bytes / len(result.data)
        lines.append(f"{path}: {len(result.data)} bytes, {ratio:,.0f} times fewer than the picture ({picture_bytes:,})")
    if arguments.report:
        reports = [result.report for result in people.results]
        report = reports[0] if alone else {"people": reports, "notes": people.notes}
        write_atomically(arguments.report, (json.dumps(report, indent=2) + "\n").encode())
    return Encoded(notes, "\n".join(lines))


@lru_cache(maxsize=1)
def _sender(system: str, device: str) -> Any:
    """The loaded sender; a worker has many pictures for it."""
    from somacast.pipeline.still.sender import Sender

    return Sender(system, device)


def _video(arguments: Arguments) -> Encoded:
    """A video to a .soma video."""
    if arguments.mask or arguments.report or arguments.people != "largest":
        raise SomacastError("--mask, --report and --people are for pictures; for a video there is --kbit-s")
    if arguments.link or arguments.network_state:
        raise SomacastError("--link and --network-state are for pictures; for a video there is --kbit-s")
    from somacast.pipeline.sources import SourceOptions, captures_of

    seconds = arguments.seconds or (4.0 if str(arguments.image).startswith("synthetic:") else None)
    options = SourceOptions(realtime=False, seconds=seconds)
    source, captures = captures_of(str(arguments.image), options, arguments.height_m)
    from rich.console import Console

    from somacast.pipeline.video.encode import encode_video
    from somacast.pipeline.video.journal import video_file
    from somacast.weights.sessions import one_blas_thread

    system = registry.get(arguments.system)
    with source, Console(stderr=True).status("looking at the first frame") as line, one_blas_thread():
        tracker = system.tracker(arguments.device, careful=True)
        with video_file(arguments.out, system, arguments.kbit_s) as (journal, writer):
            report = encode_video(
                captures, writer, tracker, lambda n, s: line.update(f"{n} frames, {s:.1f} s of video"),
                arguments.budget_bytes,
            )  # fmt: skip
            size = journal.finish()
    rate = f", {8 * size / report.seconds / 1000:.1f} kbit/s" if report.frames > 1 else ""
    text = f"{arguments.out}: {size:,} bytes for {report.frames} frames in {report.seconds:.1f} s{rate}"
    return Encoded([*source.notes, *tracker.notes, *report.notes], text)
