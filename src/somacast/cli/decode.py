"""`somacast decode`: .soma -> person in 3D."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from somacast.cli.common import milliseconds, read_file, show_notes
from somacast.cli.streams import stands_for_stream
from somacast.errors import SomacastError
from somacast.extras import require
from somacast.formats.export import Export, ImageKind, Origin, TexturePx, Units, VrmTerms, VrmUsers, VrmVersion
from somacast.options import Device, Existing, Written, check_positive, is_stream

Format = Literal["glb", "ply", "obj", "bvh", "vrm", "mp4", "webm"]
STILL_SUFFIXES = (".glb", ".ply", ".obj", ".bvh", ".vrm")
VIDEO_SUFFIXES = (".mp4", ".webm")
SUFFIXES = (*STILL_SUFFIXES, *VIDEO_SUFFIXES)
LARGEST_BYTES = 64 << 20  # of a still, which has a few hundred


@dataclass(frozen=True)
class Arguments:
    """Turn a .soma file into a coloured person in 3D.

    A file that was cut short still gives a coarser person. A video gives a rigged and animated .glb, a .bvh, or a
    rendered .mp4. Both give an avatar (.vrm). docs/programs.md says which program takes what.

    Example: somacast decode person.soma -o person.glb --preview person.png

    Example: somacast decode walk.soma -o walk.glb

    Example: somacast decode person.soma -o person.vrm --vrm-author "Jo Doe"

    Example: somacast decode party_1.soma party_2.soma -o party.glb

    Of a folder every .soma file becomes one of the kind of --format, on several processes; the same command goes on
    where it was stopped. The exit code is 3 if some files were refused.

    Example: somacast decode people -o models --format glb
    """

    file: Annotated[tyro.conf.Positional[Path], Existing("a .soma file", stream=True, folder=True)]
    """.soma file, or a folder of them; - for one on standard input"""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"]), Written(SUFFIXES, stream="format", beside="file")]
    """file to write: .glb, .ply or .obj; .bvh for the skeleton; .vrm for an avatar; of a video .mp4 or .webm too; - for
    standard output, with --format; of a folder the folder for them"""
    others: Annotated[tyro.conf.Positional[tuple[Path, ...]], Existing("a .soma file")] = ()
    """further people of the same picture: all stand in one .glb, .ply or .obj as they stood before the camera"""
    rig: bool = False
    """give the .glb of a still a skeleton, so that animation tools can pose the person"""
    origin: Origin = "ground"
    """where a person stands: on the ground at y = 0, or with the pelvis at the origin"""
    units: Units = "m"
    """unit of length in .bvh, .ply and .obj"""
    texture: TexturePx | None = None
    """side of the person's texture in texels; 1024 if not given"""
    texture_format: ImageKind | None = None
    """how the texture is kept in .glb, .vrm and beside .obj; jpeg if not given"""
    vrm_author: str = ""
    """whose avatar a .vrm is"""
    vrm_users: VrmUsers = "only-author"
    """who may act as the avatar; everything else stays forbidden"""
    vrm_license: str = ""
    """address of terms of use that go further"""
    vrm_version: VrmVersion = "1.0"
    """form of the .vrm; 0.x for programs that have not moved on, such as VSeeFace"""
    preview: Annotated[Path | None, Written((".png",))] = None
    """PNG to write with four views of the person, or some frames of a video"""
    format: Format | None = None
    """what is written to standard output, where no name says it; of a folder what every file becomes (glb)"""
    report: Annotated[Path | None, Written((".json",))] = None
    """of a folder: JSON file with bytes, notes and refusals of every file"""
    workers: int | None = None
    """of a folder: processes; one on each core if not given"""
    overwrite: bool = False
    """of a folder: replace files in the output folder that were there before"""
    device: Device = "cpu"

    def __post_init__(self) -> None:
        check_positive(workers=self.workers)

    @property
    def export(self) -> Export:
        """The choices about files of other programs."""
        terms = VrmTerms(self.vrm_author, self.vrm_users, self.vrm_license, self.vrm_version)
        # A file cannot stand beside another on a stream.
        return Export(self.origin, self.units, terms, self.texture, self.texture_format, stands_for_stream(self.out))

    @property
    def more_written(self) -> list[Path]:
        """Files beside the one that is named."""
        if not str(self.out).lower().endswith(".obj") or is_stream(self.out) or self.file.is_dir():
            return []
        return self.export.beside(self.out)


