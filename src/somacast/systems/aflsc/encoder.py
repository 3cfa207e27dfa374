"""The sender of AFLSC: picture -> multi-task ViT -> semantic labels -> symbols (Algorithm 1, eq. 1-14)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from somacast.capture.crop import SquareBox, square_crop
from somacast.capture.finder import find_person
from somacast.human.skeleton import CANONICAL_JOINTS
from somacast.systems.aflsc.adversarial import label_values
from somacast.systems.aflsc.appearance import WeakCamera, fit_codes, visible_texels
from somacast.systems.aflsc.assemble import displaced_body
from somacast.systems.aflsc.labels import LabelSpace
from somacast.systems.aflsc.networks import load_sender, load_tables
from somacast.systems.aflsc.refine import Evidence, Refiner
from somacast.types import Frame, Semantics, SomacastError

CROP_MARGIN = 1.22  # crop side over the person's box, the middle of what the network learnt from
LOOK_PX = 192  # crop from which colours are read
DEFAULT_FOCAL = 1.2  # focal length over the picture's longer side, when the frame brings no camera
LIGHT_GAIN = 1.0
_LEAST_CONFIDENCE = 0.035  # mean peak of the heat maps under which there is no person to speak of


@dataclass
class _Look:
    """What the network says about one crop, NumPy."""

    box: SquareBox
    image: np.ndarray
    out: dict[str, np.ndarray]
    coded: dict[str, np.ndarray]

    @property
    def silhouette(self) -> np.ndarray:
        return 1 / (1 + np.exp(-self.out["silhouette"][0, 0]))


class Encoder:
    """Holds the sender's networks. `encode` gives the symbols at full precision; the codec spends the budget."""

    def __init__(self, device: str = "cpu", weights: Path | None = None):
        import torch

        self.device = torch.device(device)
        tables = load_tables(weights)
        self.space: LabelSpace = tables.space
        self.digest = tables.codec.digest
        self.network, self.coder = (m.to(self.device) for m in load_sender(weights))
        self.refiner = Refiner(self.space)

    def encode(self, frames: list[Frame], budget_bytes: int | None = None) -> tuple[Semantics, dict]:
        """One frame to the symbols of all labels and a report (see pipeline/sender.py). budget_bytes is not used here.

        SomacastError if there is no person.
        """
        frame, clock, times = frames[0], time.perf_counter, {}
        start = clock()
        box, notes = find_person(frame)
        times["find"] = clock() - start
        start = clock()
        look = self._look(frame, box)
        closer = self._closer(look)
        if closer is not None:
            look = self._look(frame, closer)
        times["extract"] = clock() - start
        if float(look.out["confidence"].mean()) < _LEAST_CONFIDENCE:
            raise SomacastError("no person found in the picture: expected one person, mostly visible")
        start = clock()
        values, camera, residual = self._labels(frame, look)
        times["label"] = clock() - start
        start = clock()
        values, seen_share = self._appearance(frame, look, values, camera)
        times["appearance"] = clock() - start
        symbols = self.space.vocabulary.quantise(values[None])[0]
        report = self._report(look, values, camera, notes, times)
        report["consistency"] = {"joint_residual": residual, "seen_share": seen_share}
        return Semantics("aflsc", symbols, self.digest), report

    def _look(self, frame: Frame, box: SquareBox) -> _Look:
        import torch

        from somacast.systems.aflsc.adversarial import feature_vector

        size = self.network.config.size_px
        image = square_crop(frame.image, box, size).astype(np.float32)
        with torch.inference_mode():
            tensor = torch.from_numpy(image).permute(2, 0, 1)[None].to(self.device)
            out = self.network(tensor)
            coded = self.coder.infer(feature_vector(out))
        if frame.mask is not None:  # the user's mask is used as it is
            mask = np.clip(square_crop(frame.mask, box, size), 1e-3, 1 - 1e-3)
            out["silhouette"] = torch.from_numpy(np.log(mask / (1 - mask)).astype(np.float32))[None, None]
        return _Look(
            box, image, {k: v.float().cpu().numpy() for k, v in out.items()},
            {k: v.float().cpu().numpy() for k, v in coded.items()},
        )  # fmt: skip

    def _closer(self, look: _Look) -> SquareBox | None:
        """A box that fits silhouette and joints better, or None if this one is good enough."""
        size = self.network.config.size_px
        joints = (look.out["joints"][0] + 0.5) * size
        rows, columns = np.nonzero(look.silhouette > 0.5)
        if len(rows) < 12:
            return None
        low = np.minimum([np.percentile(columns, 1), np.percentile(rows, 1)], joints.min(0))
        high = np.maximum([np.percentile(columns, 99), np.percentile(rows, 99)], joints.max(0))
        side = float((high - low).max()) * CROP_MARGIN
        centre = (high + low) / 2
        if abs(side / size - 1) < 0.08 and np.abs(centre - size / 2).max() < 0.04 * size:
            return None
        place = look.box.to_picture(centre, size)
        return SquareBox(float(place[0]), float(place[1]), side * look.box.side / size)

    def _distance_scale(self, frame: Frame, box: SquareBox) -> tuple[float, float]:
        """Focal length in pixels of the picture, and in crop sides."""
        height, width = frame.image.shape[:2]
        focal = float(frame.camera.fx) if frame.camera is not None else DEFAULT_FOCAL * max(height, width)
        return focal, focal / box.side

    def _labels(self, frame: Frame, look: _Look) -> tuple[np.ndarray, WeakCamera, float]:
        """Labels from the coder (eq. 12-13), pulled towards the maps."""
        vocabulary, layout = self.space.vocabulary, self.coder.layout
        values = np.array([[label.mean for label in vocabulary.labels]])
        values = label_values(layout, vocabulary, look.coded, values)[0]
        spread = np.ones(len(values))
        std = np.array([vocabulary.labels[i].std for i in layout.scalars])
        spread[list(layout.scalars)] = np.exp(look.coded["log_scale"][0]) * 1.8 * std
        spread[list(layout.angles)] = 0.35
        out = look.out
        pose = out["pose"][0]
        at = 6 * 21 + self.network.config.shape_count + 2
        heat = out["heat"][0].reshape(21, -1)
        share = np.exp(heat - heat.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
        grid = (np.arange(out["heat"].shape[-1]) + 0.5) / out["heat"].shape[-1] - 0.5
        gx, gy = (a.ravel() for a in np.meshgrid(grid, grid))
        mean = out["joints"][0]
        var = (share * ((gx - mean[:, :1]) ** 2 + (gy - mean[:, 1:]) ** 2)).sum(1) / 2
        evidence = Evidence(
            mean, np.sqrt(var + 0.012**2), out["joint_depth"][0], np.full(21, 0.15), pose[at : at + 3].astype(np.float64)
        )  # fmt: skip
        _, focal = self._distance_scale(frame, look.box)
        distance = float(np.clip(focal / np.exp(evidence.camera[2]), 1.0, 30.0))
        return self.refiner(values, spread, evidence, distance)

    def _appearance(
        self, frame: Frame, look: _Look, values: np.ndarray, camera: WeakCamera
    ) -> tuple[np.ndarray, float]:
        """Appearance codes from the texels that the picture shows; the rest follows from the prior."""
        state = self.space.state(values)
        image = np.clip(square_crop(frame.image, look.box, LOOK_PX) * LIGHT_GAIN, 0, 1)
        size = self.network.config.size_px
        silhouette = square_crop(look.silhouette.astype(np.float32), SquareBox(size / 2, size / 2, size), LOOK_PX)
        enlarged = WeakCamera(
            (camera.place_px + 0.5) * LOOK_PX, camera.scale_px_per_m * LOOK_PX, camera.distance_m
        )  # fmt: skip
        codes = np.zeros(len(self.space.appearance_std), np.float32)
        share = 0.0
        for _ in range(2):  # the second look uses the offsets of the first
            _, offset = self.space.chart_maps(codes)
            seen = visible_texels(state, offset, enlarged, image, silhouette)
            share = len(seen.index) / len(self.space.appearance_mean)
            if len(seen.index) < 50:
                break
            codes, _ = fit_codes(self.space, seen)
        refined = values.copy()
        refined[self.space.vocabulary.group_indices("appearance")] = codes
        width, height = frame.image.shape[1], frame.image.shape[0]
        focal, _ = self._distance_scale(frame, look.box)
        place = look.box.to_picture((camera.place_px + 0.5) * size, size) - [width / 2, height / 2]
        depth = focal / (camera.scale_px_per_m * look.box.side) * 1.0
        depth = depth * look.box.side / look.box.side
        refined[self.space.vocabulary.group_indices("camera")] = [*(place / focal), np.log(max(depth, 0.1))]
        return refined, share

    def _report(self, look: _Look, values: np.ndarray, camera: WeakCamera, notes: list[str], times: dict) -> dict:
        size = self.network.config.size_px
        state = self.space.state(values)
        _, _, joints = displaced_body(state, np.zeros((128, 128), np.float32))
        crop_px = (camera.project(joints) + 0.5) * size
        picture_px = look.box.to_picture(crop_px, size)
        box = look.box
        silhouette = look.silhouette
        depth = np.where(silhouette > 0.5, look.out["depth"][0, 0], np.nan)
        return {
            "person_box_px": [box.cx - box.side / 2, box.cy - box.side / 2, box.cx + box.side / 2, box.cy + box.side / 2],
            "joints_2d_px": [[float(x), float(y)] for x, y in picture_px],
            "joints_3d_m": {n: [float(c) for c in j] for n, j in zip(CANONICAL_JOINTS, joints, strict=True)},
            "joint_names": list(CANONICAL_JOINTS),
            "attributes": state.attributes,
            "notes": notes,
            "stage_times_s": times,
            "maps": {"image": look.image, "silhouette": silhouette, "depth_m": depth, "joints_px": crop_px},
        }  # fmt: skip
