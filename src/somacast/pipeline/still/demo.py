"""The whole story in one call: a picture, a few hundred bytes, a person in 3D, and what that is worth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from somacast.body.skeleton import JOINT_PARENT
from somacast.capture.cropping import SquareBox, square_crop
from somacast.capture.pictures import read_image
from somacast.errors import SomacastError
from somacast.files import write_atomically
from somacast.formats.people import save_person
from somacast.geometry.preview import contact_sheet as lay_out
from somacast.geometry.preview import encode_png, to_bytes_image, turntable
from somacast.pipeline.still.receiver import Receiver, ReceiverResult
from somacast.pipeline.still.sender import Sender, SenderResult
from somacast.systems import registry
from somacast.timing import StageClock
from somacast.types import Capture

BUILT_IN_SEED = 11
BUILT_IN_SIZE_PX = 384
BUDGET_BYTES = 600  # of the file that is written: enough for the picture itself on the person
TILE_PX = 320


@dataclass(frozen=True)
class Baseline:
    """The same person by another system: its title, the bytes of its file (None if it could not be made), a remark."""

    name: str
    size_bytes: int | None
    remark: str = ""


def run_demo(
    image: Path | None, out: Path, device: str = "cpu", system: str | None = None, texture_px: int | None = None
) -> dict[str, Any]:
    """Send one person through the whole chain and write everything into the folder `out` (made if needed).

    Writes person.soma of at most BUDGET_BYTES, person.glb, contact_sheet.png and, for the built-in person, input.png.
    texture_px: side of the texture, None for the system's own.

    Returns
    -------
    dict with `soma_bytes`, `plain_bytes` (without a budget: what the system sends unasked), `picture` (file and bytes),
    `baselines` (list of Baseline), `stage_times_s`, `files` (name -> path), `notes` and `report` (as `encode
    --report`).
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise SomacastError(f"{out}: the output folder cannot be made ({fault.strerror})") from fault
    files: dict[str, Path] = {}
    if image is None:
        image = files["input"] = out / "input.png"
        write_atomically(image, encode_png(built_in_person()))
    capture = Capture([read_image(image)])

    clock = StageClock()
    with clock.stage("load"):
        sender, receiver = Sender(system, device), Receiver(device, texture_px=texture_px)
        receiver.load(sender.system.spec.name)
    plain = sender.encode(capture)
    sent = sender.encode(capture, BUDGET_BYTES)
    plainer, got = receiver.decode(plain.data), receiver.decode(sent.data)
    got.stage_times_s.pop("load", None)

    files |= {"soma": out / "person.soma", "glb": out / "person.glb", "contact_sheet": out / "contact_sheet.png"}
    write_atomically(files["soma"], sent.data)
    save_person(got.human, files["glb"])
    write_atomically(files["contact_sheet"], encode_png(contact_sheet(sent, got, len(plain.data), plainer)))
    times_s = clock.times_s | {f"sender: {k}": v for k, v in sent.report["stage_times_s"].items()}
    times_s |= {f"receiver: {k}": v for k, v in got.stage_times_s.items()}
    return {
        "soma_bytes": len(sent.data),
        "plain_bytes": len(plain.data),
        "picture": {"path": image, "bytes": image.stat().st_size},
        "baselines": baselines(capture, device),
        "stage_times_s": times_s,
        "files": files,
        "notes": [*sent.report["notes"], *got.notes],
        "report": sent.report,
    }


def built_in_person() -> np.ndarray:
    """The picture of a synthetic person [S, S, 3] uint8, the same on every machine; unseen in training."""
    from somacast.synthetic.samples import SceneConfig, SyntheticPeople

    scene = SceneConfig(size_px=BUILT_IN_SIZE_PX, views_per_person=1)
    people = SyntheticPeople("test", seed=BUILT_IN_SEED, config=scene, actions=("walking",))
    return next(people.samples(0)).image


def baselines(capture: Capture, device: str = "cpu") -> list[Baseline]:
    """The same person by other systems, at the quality they choose themselves."""
    found = []
    for name in registry.names():
        spec = registry.get(name).spec
        if not spec.everyday:
            continue
        title = spec.title
        try:
            sent = Sender(name, device).encode(capture)
        except SomacastError as fault:  # a missing extra, or a person whom this one cannot send
            found.append(Baseline(title, None, str(fault)))
            continue
        found.append(Baseline(title, len(sent.data), sent.report.get("setting", "")))
    return found