@dataclass(frozen=True)
class Decoded:
    """What was written: notes for the user and a line about it."""

    notes: list[str]
    line: str


def run(arguments: Arguments) -> int:
    """Decode, write."""
    if arguments.file.is_dir():
        return _folder(arguments)
    if arguments.others:
        return _group(arguments)
    if arguments.format and arguments.out.suffix.lower() != f".{arguments.format}":
        raise SomacastError(f"{arguments.out}: expected a file name ending in .{arguments.format}, as --format says")
    if arguments.report or arguments.workers or arguments.overwrite:
        given = "--report, --workers and --overwrite"
        raise SomacastError(f"{given} are for folders; expected one, got {arguments.file}")
    decoded = decode(arguments)
    show_notes(decoded.notes)
    print(decoded.line)
    return 0


def _group(arguments: Arguments) -> int:
    """Several people of one picture in one file."""
    from somacast.bitstream.video import is_video
    from somacast.formats.people import save_people
    from somacast.options import check_output

    files = (arguments.file, *arguments.others)
    check_output(arguments.out, (".glb", ".ply", ".obj"))
    arguments.export.check(arguments.out)
    for name in ("rig", "preview", "report", "workers", "overwrite"):
        if getattr(arguments, name):
            raise SomacastError(f"--{name} is for one file; expected none for {len(files)}")
    people, notes = {}, []
    for number, path in enumerate(files, 1):
        data = read_file(path, "a .soma file", LARGEST_BYTES)
        if is_video(data):
            raise SomacastError(f"{path}: is a video; expected people of one picture")
        try:
            result = _receiver(arguments.device, arguments.texture).decode(data)
        except SomacastError as fault:
            raise type(fault)(f"{path}: {fault}") from fault
        name = f"{path.stem} ({number})" if path.stem in people else path.stem
        people[name] = result.human
        notes += [*(f"{path.stem}: {note}" for note in result.notes), *_lost(arguments, result.human.mesh)]
    save_people(people, arguments.out, arguments.export)
    show_notes(notes)
    print(f"{arguments.out}: {len(people)} people")
    return 0


def _folder(arguments: Arguments) -> int:
    """Every .soma file of a folder."""
    from somacast.cli.folders import refuse_options, run_folder

    if arguments.others:
        raise SomacastError(f"{arguments.others[0]}: expected one folder alone, or people of one picture")
    refuse_options(arguments, ["preview"])
    if arguments.rig and arguments.format not in (None, "glb"):
        raise SomacastError(f"--rig is for --format glb; expected that, got {arguments.format}")
    suffix = f".{arguments.format or 'glb'}"
    arguments.export.check(arguments.out / f"NAME{suffix}")
    return run_folder(arguments, arguments.file, suffix, _gives, _decode_one, ".soma files")


def _gives(path: Path) -> Literal["one"] | None:
    from somacast.bitstream.container import MAGIC

    if path.suffix.lower() == ".soma":
        return "one"
    try:
        with path.open("rb") as stream:
            return "one" if stream.read(len(MAGIC)) == MAGIC else None
    except OSError:
        return None


def _decode_one(arguments: Arguments, source: Path, target: Path) -> list[str]:
    """One file of a folder, in a worker."""
    return decode(replace(arguments, file=source, out=target)).notes


