"""`somacast bench sheet`: the people of photographs from all sides, at several budgets."""

from __future__ import annotations

from typing import Any

import numpy as np

from somacast.bench.halves import load_halves
from somacast.bench.likeness.config import SheetConfig
from somacast.bench.likeness.sheet import Row, Stage, blank, heads_of, sheet_bytes
from somacast.capture.pictures import read_image
from somacast.errors import SomacastError
from somacast.files import write_atomically
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.protocol import place_result
from somacast.metrics.views import sent_camera
from somacast.types import Capture, Frame

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".tif", ".tiff")


def make_sheet(config: SheetConfig) -> list[str]:
    """Write the sheet; gives a line for each photograph or budget that shows nobody. SomacastError for a folder without
    photographs, or if nobody is seen in any."""
    paths = sorted(p for p in config.pictures.iterdir() if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise SomacastError(f"{config.pictures}: expected photographs ({', '.join(SUFFIXES)}), found none")
    systems = [config.system, *([config.beside] if config.beside else [])]
    several, rows, lines = [load_halves(name, config.device, by_looks=False) for name in systems], [], []
    for path in paths:
        try:
            frame = read_image(path)
        except SomacastError as fault:
            lines.append(str(fault))
            continue
        found = [_rebuilt(frame, halves, config) for halves in several]
        for name, (_, faults) in zip(("", f"{config.beside}, "), found, strict=False):
            lines += [f"{path.name}, {name}{fault}" for fault in faults]
        if found[0][0]:
            rows.append(_row(path.stem, frame, [people for people, _ in found], config))
    if not rows:
        raise SomacastError(f"{config.pictures}: nobody could be rebuilt; {lines[0]}")
    heads = heads_of(sorted(config.budgets_bytes), not config.without_input, False)
    write_atomically(config.sheet, sheet_bytes(rows, heads))
    return lines


def _rebuilt(
    frame: Frame, halves: tuple[Any, Any], config: SheetConfig
) -> tuple[dict[int, tuple[Reconstruction, int]], list[str]]:
    """The person of a photograph by budget, each with the bytes of the file; and a line for each that failed."""
    people, faults = {}, []
    for budget in sorted(config.budgets_bytes):
        try:
            sent = halves[0].encode(Capture([frame]), budget)
            people[budget] = halves[1].decode(sent.data).human, len(sent.data)
        except SomacastError as fault:
            faults.append(f"{budget} B: {fault}")
    return people, faults


def _row(name: str, frame: Frame, several: list[dict[int, tuple[Reconstruction, int]]], config: SheetConfig) -> Row:
    first = next(iter(several[0].values()))[0]
    stage = Stage.around(place_result(first, None), sent_camera(first, frame.lens), float(max(frame.image.shape[:2])))
    strips = []
    for people in several:
        picture = stage.picture(frame)
        tiles = [] if config.without_input else [blank(picture) if strips else picture]
        for budget in sorted(config.budgets_bytes):
            human = people[budget][0] if budget in people else None
            placed = None if human is None else place_result(human, None)
            tiles.append(stage.views(human, placed, frame.lens))
        strips.append(np.concatenate(tiles, 1))
    sizes = [", ".join(f"{size:,}" for _, size in people.values()) for people in several]
    below = f"; below: {config.beside}, {sizes[1]} B" if config.beside else ""
    return Row(f"{name}; files of {sizes[0]} B{below}", np.concatenate(strips))
