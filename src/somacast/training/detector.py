"""Training of the detector: a small U-shaped convolutional network that sees where people are in a whole photograph.

Its output at a 32 x 32 grid: a centre heat map with boxes, and a silhouette of everybody at 64 x 64. The shipped form
is ONNX; `somacast.capture.detector` runs it without torch.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections import deque
from copy import deepcopy
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from somacast.capture.detector import GRID, INPUT_PX, decode_boxes, suppress
from somacast.training.detector_scenes import DetectorScene, SceneMaker, cut_outs, overlap, vary
from somacast.training.onnx_export import write_onnx

CELL_PX = INPUT_PX / GRID


@dataclass(frozen=True)
class DetectorRecipe:
    """minutes: wall clock of the training proper; held_out: the last shards of the pool, never trained on."""

    minutes: float = 12.8
    batch: int = 32
    rate: float = 3e-3
    decay: float = 0.02
    seed: int = 0
    shards: int = 16
    held_out: int = 2
    every: int = 3  # of six pictures of a person two are taken
    fresh: int = 10  # of a batch are new scenes, the others are earlier ones, mirrored and in other colours
    memory: int = 3000  # scenes kept for that
    threads: int = 1
    average: float = 0.995  # of the weights, per step
    lambda_box: float = 1.0
    lambda_silhouette: float = 1.0


class Block(nn.Sequential):
    """3 x 3 convolution, batch normalisation, rectifier."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class DetectorNet(nn.Module):
    """Picture [B, 3, 128, 128] in [0, 1] to heat [B, 1, 32, 32] and silhouette [B, 1, 64, 64], both as logits, and
    box [B, 4, 32, 32]: the centre's offset from the cell's middle in cells (x, y) and the natural logarithms of width
    and height over the picture's side. 0.4 M parameters, 35 M multiply-adds."""

    def __init__(self):
        super().__init__()
        widths = (24, 48, 80, 112)
        self.down = nn.ModuleList(
            [
                nn.Sequential(Block(3, 16, 2), Block(16, 24, 2)),  # 32 x 32
                *(nn.Sequential(Block(a, b, 2), Block(b, b)) for a, b in pairwise(widths)),  # down to 4 x 4
            ]
        )
        self.narrow = nn.ModuleList([nn.Conv2d(b, a, 1) for a, b in pairwise(widths)])
        self.up = nn.ModuleList([Block(w, w) for w in widths[:3]])
        self.heat, self.box, self.silhouette = (nn.Conv2d(widths[0], n, 1) for n in (1, 4, 4))
        nn.init.constant_(cast(Tensor, self.heat.bias), -4.0)  # people are rare among cells

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        levels, x = [], picture - 0.5
        for stage in self.down:
            x = stage(x)
            levels.append(x)
        for i in (2, 1, 0):
            x = F.interpolate(self.narrow[i](x), scale_factor=2.0, mode="nearest")
            x = self.up[i](x + levels[i])
        return self.heat(x), self.box(x), F.pixel_shuffle(self.silhouette(x), 2)


def targets(scenes: list[DetectorScene]) -> dict[str, Tensor]:
    """picture [B, 3, S, S], heat, near (weight of the box loss), care [B, 32, 32], box [B, 4, 32, 32], silhouette."""
    count = len(scenes)
    heat, near = np.zeros((2, count, GRID, GRID), np.float32)
    care = np.ones((count, GRID, GRID), np.float32)
    box = np.zeros((count, 4, GRID, GRID), np.float32)
    middle = (np.arange(GRID) + 0.5).astype(np.float32)
    for i, scene in enumerate(scenes):
        for left, top, right, bottom in scene.doubtful / CELL_PX:
            care[i, int(top) : math.ceil(bottom), int(left) : math.ceil(right)] = 0
        for left, top, right, bottom in scene.boxes / CELL_PX:
            cx, cy, w, h = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
            dx, dy = (middle - cx)[None], (middle - cy)[:, None]
            bump = np.exp(-((dx / max(0.6, w * 0.12)) ** 2 + (dy / max(0.6, h * 0.12)) ** 2) / 2)
            bump[min(GRID - 1, int(cy)), min(GRID - 1, int(cx))] = 1
            mine = (bump > heat[i]) & (bump > 0.3)
            for c, value in enumerate((-dx, -dy, math.log(w / GRID), math.log(h / GRID))):
                box[i, c][mine] = np.broadcast_to(value, mine.shape)[mine]
            near[i][mine] = bump[mine]
            heat[i] = np.maximum(heat[i], bump)
    care[heat == 1] = 1
    picture = torch.from_numpy(np.stack([s.image for s in scenes])).permute(0, 3, 1, 2).float() / 255
    silhouette = np.stack([s.silhouette for s in scenes])
    arrays = {"heat": heat, "near": near, "care": care, "box": box, "silhouette": silhouette}
    return {"picture": picture, **{k: torch.from_numpy(v) for k, v in arrays.items()}}


