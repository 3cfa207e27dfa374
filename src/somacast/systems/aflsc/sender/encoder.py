"""The sender of AFLSC: picture -> multi-task ViT -> semantic labels -> symbols (Algorithm 1, eq. 1-14)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_COUNT, MIRROR
from somacast.body.table import load_body
from somacast.capture.cropping import SquareBox, square_crop
from somacast.capture.detector import NO_PERSON, find_person
from somacast.capture.landmarks import INPUT_PX, box_of_landmarks, find_landmarks
from somacast.errors import SomacastError
from somacast.extras import require
from somacast.systems.aflsc.config import EncoderConfig
from somacast.systems.aflsc.labels.layout import DEPTH_OFFSET_M, LabelLayout, label_values
from somacast.systems.aflsc.labels.schema import SHAPE_LABELS
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.networks.loading import CODED, EXTRACTED, load_fast_sender, load_sender, load_tables
from somacast.systems.aflsc.sender.appearance import read_appearance
from somacast.systems.aflsc.sender.known_height import check_height, standing_height, with_height
from somacast.systems.aflsc.sender.refine import Evidence, Refiner
from somacast.systems.aflsc.sender.rendered_body import RenderedBody, WeakCamera
from somacast.systems.aflsc.sender.silhouette_alignment import align_silhouette
from somacast.types import Capture, Encoded, Frame
from somacast.weights.sessions import onnx_runs_on

CROP_MARGIN = 1.22  # crop side over the person's box, the middle of what the network learnt from
LOOK_PX = 192  # crop from which colours are read
DEFAULT_FOCAL = 1.2  # focal length over the picture's longer side, when the frame brings no camera
SURE_OVERLAP = 0.5
# Chosen on people of the training split (docs/log.md).
POINTS_STD_M = 0.1  # how far the joint tokens are trusted
# The crop need not be exact: the networks learnt from crops of 1.08 to 1.4 times the person's box.
LOCATE_ROUNDS, NEAR_SIDE, NEAR_CENTRE = 3, 1.1, 0.05
_UNSURE = (
    "the rebuilt person covers the one in the picture only in part (overlap {:.2f}): the person may be cut by the "
    "picture's edge, hidden, or in an unusual pose; the result is uncertain"
)
_DOUBTFUL = "it is doubtful that this is a person (confidence {:.3f}): the result is uncertain"
# Mean peak of the heat maps of these joints tells people from other things better than that of all.
TRUNK = [CANONICAL_JOINTS.index(n) for n in ("pelvis", "spine", "chest", "neck", "head", "l_upper_leg", "r_upper_leg")]
SURE_CONFIDENCE = 0.074  # of the trunk; under it a note says that the result is uncertain


@dataclass(frozen=True)
class _Test:
    """Is it a person? The trunk must be seen at all, and either the landmark network's score must be high or the trunk
    seen well. Chosen on people of the training split and on pictures of other things."""

    min_confidence: float
    sure_score: float
    sure_confidence: float

    def accepts(self, score: float, confidence: float) -> bool:
        sure = score >= self.sure_score or confidence >= self.sure_confidence
        return confidence >= self.min_confidence and sure


FOUND = _Test(0.03, 0.9, 0.09)
DOUBTED = _Test(0.06, 0.95, 0.11)  # where the detector saw nobody, or somebody who reaches the picture's edge


@dataclass
class Look:
    """What the networks say about one crop, NumPy: `out` as of MultiTaskViT, label values [L] and their spread [L]."""

    box: SquareBox
    image: np.ndarray
    out: dict[str, np.ndarray]
    values: np.ndarray
    value_std: np.ndarray

    @property
    def silhouette(self) -> np.ndarray:
        return 1 / (1 + np.exp(-self.out["silhouette"]))


class Encoder:
    """Holds the sender's networks. `encode` gives the symbols at full precision; the codec spends the budget."""

    def __init__(self, device: str = "cpu", weights: Path | None = None, config: EncoderConfig | None = None):
        self.config = config or EncoderConfig()
        tables = load_tables(weights)
        self.space: LabelSpace = tables.space
        self.codec = tables.codec
        self.layout = LabelLayout.of(self.space.vocabulary)
        self.refiner = Refiner(self.space)
        # With the weights of the package torch is not needed: importing it takes longer than all of encoding.
        self.fast = load_fast_sender(device) if weights is None and onnx_runs_on(device) else None
        if self.fast is not None:
            self.crop_px = int(self.fast.get_inputs()[0].shape[2])  # side of the crops that the networks learnt from
        else:
            require("torch", "this choice of device or weights")
            import torch

            self.device = torch.device(device)
            network, coder = load_sender(weights)
            self.network, self.coder = network.to(self.device), coder.to(self.device)
            self.crop_px = network.config.size_px

    def networks(self, image: np.ndarray, landmarks: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Crop [S, S, 3] in [0, 1] and, if there are landmarks for it [2, 33, 8], its mirror image through both
        networks: outputs of `MultiTaskViT.forward` and of `SemanticCoder.infer`, batch of one or two."""
        pair = np.stack([image, image[:, ::-1]][: len(landmarks)]).transpose(0, 3, 1, 2).astype(np.float32)
        if self.fast is not None:
            found = self.fast.run([*EXTRACTED, *CODED], {"image": np.ascontiguousarray(pair), "landmarks": landmarks})
            named = {k: np.asarray(v) for k, v in zip([*EXTRACTED, *CODED], found, strict=True)}
            return {k: named[k] for k in EXTRACTED}, {k: named[k] for k in CODED}
        import torch

        from somacast.systems.aflsc.networks.adversarial import feature_vector

        with torch.inference_mode():
            tensors = [torch.from_numpy(np.ascontiguousarray(a)).to(self.device) for a in (pair, landmarks)]
            with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
                out = self.network(*tensors)
            out = {k: v.float() for k, v in out.items()}
            coded = self.coder.infer(feature_vector(out))
        return {k: out[k].cpu().numpy() for k in EXTRACTED}, {k: coded[k].cpu().numpy() for k in CODED}

    def encode(self, capture: Capture, budget_bytes: int | None = None, network_state: int = 0) -> Encoded:
        """The first view to the layers of all labels and a report; see `systems.spec.Encoder`."""
        values, encoded = self.read(capture)
        symbols = self.space.vocabulary.quantise(values[None])[0]
        encoded.layers = self.codec.layers(symbols, budget_bytes, network_state)
        return encoded

    def read(self, capture: Capture) -> tuple[np.ndarray, Encoded]:
        """The first view to the values of all labels [L], and what was found, without layers. SomacastError if there is
        no person."""
        frame, clock, times = capture.frame, time.perf_counter, {}
        if capture.height_m is not None:
            check_height(capture.height_m)
        start = clock()
        box, notes, sure = self.find(frame)
        times["find"] = clock() - start
        start = clock()
        box, landmarks, score = self.locate(frame, box)
        times["landmarks"] = clock() - start
        start = clock()
        look = self.look(frame, box, landmarks, self.config.mirrored)
        closer = self.closer(look)
        if closer is not None:
            look = self.look(frame, closer, None, self.config.mirrored)
        times["extract"] = clock() - start
        confidence = float(look.out["confidence"][TRUNK].mean())
        cut = any("edge" in note for note in notes)
        if not (FOUND if sure and not cut else DOUBTED).accepts(score, confidence):
            # somebody cut at the waist is seen, but not well enough: the detector's note then says what is wrong
            raise SomacastError("; ".join([NO_PERSON, *(note for note in notes if "edge" in note)]))
        start = clock()
        values, camera, residual = self.label(frame, look, self.config.alignment_rounds, capture.height_m)
        times["label"] = clock() - start
        start = clock()
        values, seen_share = self.appearance(frame, look, values, camera)
        times["appearance"] = clock() - start
        encoded = self._found(look, values, camera, notes, times)
        report = encoded.report
        overlap = self._overlap(look, values, camera)
        report["consistency"] = {
            "joint_residual": residual, "seen_share": seen_share, "silhouette_iou": overlap, "confidence": confidence,
            "score": score,
        }  # fmt: skip
        if confidence < SURE_CONFIDENCE:
            report["notes"] = [*report["notes"], _DOUBTFUL.format(confidence)]
        if overlap < SURE_OVERLAP:
            report["notes"] = [*report["notes"], _UNSURE.format(overlap)]
        return values, encoded

    @staticmethod
    def find(frame: Frame) -> tuple[SquareBox, list[str], bool]:
        """The detector's box; if it finds nobody, the whole picture, which the network then judges more strictly."""
        try:
            return *find_person(frame), True
        except SomacastError:
            if frame.mask is not None:
                raise
            height, width = frame.image.shape[:2]
            return SquareBox(width / 2, height / 2, float(max(height, width))), [], False

    @staticmethod
    def locate(frame: Frame, box: SquareBox) -> tuple[SquareBox, np.ndarray | None, float]:
        """The box that the landmarks in it ask for, found again until it stays; the landmarks [33, 8] of that box, if
        it stayed; how surely there is a person."""
        score = 0.0
        for _ in range(LOCATE_ROUNDS):
            landmarks, scores = find_landmarks(square_crop(frame.image, box, INPUT_PX)[None].astype(np.float32))
            score = max(score, float(scores[0]))
            centre, side = box_of_landmarks(landmarks[0])
            side *= CROP_MARGIN
            if 1 / NEAR_SIDE < side < NEAR_SIDE and np.abs(centre).max() < NEAR_CENTRE:
                return box, landmarks[0], score
            place = box.to_picture(centre + 0.5, 1)
            box = SquareBox(float(place[0]), float(place[1]), box.side * float(np.clip(side, 0.25, 4)))
        return box, None, score

    def look(self, frame: Frame, box: SquareBox, landmarks: np.ndarray | None, mirrored: bool = True) -> Look:
        """The networks on the crop and on its mirror image: what they agree on is surer than either; without the mirror
        image in little more than half of the time. landmarks [33, 8] of this crop, if they are known."""
        image = square_crop(frame.image, box, self.crop_px).astype(np.float32)
        large = square_crop(frame.image, box, INPUT_PX).astype(np.float32)
        if not mirrored:
            hint = find_landmarks(large[None])[0] if landmarks is None else landmarks[None]
        elif landmarks is None:
            hint, _ = find_landmarks(np.stack([large, large[:, ::-1]]))
        else:
            hint = np.concatenate([landmarks[None], find_landmarks(large[None, :, ::-1])[0]])
        out, coded = self.networks(image, hint)
        merged = merge_mirrored(out, SHAPE_LABELS)
        if frame.mask is not None:  # the user's mask is used as it is
            mask = np.clip(square_crop(frame.mask, box, self.crop_px), 1e-3, 1 - 1e-3)
            merged["silhouette"] = np.log(mask / (1 - mask)).astype(np.float32)
        values, value_std = self._coded_labels(coded)
        return Look(box, image, merged, values, value_std)

    def _coded_labels(self, coded: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """arg max pi(z) (eq. 13) over the picture and its mirror image: label values [L] and their spread [L]."""
        vocabulary, layout = self.space.vocabulary, self.layout
        coded = coded | {"classes": np.repeat(coded["classes"].mean(0, keepdims=True), len(coded["mean"]), 0)}
        means = np.tile([label.mean for label in vocabulary.labels], (len(coded["mean"]), 1))
        plain, *mirrored = label_values(layout, vocabulary, coded, means)
        other = self.space.mirrored(mirrored[0]) if mirrored else plain
        values = (plain + other) / 2
        values[list(layout.angles)] = [
            np.arctan2(np.sin(plain[i]) + np.sin(other[i]), np.cos(plain[i]) + np.cos(other[i])) for i in layout.angles
        ]
        value_std = np.ones(len(values))
        std = np.array([vocabulary.labels[i].std for i in layout.scalars])
        # a logistic of scale s has the spread pi / sqrt(3) s
        value_std[list(layout.scalars)] = np.exp(coded["log_scale"].mean(0)) * 1.8 * std
        value_std[list(layout.angles)] = 0.35
        return values, value_std

    def closer(self, look: Look) -> SquareBox | None:
        """A box that fits silhouette and joints better, or None if this one is good enough."""
        size = self.crop_px
        joints = (look.out["joints"] + 0.5) * size
        rows, columns = np.nonzero(look.silhouette > 0.5)
        if len(rows) < 12:
            return None
        low = np.minimum([np.percentile(columns, 1), np.percentile(rows, 1)], joints.min(0))
        high = np.maximum([np.percentile(columns, 99), np.percentile(rows, 99)], joints.max(0))
        side = float((high - low).max()) * CROP_MARGIN
        centre = (high + low) / 2
        if abs(side / size - 1) < 0.15 and np.abs(centre - size / 2).max() < 0.06 * size:
            return None
        place = look.box.to_picture(centre, size)
        return SquareBox(float(place[0]), float(place[1]), side * look.box.side / size)

    def distance_scale(self, frame: Frame, box: SquareBox) -> tuple[float, float]:
        """Focal length in pixels of the picture, and in crop sides."""
        height, width = frame.image.shape[:2]
        focal = float(frame.camera.fx) if frame.camera is not None else DEFAULT_FOCAL * max(height, width)
        return focal, focal / box.side

    def label(
        self, frame: Frame, look: Look, alignment_rounds: int = 1, height_m: float | None = None
    ) -> tuple[np.ndarray, WeakCamera, float]:
        """Labels of the coder, pulled towards the maps; of the height that is known, if it is; then with the outline of
        the body so found."""
        evidence = evidence_of(look.out)
        _, focal = self.distance_scale(frame, look.box)
        distance = float(np.clip(focal / np.exp(evidence.camera[2]), 1.0, 30.0))
        values, camera, residual, parameters = self.refiner(look.values, look.value_std, evidence, distance)
        if height_m is not None:
            before = standing_height(self.space.state(values).shape)
            values = with_height(self.space, values, height_m)
            factor = height_m / before
            parameters[: len(self.refiner.labels)] = values[self.refiner.labels]
            parameters[-1] -= np.log(factor)  # whoever is taller stands farther away
            evidence, distance = replace(evidence, points=evidence.points * factor), distance * factor
            camera = replace(camera, scale_px_per_m=camera.scale_px_per_m / factor, distance_m=distance)
        given = (look.values, look.value_std, evidence, distance)
        silhouette = look.silhouette.astype(np.float32)
        offset = self.space.appearance.offset_map(np.zeros(len(self.space.appearance.std), np.float32))
        for _ in range(alignment_rounds):
            frames = self.refiner.joints(parameters)
            rendered = RenderedBody.of(self.space.state(values), offset, camera, self.crop_px)
            alignment = align_silhouette(rendered, silhouette, frames)
            values, camera, residual, parameters = self.refiner(*given, alignment, parameters)
        return values, camera, residual

    def appearance(self, frame: Frame, look: Look, values: np.ndarray, camera: WeakCamera) -> tuple[np.ndarray, float]:
        """Appearance codes from the texels that the picture shows and from the silhouette; the rest follows from the
        prior."""
        state = self.space.state(values)
        image = square_crop(frame.image, look.box, LOOK_PX)
        size = self.crop_px
        silhouette = square_crop(look.silhouette.astype(np.float32), SquareBox(size / 2, size / 2, size), LOOK_PX)
        codes, share = read_appearance(self.space, state, camera, image, silhouette)
        refined = values.copy()
        refined[self.space.parts["codes"].labels] = codes[self.space.parts["codes"].numbers]
        refined[self.space.vocabulary.group_indices("camera")] = self.place(frame, look, camera)
        return refined, share

    def place(self, frame: Frame, look: Look, camera: WeakCamera) -> list[float]:
        """Values of the labels of the group camera: where the pelvis stands before the sender's camera."""
        width, height = frame.image.shape[1], frame.image.shape[0]
        focal, _ = self.distance_scale(frame, look.box)
        place = look.box.to_picture((camera.place_px + 0.5) * self.crop_px, self.crop_px) - [width / 2, height / 2]
        depth = focal / (camera.scale_px_per_m * look.box.side)
        return [*(place / focal), np.log(max(depth, 0.1))]

    def _overlap(self, look: Look, values: np.ndarray, camera: WeakCamera) -> float:
        """The sender looks at its own result: intersection over union of the rebuilt person's silhouette and the one
        that the network saw."""
        state = self.space.state(values)
        offset = self.space.appearance.offset_map(state.codes)
        seen, own = look.silhouette > 0.5, RenderedBody.of(state, offset, camera, self.crop_px).covered
        return float((seen & own).sum() / max((seen | own).sum(), 1))

    def _found(self, look: Look, values: np.ndarray, camera: WeakCamera, notes: list[str], times: dict) -> Encoded:
        """Report and maps of what is about to be sent, without layers."""
        size = self.crop_px
        state = self.space.state(values)
        body = load_body()
        joints = body.joints(body.rest(state.shape)[1], state.rotations)
        joints = joints - joints[0]
        crop_px = (camera.project(joints) + 0.5) * size
        picture_px = look.box.to_picture(crop_px, size)
        box = look.box
        silhouette = look.silhouette
        depth = np.where(silhouette > 0.5, look.out["depth"] - DEPTH_OFFSET_M, np.nan)
        report = {
            "person_box_px": [float(v) for v in (*box.corner, *(box.corner + box.side))],
            "joints_2d_px": [[float(x), float(y)] for x, y in picture_px],
            "joints_3d_m": {n: [float(c) for c in j] for n, j in zip(CANONICAL_JOINTS, joints, strict=True)},
            "joint_names": list(CANONICAL_JOINTS),
            "attributes": state.attributes,
            "notes": notes,
            "stage_times_s": times,
        }  # fmt: skip
        maps = {"image": look.image, "silhouette": silhouette, "depth_m": depth, "joints_px": crop_px}
        return Encoded([], report, maps)


def merge_mirrored(out: dict[str, np.ndarray], shape_count: int) -> dict[str, np.ndarray]:
    """Outputs of MultiTaskViT for a crop, or for a crop and its mirror image, to one set without the batch axis.

    share [21, G, G] (heat maps as distributions), joints [21, 2], points [21, 3], confidence [21],
    camera [3] of the pose head, depth [S, S], silhouette [S, S] logits.
    """
    count = len(out["heat"])  # 1: there is no mirror image
    heat = out["heat"].reshape(count, JOINT_COUNT, -1)
    share = np.exp(heat - heat.max(-1, keepdims=True))
    share = (share / share.sum(-1, keepdims=True)).reshape(out["heat"].shape)
    share = share[0] if count == 1 else (share[0] + share[1][MIRROR][..., ::-1]) / 2
    cells = share.shape[-1]
    axis = (np.arange(cells) + 0.5) / cells - 0.5
    camera = out["pose"][:, 6 * JOINT_COUNT + shape_count + 2 :][:, :3].astype(np.float64)
    camera[1:, 0] *= -1
    points = [out["points"][0], *((p * [-1, 1, 1])[MIRROR] for p in out["points"][1:])]
    planes = {name: [out[name][0, 0], *(p[0][:, ::-1] for p in out[name][1:])] for name in ("depth", "silhouette")}
    return {
        "share": share,
        "joints": np.stack([(share.sum(1) * axis).sum(-1), (share.sum(2) * axis).sum(-1)], -1),
        "points": np.mean(points, 0),
        "confidence": share.max((1, 2)),
        "camera": camera.mean(0),
        **{name: np.mean(parts, 0) for name, parts in planes.items()},
    }


def evidence_of(out: dict[str, np.ndarray], window: int = 2) -> Evidence:
    """What the merged maps say about the joints: the mean around each map's peak (a second, wrong peak elsewhere does
    not pull it), with the spread there, widened by the share of the map that lies elsewhere."""
    share = out["share"]
    cells = share.shape[-1]
    joints, value_std = np.zeros((JOINT_COUNT, 2)), np.zeros(JOINT_COUNT)
    for j, plane in enumerate(share):
        row, column = divmod(int(plane.argmax()), cells)
        y0, y1 = max(0, row - window), min(cells, row + window + 1)
        x0, x1 = max(0, column - window), min(cells, column + window + 1)
        part = plane[y0:y1, x0:x1]
        mass = float(part.sum())
        x, y = (np.arange(x0, x1) + 0.5) / cells - 0.5, (np.arange(y0, y1) + 0.5) / cells - 0.5
        px, py = part.sum(0) / mass, part.sum(1) / mass
        joints[j] = (px * x).sum(), (py * y).sum()
        variance = ((px * (x - joints[j, 0]) ** 2).sum() + (py * (y - joints[j, 1]) ** 2).sum()) / 2
        value_std[j] = np.sqrt(variance + 0.008**2) / np.sqrt(max(mass, 0.05))
    return Evidence(joints, value_std, out["points"], np.full((JOINT_COUNT, 3), POINTS_STD_M), out["camera"])
