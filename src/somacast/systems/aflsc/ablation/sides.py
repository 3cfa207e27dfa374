"""`somacast bench study aflsc sides`: what both sides of a person would bring a receiver that knows pose and build.

Truth in place of look tokens, on the labels that the sender sends before a picture: how much is to be won by telling
the front (at several sizes), the back, and the depth of both, before any of it has cost a byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from somacast.errors import SomacastError
from somacast.geometry.harmonic import harmonic
from somacast.geometry.projection import inside_out
from somacast.geometry.rasteriser import render_camera
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.protocol import Reference
from somacast.synthetic.datasets.loaders import EvalItem, load_items, truth_of
from somacast.systems.aflsc.ablation.coding import mean_over_actions
from somacast.systems.aflsc.ablation.config import SidesConfig
from somacast.systems.aflsc.ablation.show import SIDES_COLUMNS, print_sides
from somacast.systems.aflsc.look_tokens.capsules import HEIGHT_PX, WIDTH_PX, Capsules
from somacast.systems.aflsc.look_tokens.dressed import COVERED, dressed
from somacast.systems.aflsc.look_tokens.show import Sides, shown_sides
from somacast.systems.aflsc.look_tokens.surfaces import Surfaces
from somacast.systems.aflsc.picture_layer.canvas import Canvas
from somacast.systems.aflsc.picture_layer.codes import read_codes
from somacast.systems.aflsc.picture_layer.share import label_state
from somacast.systems.aflsc.receiver.decoder import Decoder
from somacast.systems.aflsc.sender.encoder import Encoder
from somacast.types import Camera

FIGURES = (*(column[0] for column in SIDES_COLUMNS), "unseen_delta_e")
BYTES = 200  # the labels are those of a file of so many


def true_sides(item: EvalItem, canvas: Canvas, lens: Camera, width: int, height: int) -> Sides:
    """Both sides as they truly are, on a canvas of the sender's camera; depths in metres of the person that the sender
    sees, who may be larger or smaller, around their own pelvis."""
    camera = item.camera
    if camera is None:
        raise SomacastError(f"{item.name}: expected a person whose camera is known")
    scale, middle = np.array([lens.fx, lens.fy]), np.array([lens.cx, lens.cy])
    corner, sides_px = canvas.low * scale + middle, (canvas.high - canvas.low) * scale
    zoom = np.array([2 * width, 2 * height]) / sides_px
    fine = replace(
        camera, fx=camera.fx * zoom[0], fy=camera.fy * zoom[1], cx=(camera.cx - corner[0]) * zoom[0],
        cy=(camera.cy - corner[1]) * zoom[1], width=2 * width, height=2 * height,
    )  # fmt: skip
    depth_m = (item.truth.vertices.astype(np.float64) @ camera.rotation.T + camera.translation)[:, 2]
    pelvis_m = float(camera.translation[2])
    ratio = float(canvas.pelvis_m[2]) / lens.fx / (pelvis_m / camera.fx)
    colors, depths = [], []
    for behind in (False, True):
        seen = render_camera(inside_out(item.truth, fine) if behind else item.truth, fine)
        depth = depth_m.min() + depth_m.max() - seen.depth if behind else seen.depth
        cover = _halved(seen.mask[..., None].astype(np.float32))
        there = np.maximum(cover, 1e-6)
        known = cover[..., 0] > COVERED
        colors.append(harmonic(_halved(seen.rgb * seen.mask[..., None]) / there, known))
        z = ratio * (pelvis_m - _halved(np.where(seen.mask, depth, 0)[..., None]) / there)
        depths.append(harmonic(z.astype(np.float32), known)[..., 0])
    return Sides(canvas, colors[0], colors[1], cover[..., 0], np.stack(depths))


def _halved(plane: np.ndarray) -> np.ndarray:
    height, width = plane.shape[0] // 2, plane.shape[1] // 2
    return plane.reshape(height, 2, width, 2, -1).mean((1, 3)).astype(np.float32)


def variants(
    item: EvalItem, sender: Encoder, decoder: Decoder, heights_px: tuple[int, ...]
) -> Iterator[tuple[str, Reconstruction]]:
    """The person by name of what is told of them."""
    frame = item.frame
    values, _, look = sender.see(item.capture())
    space, codec = sender.space, sender.codec
    state = label_state(BYTES) or 0
    layers = codec.layers_before_look(sender.symbols(frame, look, values, state, True), state)
    symbols = codec.symbols_before_look(layers)
    sent = space.vocabulary.dequantise(symbols[None])[0][0]
    canvas = Capsules.of(sent, space).canvas
    for height in sorted({*heights_px, HEIGHT_PX}):
        width = round(height * WIDTH_PX / HEIGHT_PX)
        sides = true_sides(item, canvas, frame.lens, width, height)
        shown = shown_sides(space.state(sent), space, sides)
        codes = read_codes(space, shown.body, shown.picture) if shown.picture is not None else None
        base = decoder.rebuild(symbols, codes, shown.body.skin)
        yield f"front, {height} px", replace(shown, behind=None).on(base)
        if height != HEIGHT_PX:
            continue
        yield "front and back", shown.on(base)
        skin, beyond = dressed(shown.body, _around_own_pelvis(sides, shown.body.skin.vertices, shown.body.canvas))
        yield "front, back and depth", shown.on(decoder.rebuild(symbols, codes, skin, beyond))


def _around_own_pelvis(sides: Sides, vertices: np.ndarray, canvas: Canvas) -> Sides:
    """Depths moved so that the front is in the middle as deep as the body's: nobody knows how far away a person is."""
    height, width = sides.cover.shape
    body = Surfaces.of(vertices, Canvas(sides.canvas.low, sides.canvas.high, canvas.pelvis_m), width, height)
    both = body.on & (sides.cover > COVERED)
    return replace(sides, depth=sides.depth - np.float32(np.median((sides.depth - body.depth)[0][both])))


def study(config: SidesConfig) -> dict[str, Any]:
    """Measure, print the table; results and weights, for bench/results.py to write. SomacastError if nobody came
    through."""
    from rich.console import Console
    from rich.progress import track

    sender, decoder = Encoder(config.device), Decoder(config.device)
    items = load_items(config.data, "synthetic", config.people, config.assets, config.seed)
    rows: dict[str, list[dict[str, Any]]] = {}
    failures = []
    for item in track(items, "sides", config.people, console=Console(stderr=True)):
        try:
            reference = Reference(truth_of(item), config.protocol, perceptual=True)
            people = variants(item, sender, decoder, config.heights_px)
            found = {name: reference.compare(person) for name, person in people}
        except SomacastError as fault:
            failures.append({"name": item.name, "action": item.action, "message": str(fault)})
            continue
        for name, row in found.items():
            rows.setdefault(name, []).append({"action": item.action, **{k: row[k] for k in FIGURES}})
    if not rows:
        raise SomacastError(f"none of {config.people} people came through: {failures[0]['message']}")
    means = {name: mean_over_actions(found) for name, found in rows.items()}
    print_sides(means)
    results = {
        "people": config.people, "failures": failures, "columns": SIDES_COLUMNS, "variants": means, "rows": rows,
    }  # fmt: skip
    return {"results": results}