def _resized(plane: np.ndarray, size_px: int) -> np.ndarray:
    plane = np.asarray(plane, np.float32)
    return square_crop(plane, SquareBox(plane.shape[1] / 2, plane.shape[0] / 2, plane.shape[0]), size_px)


def contact_sheet(sent: SenderResult, got: ReceiverResult, plain_bytes: int, plainer: ReceiverResult) -> np.ndarray:
    """Input, silhouette, depth, keypoints, four views of the result, and four of what fewer bytes give, on one sheet,
    [H, W, 3] float32."""
    tiles = [("input", _fitted(sent.capture.frame.image, TILE_PX))]
    maps = sent.maps
    if "silhouette" in maps:
        tiles.append(("silhouette", _resized(maps["silhouette"], TILE_PX)))
    if "depth_m" in maps:
        tiles.append(("depth", depth_picture(_nearest(maps["depth_m"], TILE_PX))))
    if "joints_px" in maps and "image" in maps:
        tiles.append(("keypoints", keypoint_picture(np.asarray(maps["image"]), np.asarray(maps["joints_px"]))))
    sides = ("front", "from its left", "from behind", "from its right")
    for size_bytes, result in ((len(sent.data), got), (plain_bytes, plainer)):
        views = turntable(result.mesh(), size=TILE_PX)
        for i, name in enumerate((f"{size_bytes} bytes, {sides[0]}", *sides[1:])):
            tiles.append((name, views[:, i * TILE_PX : (i + 1) * TILE_PX]))
    return lay_out(tiles, columns=4)


def _fitted(image: np.ndarray, height_px: int) -> np.ndarray:
    """A picture brought to a height, so that a large photograph does not make a large sheet."""
    from PIL import Image

    pixels = Image.fromarray(to_bytes_image(image))
    width_px = max(1, min(3 * height_px, round(pixels.width * height_px / pixels.height)))
    return np.asarray(pixels.resize((width_px, height_px), Image.Resampling.LANCZOS))


def _nearest(plane: np.ndarray, size_px: int) -> np.ndarray:
    """Enlarged without mixing: depth has holes (NaN) that must not spread."""
    rows = (np.arange(size_px) + 0.5) * plane.shape[0] / size_px
    columns = (np.arange(size_px) + 0.5) * plane.shape[1] / size_px
    return np.asarray(plane)[rows.astype(int)[:, None], columns.astype(int)]


def depth_picture(depth_m: np.ndarray) -> np.ndarray:
    """Depth [H, W] in metres (NaN outside) to [H, W, 3]: near is warm and bright, far is cold and dark."""
    known = np.isfinite(depth_m)
    out = np.full((*depth_m.shape, 3), 0.95, np.float32)
    if known.any():
        near, far = np.percentile(depth_m[known], [1, 99])
        t = np.clip((depth_m[known] - near) / max(far - near, 1e-6), 0, 1)
        stops = np.array([[1.0, 0.93, 0.6], [0.95, 0.5, 0.3], [0.6, 0.2, 0.5], [0.12, 0.1, 0.35]])
        out[known] = np.stack([np.interp(t, np.linspace(0, 1, len(stops)), stops[:, c]) for c in range(3)], -1)
    return out


def keypoint_picture(image: np.ndarray, joints_px: np.ndarray) -> np.ndarray:
    """The crop with the skeleton drawn on it: image [S, S, 3], joints [21, 2] in its pixels -> [T, T, 3] uint8."""
    from PIL import Image, ImageDraw

    scale = TILE_PX / image.shape[0]
    canvas = Image.fromarray(to_bytes_image(image)).resize((TILE_PX, TILE_PX), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(canvas)
    places = [(float(x) * scale, float(y) * scale) for x, y in joints_px[:, :2]]
    for joint, parent in enumerate(JOINT_PARENT):
        if parent >= 0:
            draw.line([places[parent], places[joint]], fill=(255, 210, 60), width=3)
    for x, y in places:
        draw.ellipse([x - 4, y - 4, x + 4, y + 4], fill=(220, 40, 60), outline=(255, 255, 255))
    return np.asarray(canvas)
