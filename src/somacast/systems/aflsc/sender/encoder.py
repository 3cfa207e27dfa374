"""The sender of AFLSC: picture -> multi-task ViT -> semantic labels -> symbols (Algorithm 1, eq. 1-14)."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from somacast.bitstream.container import packed_bytes
from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_COUNT
from somacast.body.table import load_body
from somacast.capture.cropping import SquareBox, square_crop
from somacast.capture.detector import find_person
from somacast.capture.landmarks import INPUT_PX, find_body, find_landmarks, mirror_landmarks
from somacast.extras import require
from somacast.systems.aflsc.config import EncoderConfig
from somacast.systems.aflsc.labels.codec import SYSTEM
from somacast.systems.aflsc.labels.layout import DEPTH_OFFSET_M, LabelLayout
from somacast.systems.aflsc.labels.schema import SHAPE_LABELS
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.labels.state import PersonState
from somacast.systems.aflsc.networks.loading import CODED, EXTRACTED, load_fast_sender, load_sender, load_tables
from somacast.systems.aflsc.picture_layer.share import TOKEN_COST_BYTES, least_bytes, plan_of
from somacast.systems.aflsc.sender.appearance import read_appearance
from somacast.systems.aflsc.sender.detection import Sighting, locate
from somacast.systems.aflsc.sender.evidence import POINTS_STD_M, Evidence, evidence_of
from somacast.systems.aflsc.sender.known_height import check_height, standing_height, with_height
from somacast.systems.aflsc.sender.look import Look, closer_box, coded_labels, edges_passed, merge_masks, merge_mirrored
from somacast.systems.aflsc.sender.refine import Refined, Refiner
from somacast.systems.aflsc.sender.rendered_body import RenderedBody, WeakCamera
from somacast.systems.aflsc.sender.rounding import round_together
from somacast.systems.aflsc.sender.silhouette_alignment import align_silhouette
from somacast.systems.aflsc.sender.unseen import find_unseen, in_picture, mask_notes, stand, without_unseen
from somacast.timing import stage
from somacast.types import Capture, Encoded, Frame
from somacast.weights.sessions import onnx_runs_on

if TYPE_CHECKING:
    from somacast.systems.aflsc.sender.look_layers import LookSender

LOOK_PX = 192  # crop from which colours are read
DISTANCE_M = (1.0, 30.0)  # the nearest and farthest that a person may stand from the camera
CLOSER_LOOKS = 3  # at most; mostly one, but a crop that cuts somebody shows only that they go on
SURE_OVERLAP = 0.5
_UNSURE = (
    "the rebuilt person covers the one in the picture only in part (overlap {:.2f}): the person may be cut by the "
    "picture's edge, hidden, or in an unusual pose; the result is uncertain"
)
_NO_LOOK = (
    "of a budget of {} bytes the labels take {}; how the person looks needs a file of {} or more: sent without it"
)
_DOUBTFUL = "it is doubtful that this is a person (confidence {:.3f}): the result is uncertain"
SURE_CONFIDENCE = 0.074  # of the trunk; under it a note says that the result is uncertain


class Encoder:
    """Holds the sender's networks. `encode` gives the symbols at full precision; the codec spends the budget."""

    def __init__(self, device: str = "cpu", weights: Path | None = None, config: EncoderConfig | None = None):
        self.config = config or EncoderConfig()
        self.weights, self.named_device = weights, device
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
        values, encoded, look = self.see(capture)
        shown = None
        if budget_bytes is not None:
            shown = self.looked(capture.frame, look, values, budget_bytes, network_state)
        encoded.layers = shown or self.labelled(capture.frame, look, values, budget_bytes, network_state)
        finest = self.codec.network_state(encoded.layers) == network_state
        least = least_bytes(self.config.picture, self.config.tokens)
        if budget_bytes is not None and least is not None and shown is None and finest:
            taken = packed_bytes(SYSTEM, [*map(len, encoded.layers)])
            note = _NO_LOOK.format(budget_bytes, taken, least)
            encoded.report["notes"] = [*encoded.report["notes"], note]
        return encoded

    def looked(
        self, frame: Frame, look: Look, values: np.ndarray, budget_bytes: int, network_state: int, strict: bool = False
    ) -> list[bytes] | None:
        """Layers of labels and of how the person looks in a file of at most budget_bytes; None if the labels alone show
        more of the person in as many bytes. strict: see `picture_on_canvas`."""
        plan = plan_of(budget_bytes, network_state, self.config.picture, self.config.tokens)
        if plan is None:
            return None
        if plan.pictured:
            layers = self.codec.layers_before_look(self.symbols(frame, look, values, plan.state, True), plan.state)
        else:
            room = budget_bytes - plan.token_bytes - TOKEN_COST_BYTES
            layers = self.codec.padded(self.labelled(frame, look, values, room, network_state))
        behind = self.look_sender.behind(frame, look, values, layers, plan, budget_bytes, strict)
        return None if behind is None else [*layers, *behind]

    @cached_property
    def look_sender(self) -> LookSender:
        """What makes the layers behind the labels; its code and networks are loaded when first asked for."""
        from somacast.systems.aflsc.sender.look_layers import LookSender

        return LookSender(self.space, self.codec, self.weights, self.named_device, self.config.token_overlap)

    def labelled(
        self, frame: Frame, look: Look, values: np.ndarray, budget_bytes: int | None, network_state: int
    ) -> list[bytes]:
        """Layers of labels alone, see `LabelCodec.layers`: rounded for the levels that the budget leaves."""
        state = network_state
        if budget_bytes is not None:
            fine = self.codec.layers(self.symbols(frame, look, values, state), budget_bytes, network_state)
            state = self.codec.network_state(fine)
        return self.codec.layers(self.symbols(frame, look, values, state), budget_bytes, network_state)

    def read(self, capture: Capture) -> tuple[np.ndarray, Encoded]:
        """The first view to the values of all labels [L], and what was found, without layers. SomacastError if there is
        no person."""
        return self.see(capture)[:2]

    def see(self, capture: Capture) -> tuple[np.ndarray, Encoded, Look]:
        """`read`, and what the networks said."""
        frame = capture.frame
        if capture.height_m is not None:
            check_height(capture.height_m)
        sighting = self.detect(frame)
        look = sighting.look
        with stage("label"):
            values, camera, residual = self.label(frame, look, self.config.alignment_rounds, capture.height_m)
        with stage("appearance"):
            values, camera, seen_share = self.appearance(frame, look, values, camera, self.config.alignment_rounds > 0)
        guessed = sighting.look.unseen.notes
        notes = sighting.detection.notes if not guessed else [*sighting.detection.several_notes, *guessed]
        if frame.mask is not None:
            notes = [*notes, *mask_notes(look.landmarks, look.mask)]
        encoded = self._found(look, values, camera, notes)
        report = encoded.report
        overlap = self._overlap(frame, look, values, camera)
        report["consistency"] = {
            "joint_residual": residual, "seen_share": seen_share, "silhouette_iou": overlap,
            "confidence": look.confidence, "score": sighting.score,
        }  # fmt: skip
        if look.confidence < SURE_CONFIDENCE:
            report["notes"] = [*report["notes"], _DOUBTFUL.format(look.confidence)]
        if overlap < SURE_OVERLAP:
            report["notes"] = [*report["notes"], _UNSURE.format(overlap)]
        return values, encoded, look

    def detect(self, frame: Frame) -> Sighting:
        """The person of a frame, found and looked at. SomacastError if there is none."""
        with stage("find"):
            detection = find_person(frame)
        with stage("landmarks"):
            located = locate(frame, detection)
        with stage("extract"):
            look = self.look(frame, located.box, located.landmarks, self.config.mirrored, located.quarters)
            for _ in range(CLOSER_LOOKS):
                closer = closer_box(look, located.least_side)
                if closer is None:
                    break
                look = self.look(frame, closer, None, self.config.mirrored, located.quarters)
                if not edges_passed(look).any():
                    break
        return Sighting(detection, located.score, look).check()

    def look(
        self,
        frame: Frame,
        box: SquareBox,
        landmarks: np.ndarray | None,
        mirrored: bool = True,
        quarters: int = 0,
    ) -> Look:
        """The networks on the crop and on its mirror image: what they agree on is surer than either; without the mirror
        image in little more than half of the time. landmarks [33, 8] of this crop, if they are known; quarters:
        see `find_landmarks`."""
        image = square_crop(frame.image, box, self.crop_px).astype(np.float32)
        large = square_crop(frame.image, box, INPUT_PX).astype(np.float32)
        hint = find_landmarks(large[None], quarters)[0] if landmarks is None else landmarks[None]
        seen, other = hint[0], None
        if mirrored:  # one mask is enough: that of both gains 0.002 of IoU
            other = find_body(large[None, :, ::-1], -quarters)
            hint = np.concatenate([hint, other.landmarks])
            seen = (seen + mirror_landmarks(other.landmarks[0])) / 2
        with stage("networks"):
            out, coded = self.networks(image, hint)
        merged = merge_mirrored(out, SHAPE_LABELS)
        if frame.mask is not None:  # the user's mask is used as it is
            mask = square_crop(frame.mask, box, INPUT_PX)
        elif other is not None:
            mask = merge_masks(other.masks[0, :, ::-1], float(other.scores[0]), merged["silhouette"])
        else:
            mask = 1 / (1 + np.exp(-merged["silhouette"]))
        mask = (mask * in_picture(box, frame.image.shape, len(mask))).astype(np.float32)
        unseen = find_unseen(seen, mask, box, frame.image.shape)
        return Look(box, image, mask, seen, unseen, merged, *coded_labels(self.space, self.layout, coded))

    def distance_scale(self, frame: Frame, box: SquareBox) -> tuple[float, float]:
        """Focal length in pixels of the picture, and in crop sides."""
        focal = float(frame.lens.fx)
        return focal, focal / box.side

    def label(
        self, frame: Frame, look: Look, alignment_rounds: int = 1, height_m: float | None = None
    ) -> tuple[np.ndarray, WeakCamera, float]:
        """Labels of the coder, pulled towards the maps; of the height that is known, if it is; then with the edge of
        the body so found on that of the silhouette."""
        values, evidence = self._believed(look)
        _, focal = self.distance_scale(frame, look.box)
        focal = float(np.clip(focal, *(np.exp(evidence.camera[2]) * metres for metres in DISTANCE_M)))
        refined = self.refiner(values, look.value_std, evidence, focal)
        if height_m is not None:
            factor = height_m / standing_height(self.space.state(refined.values).shape)
            refined = self._of_height(refined, height_m, factor)
            evidence = evidence._replace(points=evidence.points * factor)
        silhouette = look.silhouette
        offset = self.space.appearance.offset_map(np.zeros(len(self.space.appearance.std), np.float32))
        for _ in range(alignment_rounds):
            posed = self.refiner.joints(refined.parameters)
            rendered = RenderedBody.of(self.space.state(refined.values), offset, refined.camera, self.crop_px)
            alignment = align_silhouette(rendered, silhouette, posed)
            given = (values, look.value_std, evidence, focal)
            refined = self.refiner(*given, alignment, refined.parameters)
        return refined.values, refined.camera, refined.joint_residual

    def _believed(self, look: Look) -> tuple[np.ndarray, Evidence]:
        """Label values [L] as the coder believes them, and what the maps say, as far as it is of what is seen."""
        evidence, values, unseen = evidence_of(look.out), look.values, look.unseen.joints
        if unseen.any():
            values, standing = stand(self.space, values, unseen, evidence.points)
            evidence = without_unseen(evidence, unseen, standing)
        return values, evidence

    def align(self, look: Look, found: np.ndarray, rendered: RenderedBody) -> Refined:
        """Label values [L] under which the edge of the dressed body lies on that of the silhouette. Joints move across
        the view alone: how far away they are the silhouette does not tell."""
        values, evidence = self._believed(look)
        camera, at = rendered.camera, self.refiner.labels
        parameters = np.concatenate([found[at], camera.place_px, [np.log(camera.scale_px_per_m)]])
        posed = self.refiner.joints(parameters)
        kept = np.tile([POINTS_STD_M, POINTS_STD_M, self.refiner.config.kept_depth_std_m], (JOINT_COUNT, 1))
        evidence = evidence._replace(points=posed.joints, points_std=kept)
        alignment = align_silhouette(rendered, look.silhouette_at(rendered.size), posed)
        edge_std = self.refiner.config.dressed_edge_std
        return self.refiner(values, look.value_std, evidence, camera.focal_px, alignment, parameters, edge_std)

    def _of_height(self, refined: Refined, height_m: float, factor: float) -> Refined:
        """The same person, `factor` times as tall and as far away."""
        values, parameters = with_height(self.space, refined.values, height_m), refined.parameters.copy()
        parameters[: len(self.refiner.labels)] = values[self.refiner.labels]
        parameters[-1] -= np.log(factor)
        camera = replace(refined.camera, scale_px_per_m=refined.camera.scale_px_per_m / factor)
        return replace(refined, values=values, camera=camera, parameters=parameters)

    def appearance(
        self, frame: Frame, look: Look, values: np.ndarray, camera: WeakCamera, align: bool = False
    ) -> tuple[np.ndarray, WeakCamera, float]:
        """Label values with appearance codes from the texels that the picture shows and from the silhouette (the rest
        follows from the prior), the camera, and the share of the chart that was seen. align: move the pose, too, so
        that the body in its clothes lies on the silhouette."""
        found, seen_by = values, camera

        def aligned(rendered: RenderedBody) -> tuple[PersonState, WeakCamera]:
            nonlocal found, seen_by
            refined = self.align(look, found, rendered)
            found, seen_by = refined.values, refined.camera
            return self.space.state(found), seen_by

        state = self.space.state(values)
        image, silhouette = square_crop(frame.image, look.box, LOOK_PX), look.silhouette_at(LOOK_PX)
        codes, share = read_appearance(self.space, state, camera, image, silhouette, aligned if align else None)
        found = found.copy()
        found[self.space.parts["codes"].labels] = codes[self.space.parts["codes"].numbers]
        found[self.space.vocabulary.group_indices("camera")] = self.place(frame, look, seen_by)
        return found, seen_by, share

    def place(self, frame: Frame, look: Look, camera: WeakCamera) -> list[float]:
        """Values of the labels of the group camera: where the pelvis stands before the sender's camera."""
        lens = frame.lens
        place = look.box.to_picture((camera.place_px + 0.5) * self.crop_px, self.crop_px) - [lens.cx, lens.cy]
        depth = lens.fx / (camera.scale_px_per_m * look.box.side)
        return [*(place / [lens.fx, lens.fy]), np.log(max(depth, 0.1))]

    def symbols(
        self, frame: Frame, look: Look, values: np.ndarray, network_state: int, pictured: bool = False
    ) -> np.ndarray:
        """Symbols [L, levels] of label values [L], rounded so that the joints stay where they are when what a network
        state leaves is known (see `round_together`); pictured: before a picture."""
        quantise = self.space.vocabulary.quantise
        levels = self.codec.levels_sent(quantise(values[None])[0], network_state, pictured)
        lens, box = frame.lens, look.box
        x, y, log_depth = values[self.space.vocabulary.group_indices("camera")]
        place = box.to_crop(np.array([x * lens.fx + lens.cx, y * lens.fy + lens.cy]), 1) - 0.5
        focal = lens.fx / box.side
        camera = WeakCamera(place, float(focal / np.exp(log_depth)), focal)
        rounded = round_together(self.refiner, values, levels, camera, (lens.fx, lens.fy), box.side)
        return quantise(rounded[None])[0]

    def _overlap(self, frame: Frame, look: Look, values: np.ndarray, camera: WeakCamera) -> float:
        """The sender looks at its own result: intersection over union of the rebuilt person's silhouette and the one
        that the network saw, within the picture."""
        state = self.space.state(values)
        offset = self.space.appearance.offset_map(state.codes)
        seen, own = look.silhouette > 0.5, RenderedBody.of(state, offset, camera, self.crop_px).covered
        own &= in_picture(look.box, frame.image.shape, self.crop_px)
        return float((seen & own).sum() / max((seen | own).sum(), 1))

    def _found(self, look: Look, values: np.ndarray, camera: WeakCamera, notes: list[str]) -> Encoded:
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
        }  # fmt: skip
        maps = {"image": look.image, "silhouette": look.mask, "depth_m": depth, "joints_px": crop_px}
        return Encoded([], report, maps)