def losses(net: DetectorNet, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Focal loss of the heat map (penalty-reduced around centres), L1 of boxes, cross entropy of the silhouette."""
    heat, box, silhouette = net(batch["picture"].contiguous(memory_format=torch.channels_last))
    heat, want = heat[:, 0], batch["heat"]
    p, centre = heat.sigmoid(), want == 1
    hit = F.logsigmoid(heat) * (1 - p) ** 2 * centre
    miss = F.logsigmoid(-heat) * p**2 * (1 - want) ** 4 * (~centre) * batch["care"]
    people = centre.sum().clamp(min=1)
    error = F.l1_loss(box, batch["box"], reduction="none") * torch.tensor([0.3, 0.3, 1, 1])[:, None, None]
    return {
        "heat": -(hit.sum() + miss.sum()) / people,
        "box": (error.sum(1) * batch["near"]).sum() / batch["near"].sum().clamp(min=1),
        "silhouette": F.binary_cross_entropy_with_logits(silhouette[:, 0], batch["silhouette"]),
    }


@torch.no_grad()
def evaluate(net: DetectorNet, scenes: list[DetectorScene], threshold: float) -> dict[str, float]:
    """Precision and recall of boxes at an overlap of 0.5, false alarms per picture without people, silhouette IoU."""
    hits = found = wanted = alarms = empty = 0
    common = either = 0.0
    for first in range(0, len(scenes), 50):
        part = scenes[first : first + 50]
        outputs = [v.numpy() for v in net(targets(part)["picture"])]
        for k, scene in enumerate(part):
            boxes, scores = decode_boxes(outputs[0][k, 0], outputs[1][k], threshold)
            boxes = boxes[suppress(boxes, scores)] * INPUT_PX
            left = list(scene.boxes)
            for box in boxes:
                best = max(range(len(left)), key=lambda i: overlap(box, left[i]), default=None)
                if best is not None and overlap(box, left[best]) >= 0.5:
                    left.pop(best)
                    hits += 1
                elif any(overlap(box, d) > 0.2 for d in scene.doubtful):
                    continue
                found += 1
            wanted += len(scene.boxes)
            if len(scene.boxes) + len(scene.doubtful) == 0:
                empty, alarms = empty + 1, alarms + (len(boxes) > 0)
            seen, true = outputs[2][k, 0] > 0, scene.silhouette > 0.5
            common, either = common + (seen & true).sum(), either + (seen | true).sum()
    return {
        "precision": hits / max(1, found),
        "recall": hits / max(1, wanted),
        "false_alarms": alarms / max(1, empty),
        "silhouette_iou": common / max(1.0, either),
    }


def train(pool: Path, out: Path, recipe: DetectorRecipe, pictures: list[Path] | None = None) -> DetectorNet:
    """Train on people of the pool's shards for `recipe.minutes`; writes out/log.jsonl and out/detector.pt.

    pictures: photographs without people for some backgrounds.
    """
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    paths = sorted(pool.glob("*.npz"))
    used = paths[: -recipe.held_out][-recipe.shards :]
    maker = SceneMaker(cut_outs(used, recipe.every), rng, 1500, pictures)
    judge_rng = np.random.default_rng(1)
    judge = SceneMaker(cut_outs(paths[-recipe.held_out :], recipe.every), judge_rng, 400)
    scenes = [judge.draw(judge_rng) for _ in range(600)]
    out.mkdir(parents=True, exist_ok=True)
    log = (out / "log.jsonl").open("a")
    _note(log, recipe=asdict(recipe), shards=[p.name for p in used], people=len(maker.people))
    net = DetectorNet()
    cast(Any, net).to(memory_format=torch.channels_last)
    mean = deepcopy(net).eval()
    optimiser = torch.optim.AdamW(net.parameters(), recipe.rate, weight_decay=recipe.decay)
    memory: deque[DetectorScene] = deque(maxlen=recipe.memory)
    start, step, reported_s, limit = time.monotonic(), 0, 0.0, recipe.minutes * 60
    while (spent := time.monotonic() - start) < limit:
        share = spent / limit
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * min(1, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * share)) + 1e-6
        terms = losses(net, targets(_next_scenes(maker, memory, rng, recipe)))
        loss = terms["heat"] + recipe.lambda_box * terms["box"] + recipe.lambda_silhouette * terms["silhouette"]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimiser.step()
        _average(mean, net, min(recipe.average, (1 + step) / (10 + step)))
        step += 1
        if step % 20 == 0:
            values = {k: round(v.item(), 4) for k, v in terms.items()}
            _note(log, step=step, samples=step * recipe.batch, time_s=round(spent, 1), **values)
        if spent - reported_s > 100:
            reported_s = spent
            _note(log, step=step, time_s=round(spent, 1), validation=evaluate(mean, scenes[:150], 0.3))
            torch.save(mean.state_dict(), out / "detector.pt")
    torch.save(mean.state_dict(), out / "detector.pt")
    for threshold in (0.2, 0.3, 0.4, 0.5):
        _note(log, step=step, samples=step * recipe.batch, threshold=threshold, final=evaluate(mean, scenes, threshold))
    log.close()
    return mean


def _next_scenes(
    maker: SceneMaker, memory: deque[DetectorScene], rng: np.random.Generator, recipe: DetectorRecipe
) -> list[DetectorScene]:
    """A batch of new and remembered scenes: making one costs as much as learning from it."""
    new = [maker.draw(rng) for _ in range(recipe.fresh if memory else recipe.batch)]
    old = [vary(rng, memory[rng.integers(len(memory))]) for _ in range(recipe.batch - len(new))]
    memory.extend(new)
    return new + old


def _average(mean: nn.Module, net: nn.Module, keep: float) -> None:
    """Running mean of weights and of normalisation statistics."""
    with torch.no_grad():
        for a, b in zip(mean.state_dict().values(), net.state_dict().values(), strict=True):
            if a.is_floating_point():
                a.lerp_(b, 1 - keep)


def _note(log: io.TextIOBase, **values: object) -> None:
    log.write(json.dumps(values, default=float) + "\n")
    log.flush()


def load(path: Path) -> DetectorNet:
    """The network of a checkpoint written by `train`, in evaluation mode."""
    net = DetectorNet()
    net.load_state_dict(torch.load(path, weights_only=True))
    return net.eval()


def export(net: DetectorNet, path: Path) -> float:
    """Write the detector as ONNX; returns the largest difference of any output to torch's."""
    picture = torch.zeros(1, 3, INPUT_PX, INPUT_PX)
    write_onnx(net, (picture,), ["picture"], ["heat", "box", "silhouette"], path)
    return twin_error(net, path)


def twin_error(net: DetectorNet, path: Path) -> float:
    """Largest absolute difference between the outputs of the torch network and of the ONNX file, on noise."""
    import onnxruntime

    picture = np.random.default_rng(0).random((2, 3, INPUT_PX, INPUT_PX), np.float32)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = [v.numpy() for v in net.eval()(torch.from_numpy(picture))]
    got = [np.asarray(v) for v in session.run(None, {"picture": picture})]
    return max(float(np.abs(a - b).max()) for a, b in zip(expected, got, strict=True))