def decode(arguments: Arguments) -> Decoded:
    """One file to another."""
    if arguments.rig and arguments.out.suffix.lower() != ".glb":
        raise SomacastError(f"{arguments.out}: --rig is for .glb files")
    arguments.export.check(arguments.out)
    if arguments.out.suffix.lower() in VIDEO_SUFFIXES:
        require("av", "writing videos")
    from somacast.pipeline.video.journal import opened_video

    with opened_video(arguments.file) as video:
        if video is not None:
            return _video(arguments, video)
    data = read_file(arguments.file, "a .soma file", LARGEST_BYTES)
    if arguments.out.suffix.lower() in VIDEO_SUFFIXES:
        expected = ", ".join(STILL_SUFFIXES)
        raise SomacastError(f"{arguments.out}: {arguments.file} holds one picture; expected one of {expected}")
    receiver = _receiver(arguments.device, arguments.texture)
    result = receiver.decode(data)
    mesh = result.mesh()
    notes = [*_write_still(arguments, receiver, result), *_lost(arguments, mesh)]
    if arguments.preview:
        from somacast.files import write_atomically
        from somacast.geometry.preview import encode_png, turntable

        write_atomically(arguments.preview, encode_png(turntable(mesh)))
    size = f"{len(mesh.vertices):,} vertices, {len(mesh.faces):,} triangles{_of_texture(mesh)}"
    times = ", ".join(f"{stage} {milliseconds(seconds)}" for stage, seconds in result.stage_times_s.items())
    return Decoded([*result.notes, *notes], f"{arguments.out}: {size} from {len(data)} bytes ({times})")


@lru_cache(maxsize=1)
def _receiver(device: str, texture_px: int | None) -> Any:
    """The receiver with its decoders; a worker has many files for it."""
    from somacast.pipeline.still.receiver import Receiver

    return Receiver(device, texture_px=texture_px)


def _of_texture(mesh: Any) -> str:
    """Of the line about what was written."""
    if mesh is None or mesh.texture is None:
        return ""
    height, width = mesh.texture.image.shape[:2]
    return f", texture of {width} x {height}"


def _lost(arguments: Arguments, mesh: Any) -> list[str]:
    """What a file on a stream cannot hold."""
    if mesh is None or mesh.texture is None or not arguments.export.alone or arguments.out.suffix.lower() != ".obj":
        return []
    return [f"{arguments.out} takes one file, and an .obj has its texture beside it: it has colours at its vertices"]


def _write_still(arguments: Arguments, receiver: Any, result: Any) -> list[str]:
    """Mesh, rigged mesh, skeleton or avatar of one picture; notes for the user."""
    out, avatar = arguments.out, arguments.out.suffix.lower() == ".vrm"
    if (arguments.rig or avatar or out.suffix.lower() == ".bvh") and result.human.rotations is None:
        system = result.payload.system
        raise SomacastError(f"{out}: people of system {system} have no joints; expected a mesh without --rig")
    notes: list[str] = []
    if avatar:
        from somacast.files import write_atomically
        from somacast.formats.vrm import encode_vrm

        rig, notes = receiver.rig(result)
        write_atomically(out, encode_vrm(rig, out.stem, arguments.export.vrm, arguments.export.picture))
    else:
        from somacast.formats.people import save_person

        save_person(result.human, out, arguments.export, arguments.rig)
    return notes


def _video(arguments: Arguments, data: bytes) -> Decoded:
    """A person who moves."""
    import time

    from somacast.pipeline.video.animate import write_video_person
    from somacast.pipeline.video.files import read_video
    from somacast.systems import registry

    start = time.perf_counter()
    video = read_video(data)
    system = registry.get(video.system).textured(arguments.texture)
    decoder = system.decoder(arguments.device)
    notes = write_video_person(video, system, decoder, arguments.out, arguments.preview, arguments.export)
    seconds, frames = video.end_s, len(video.times_s)
    spent = milliseconds(time.perf_counter() - start)
    line = f"{arguments.out}: {frames} frames, {seconds:.1f} s, from {len(data):,} bytes ({spent})"
    return Decoded([*video.notes, *notes], line)
