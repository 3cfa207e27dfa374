"""What `somacast evaluate` shows: a table on the terminal, and a sheet of people beside the truth and the controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from somacast.bench.progress import Progress
from somacast.bench.results import Result
from somacast.capture.cropping import SquareBox, square_crop
from somacast.geometry.preview import contact_sheet, encode_png, to_bytes_image
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.controls import GREY, HEADLINES, TITLES, TRUTH, in_grey
from somacast.metrics.protocol import Reference, place_result
from somacast.metrics.views import INPUT
from somacast.synthetic.datasets.loaders import EvalItem

TILE_PX = 168
SHOWN_VIEWS = (INPUT, "90", "180")
SCORES = (
    ("input_stlpips", True),
    ("ssim_box", False),
)  # by the first that was measured the sheet chooses; less is better
COLUMNS = (  # figure, heading, factor, places
    ("bytes", "bytes", 1, 0), ("input_stlpips", "ST-LPIPS", 1, 3), ("sides_stlpips", "sides", 1, 3),
    ("input_iou", "IoU", 1, 3), ("silhouette_iou", "sender's", 1, 3),
    ("same_person", "same %", 100, 0), ("face_distance", "face", 1, 2),
    ("input_delta_e", "dE seen", 1, 1), ("unseen_delta_e", "unseen", 1, 1), ("input_normal_deg", "normals", 1, 0),
    ("centred_chamfer_m", "Chamfer cm", 100, 2), ("mpjpe_m", "MPJPE mm", 1000, 0), ("pa_mpjpe_m", "PA mm", 1000, 0),
    ("lean_deg", "lean", 1, 1), ("knees_deg", "knees", 1, 1),
    ("ssim_box", "SSIM box", 1, 3), ("ssim_whole", "SSIM", 1, 3), ("mse", "MSE", 1, 4),
    ("picture_to_mesh_s", "ms", 1000, 0),
)  # fmt: skip


def cells(row: Mapping[str, Any], columns: Sequence[tuple[str, str, float, int]] = COLUMNS) -> list[str]:
    """A row of figures as text, "" for what was not measured."""
    return [f"{row[n] * factor:.{places}f}" if row.get(n) is not None else "" for n, _, factor, places in columns]


def print_table(result: Result) -> None:
    """Means by action and in total, controls and what they contradict, failures, on stdout."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    found = result.results
    table = Table(title=f"{result.provenance.system} on {found['people']} people", box=SIMPLE, padding=(0, 1))
    everything = [found["total"], *(c["total"] for c in found.get("controls", {}).values())]
    columns = [column for column in COLUMNS if any(row.get(column[0]) is not None for row in everything)]
    for heading in ("", "people", *(column[1] for column in columns)):
        table.add_column(heading, justify="right" if heading else "left")
    count = sum(found["counts"].values())
    for action, row in found["actions"].items():
        table.add_row(action, str(found["counts"][action]), *cells(row, columns))
    table.add_row("total", str(count), *cells(found["total"], columns), end_section=True)
    for name, row in found.get("controls", {}).items():
        table.add_row(TITLES[name], str(row["people"]), *cells(row["total"], columns))
    console = Console(width=None if Console().is_terminal else 200)
    console.print(table)
    for fault in found.get("order_faults", []):
        console.print(f"order: {fault}", markup=False)
    for line in found.get("left_out", []):
        console.print(line, markup=False)
    for row in found["failures"]:
        console.print(f"failed: {row['name']} ({row['action']}) in the {row['stage']}: {row['message']}", markup=False)


def _window_picture(item: EvalItem, reference: Reference) -> np.ndarray:
    """The input picture in the window of the input camera's view, or whole."""
    height, width = item.frame.image.shape[:2]
    left, top, side = reference.window or (0.0, 0.0, float(max(height, width)))
    box = SquareBox(left + side / 2, top + side / 2, side)
    return to_bytes_image(square_crop(item.frame.image, box, TILE_PX))


def person_tile(
    item: EvalItem, reference: Reference, human: Reconstruction | None, controls: Mapping[str, Reconstruction]
) -> np.ndarray:
    """Input picture, truth, result and controls side by side, from the input camera, from the side and from behind:
    uint8, as the figures see them."""
    shown = {name: person for name, person in controls.items() if name != TRUTH}
    grey = None if human is None else in_grey(human)
    people = [(reference.person, True), (human, False), (grey, False), *((p, True) for p in shown.values())]
    views = [name for name in SHOWN_VIEWS if name in reference.cameras]
    blank = np.full((TILE_PX, TILE_PX, 3), 250, np.uint8)
    rows = []
    for view in views:
        row = [_window_picture(item, reference) if view == views[0] else blank]
        for person, in_place in people:
            row.append(blank if person is None else _small(_seen(person, in_place, view, reference)))
        rows.append(np.concatenate(row, 1))
    return np.concatenate(rows, 0)


def _seen(person: Reconstruction, in_place: bool, view: str, reference: Reference) -> np.ndarray:
    if view == INPUT:
        camera = reference.cameras[INPUT] if in_place else reference.input_camera(person)
        assert camera is not None
    else:
        camera = reference.cameras[view]
        person = person if in_place else place_result(person, reference.truth.joints)
    return person.render(camera, reference.config.background).rgb


def _small(rgb: np.ndarray) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(to_bytes_image(rgb)).resize((TILE_PX, TILE_PX), Image.Resampling.BOX))


def caption_of(controls: Sequence[str]) -> str:
    """What the columns of a tile are."""
    return " | ".join(["picture", "truth", "result", *(n for n in (GREY, *controls) if n != TRUTH)])


def sheet(rows: Sequence[Mapping[str, Any]], numbers: Mapping[str, int], progress: Progress, columns: str) -> bytes:
    """A PNG with the worst, the median and the best person. numbers: of the people's pictures in `progress`."""
    score, less = next((s for s in SCORES if all(s[0] in row for row in rows)), SCORES[-1])
    ranked = sorted(rows, key=lambda row: -row[score] if less else row[score])
    chosen = {"worst": ranked[0], "median": ranked[len(ranked) // 2], "best": ranked[-1]}
    tiles = []
    for rank, row in chosen.items():
        picture = progress.picture(numbers[row["name"]])
        if picture is None:
            continue
        shown = [f"{h.title} {row[h.key] * h.factor:.{h.digits}f}{h.unit}" for h in HEADLINES if h.key in row]
        text = f"{rank}: {row['name']} {row['action']}, {row['bytes']} B, {', '.join(shown)} [{columns}]"
        tiles.append((text, picture))
    return encode_png(contact_sheet(tiles, columns=1))
