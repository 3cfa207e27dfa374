"""`somacast encode`: picture -> .soma."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from somacast.cli.common import Device, check_device, check_output, check_positive, parse, show_notes


@dataclass(frozen=True)
class Arguments:
    """Turn a picture of a person into a .soma file of a few hundred bytes.

    Example: somacast encode person.jpg -o person.soma --budget-bytes 300 --report report.json
    """

    image: tyro.conf.Positional[Path]
    """picture of a person (JPEG, PNG, WebP, AVIF, TIFF, ...); transparency counts as a mask"""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """.soma file to write"""
    system: str = "aflsc"
    """which system makes the file"""
    budget_bytes: int | None = None
    """the most bytes the file may have; full quality if not given"""
    mask: Path | None = None
    """picture of the same size, white where the person is; found by ourselves if not given"""
    height_m: float | None = None
    """how tall the person stands, barefoot, in metres; one picture does not tell it"""
    report: Path | None = None
    """JSON file with person box, joints by name in pixels and metres, bits of every label group, stage times"""
    device: Device = "cpu"


def run(argv: Sequence[str]) -> int:
    """Parse, encode, write."""
    arguments = parse(Arguments, argv, "somacast encode")
    check_output(arguments.out)
    if arguments.report:
        check_output(arguments.report)
    check_positive(budget_bytes=arguments.budget_bytes, height_m=arguments.height_m)
    from somacast.capture.images import read_image

    frame = read_image(arguments.image, arguments.mask)  # before the networks: a wrong file is told at once
    frame.height_m = arguments.height_m
    device = check_device(arguments.device)
    from somacast.files import write_atomically
    from somacast.pipeline.sender import Sender

    result = Sender(arguments.system, device).encode(frame, arguments.budget_bytes)
    write_atomically(arguments.out, result.data)
    if arguments.report:
        write_atomically(arguments.report, (json.dumps(result.report, indent=2) + "\n").encode())
    show_notes(result.report["notes"])
    picture_bytes = arguments.image.stat().st_size
    ratio = picture_bytes / len(result.data)
    print(f"{arguments.out}: {len(result.data)} bytes, {ratio:,.0f} times fewer than the picture ({picture_bytes:,})")
    return 0
