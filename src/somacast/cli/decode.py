"""`somacast decode`: .soma -> person in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from somacast.cli.common import Device, check_device, check_output, milliseconds, parse, read_file, show_notes


@dataclass(frozen=True)
class Arguments:
    """Turn a .soma file into a coloured person in 3D.

    A file that was cut short still gives a coarser person.

    Example: somacast decode person.soma -o person.glb --preview person.png
    """

    file: tyro.conf.Positional[Path]
    """.soma file"""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """mesh to write: .glb, .ply or .obj"""
    preview: Path | None = None
    """PNG to write with four views of the person"""
    device: Device = "cpu"


def run(argv: Sequence[str]) -> int:
    """Parse, decode, write."""
    arguments = parse(Arguments, argv, "somacast decode")
    from somacast.human.io import mesh_suffix, save_mesh

    mesh_suffix(arguments.out)
    check_output(arguments.out)
    if arguments.preview:
        check_output(arguments.preview, (".png",))
    data = read_file(arguments.file, "a .soma file")
    device = check_device(arguments.device)
    from somacast.pipeline.receiver import Receiver

    result = Receiver(device).decode(data)
    show_notes(result.notes)
    mesh = result.mesh()
    save_mesh(mesh, arguments.out)
    if arguments.preview:
        from somacast.files import write_atomically
        from somacast.human.preview import encode_png, turntable

        write_atomically(arguments.preview, encode_png(turntable(mesh)))
    size = f"{len(mesh.vertices):,} vertices, {len(mesh.faces):,} triangles"
    times = ", ".join(f"{stage} {milliseconds(seconds)}" for stage, seconds in result.stage_times_s.items())
    print(f"{arguments.out}: {size} from {len(data)} bytes ({times})")
    return 0
