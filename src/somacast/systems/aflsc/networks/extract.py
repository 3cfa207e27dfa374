"""Sender, first half: the multi-task vision transformer (AFLSC eq. 1-7, Algorithm 1 lines 3-13).

image [B, 3, S, S], landmarks [B, 33, 8] of `find_landmarks`
  -> convolutional stem S/4, S/8 -> tokens at S/16 -> shared trunk
  -> per task (keypoint, pose, depth): + position increment (eq. 1), block with task mask (eq. 6)
  -> keypoint head (eq. 2), pose head (eq. 3), depth head (eq. 4-5), silhouette and part maps
  -> a token a joint, gathered where its heat map lies: places in metres, corrections of the pose head (addition)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from somacast.body.skeleton import JOINT_COUNT
from somacast.capture.landmarks import LANDMARK_COUNT, LANDMARK_VALUES
from somacast.nn.vit import Block, MapNorm, to_map, to_tokens
from somacast.systems.aflsc.labels.layout import DEPTH_OFFSET_M

TASKS = ("keypoint", "pose", "depth")
CELL_PX = 4  # one cell of the heat maps
POSE_HIDDEN = 384
MAX_SCORE = 2.0  # of a group in eq. 3, either way


@dataclass(frozen=True)
class ExtractConfig:
    """Sizes of the network; shape_count, attribute_sizes: what the pose head predicts beside rotations."""

    size_px: int = 128
    stem: int = 40  # channels at S/4
    middle: int = 96  # at S/8
    dim: int = 192  # of the tokens at S/16
    heads: int = 6
    residuals: int = 2  # at each of S/4 and S/8, on the way down and up
    trunk_blocks: int = 4
    joint_blocks: int = 3
    shape_count: int = 12
    attribute_logits: int = 17
    task_increments: bool = True  # off: ablation of eq. 1
    task_masks: bool = True  # off: ablation of eq. 6
    landmarks: bool = True  # off: ablation of the hint

    @property
    def pose_outputs(self) -> int:
        """6D world rotations, shape, two hand curls, pelvis x, y in crop sides, log scale, attribute logits."""
        return 6 * JOINT_COUNT + self.shape_count + 2 + 3 + self.attribute_logits


def _conv(i: int, o: int, k: int, s: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(i, o, k, s, (k - 1) // 2, bias=False), nn.BatchNorm2d(o), nn.ReLU(True))


class Residual(nn.Module):
    """Two 3x3 convolutions with a skip."""

    def __init__(self, c: int):
        super().__init__()
        self.a = _conv(c, c, 3, 1)
        scale = nn.BatchNorm2d(c)
        self.b = nn.Sequential(nn.Conv2d(c, c, 3, 1, 1, bias=False), scale)
        nn.init.zeros_(scale.weight)  # begins as the identity, so that depth can be added to a trained network

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.b(self.a(x)))


def _sum_at_finest(maps: list[Tensor]) -> Tensor:
    """Sum of maps [B, C, H_i, W_i], brought to the size of the last."""
    total = maps[-1]
    for y in maps[:-1]:
        total = total + F.interpolate(y, size=total.shape[-2:], mode="bilinear", align_corners=False)
    return total


class KeypointHead(nn.Module):
    """Eq. 2: sum over groups of BN(conv3x3(ReLU(conv1x1(LN(X_i))))); the sigmoid is applied by the caller's loss."""

    def __init__(self, channels: tuple[int, ...], joints: int):
        super().__init__()
        self.groups = nn.ModuleList(
            nn.Sequential(
                MapNorm(c), nn.Conv2d(c, 48, 1), nn.ReLU(True), nn.Conv2d(48, joints, 3, 1, 1), nn.BatchNorm2d(joints)
            )
            for c in channels
        )

    def forward(self, groups: list[Tensor]) -> Tensor:
        """Groups [B, C_i, H_i, W_i], coarse to fine, to logits [B, joints, H, W] of the finest."""
        return _sum_at_finest([head(x) for head, x in zip(self.groups, groups, strict=True)])


class Hint(nn.Module):
    """Landmarks as blobs on the finest map, as an offset of all tokens and as input of the pose head. Begins at 0, so
    that the hint can be added to a trained network."""

    def __init__(self, channels: int, dim: int, hidden: int):
        super().__init__()
        values = LANDMARK_COUNT * LANDMARK_VALUES
        self.to_map = nn.Conv2d(2 * LANDMARK_COUNT, channels, 1)
        self.to_tokens = nn.Linear(values, dim)
        self.to_pose = nn.Linear(values, hidden)
        for layer in (self.to_map, self.to_tokens, self.to_pose):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, landmarks: Tensor, axis: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Landmarks [B, 33, 8], cell centres [G] in crop sides to map [B, C, G, G], tokens [B, 1, D], pose [B, H]."""
        std = 1.2 * (axis[1] - axis[0])
        row = torch.exp(-((axis - landmarks[..., 0:1]) ** 2) / (2 * std**2))
        column = torch.exp(-((axis - landmarks[..., 1:2]) ** 2) / (2 * std**2)) * landmarks[..., 3:4]
        blobs = column[..., :, None] * row[..., None, :]
        blobs = torch.cat([blobs, 2 * blobs * landmarks[..., 7, None, None]], 1)
        flat = (2 * landmarks).flatten(1)
        return self.to_map(blobs), self.to_tokens(flat)[:, None], self.to_pose(flat)


class PoseHead(nn.Module):
    """Eq. 3: groups weighted by a softmax of FC(mean and variance), layer-normed, summed, then an MLP.

    Statistics are of layer-normed groups and scores are bounded: with raw ones, whose variances differ a hundredfold
    from block to block, one group had all the weight after the first hours, and the others no gradient.
    """

    def __init__(self, dim: int, groups: int, tokens: int, outputs: int):
        super().__init__()
        self.score = nn.ModuleList(nn.Linear(2 * dim, 1) for _ in range(groups))
        for layer in self.score:
            nn.init.zeros_(layer.weight)  # pyright: ignore[reportArgumentType]
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(groups))
        self.squeeze = nn.Linear(dim, 32)
        self.hidden = nn.Sequential(nn.Linear(32 * tokens, POSE_HIDDEN), nn.GELU())
        self.out = nn.Sequential(nn.Linear(POSE_HIDDEN, POSE_HIDDEN), nn.GELU(), nn.Linear(POSE_HIDDEN, outputs))

    def forward(self, groups: list[Tensor], hint: Tensor) -> tuple[Tensor, Tensor]:
        """Token groups [B, N, D] each and a hint [B, 384] to (outputs [B, O], hidden features [B, 384])."""
        normed = [norm(x) for norm, x in zip(self.norms, groups, strict=True)]
        stats = [torch.cat([x.mean(1), x.var(1)], 1) for x in normed]
        scores = torch.cat([f(s) for f, s in zip(self.score, stats, strict=True)], 1)
        weights = (MAX_SCORE * torch.tanh(scores / MAX_SCORE)).softmax(1)
        mixed = sum((weights[:, i, None, None] * x for i, x in enumerate(normed)), start=groups[0].new_zeros(()))
        hidden = F.gelu(self.hidden[0](F.gelu(self.squeeze(mixed)).flatten(1)) + hint)
        return self.out(hidden), hidden


class JointTokens(nn.Module):
    """Named addition to eq. 3: what the maps hold where each joint lies, as one token a joint beside one for the whole
    body. Rotations and depths of limbs follow from the picture near them and from the other joints, and pooled
    features lose that. Its answers begin at 0, so that it can be added to a trained network."""

    def __init__(self, channels: tuple[int, ...], dim: int, heads: int, blocks: int, outputs: int):
        super().__init__()
        self.gather = nn.ModuleList(nn.Linear(c, dim) for c in channels)
        for parameter in self.gather[-1].parameters():  # the depth branch's came later
            nn.init.zeros_(parameter)
        self.facts = nn.Linear(4, dim)
        self.hint = nn.Linear(LANDMARK_COUNT * LANDMARK_VALUES, dim)
        self.kind = nn.Parameter(torch.randn(1, JOINT_COUNT + 1, dim) * 0.02)
        self.blocks = nn.ModuleList(Block(dim, heads, 2.0) for _ in range(blocks))
        self.norm = nn.LayerNorm(dim)
        self.rotations, self.points, self.rest = nn.Linear(dim, 6), nn.Linear(dim, 3), nn.Linear(dim, outputs)
        for layer in (self.rotations, self.points, self.rest):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self, share: Tensor, maps: list[Tensor], facts: Tensor, landmarks: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Heat maps as distributions [B, 21, G, G], maps [B, C_i, H_i, W_i], facts [B, 21, 4] and landmarks
        [B, 33, 8] to corrections of the pose outputs [B, O], places [B, 21, 3] and the body's token [B, D]."""
        joints = self.facts(facts)
        for linear, x in zip(self.gather, maps, strict=True):
            cell = share.shape[-1] // x.shape[-1]
            weight = F.avg_pool2d(share, cell) * cell**2 if cell > 1 else share
            joints = joints + linear(weight.flatten(2).to(x.dtype) @ to_tokens(x))
        body = joints.mean(1, keepdim=True) + self.hint((2 * landmarks).flatten(1))[:, None]
        tokens = torch.cat([joints, body], 1) + self.kind
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        joints, body = tokens[:, :-1], tokens[:, -1]
        change = torch.cat([self.rotations(joints).flatten(1), self.rest(body)], 1)
        return change, self.points(joints), body


class DepthHead(nn.Module):
    """Eq. 4-5: groups weighted by global context, conv3x3(LN), summed, transposed convolution, ReLU."""

    def __init__(self, channels: tuple[int, ...], width: int = 32):
        super().__init__()
        self.context = nn.ModuleList(nn.Sequential(nn.Linear(c, 16), nn.GELU(), nn.Linear(16, 1)) for c in channels)
        self.convs = nn.ModuleList(nn.Sequential(MapNorm(c), nn.Conv2d(c, width, 3, 1, 1)) for c in channels)
        self.up = nn.ConvTranspose2d(width, 1, 4, 4)

    def forward(self, groups: list[Tensor]) -> Tensor:
        """Groups [B, C_k, H_k, W_k], coarse to fine, to depth [B, 1, 4H, 4W] in metres behind the offset plane."""
        beta = torch.cat([g(x.mean((2, 3))) for g, x in zip(self.context, groups, strict=True)], 1).softmax(1)
        maps = [
            conv(x) * beta[:, k, None, None, None] for k, (conv, x) in enumerate(zip(self.convs, groups, strict=True))
        ]
        total = _sum_at_finest(maps)
        depth = F.relu(self.up(total) + DEPTH_OFFSET_M)
        # the loss sees means over 2 x 2 pixels, so that single ones are free to differ: give every pixel the mean
        return F.interpolate(F.avg_pool2d(depth, 2), scale_factor=2.0, mode="nearest")


class MultiTaskViT(nn.Module):
    """The sender's network. forward(image) gives a dict of tensors, see `forward`."""

    def __init__(self, config: ExtractConfig | None = None):
        super().__init__()
        self.config = c = config or ExtractConfig()
        residuals = lambda width: [Residual(width) for _ in range(c.residuals)]  # noqa: E731
        self.stem = nn.Sequential(_conv(3, c.stem, 7, 4), *residuals(c.stem))
        self.down = nn.Sequential(_conv(c.stem, c.middle, 3, 2), *residuals(c.middle))
        self.embed = nn.Conv2d(c.middle, c.dim, 3, 2, 1)
        self.side = c.size_px // 16
        tokens = self.side**2
        self.position = nn.Parameter(torch.randn(1, tokens, c.dim) * 0.02)
        self.trunk = nn.ModuleList(Block(c.dim, c.heads) for _ in range(c.trunk_blocks))
        self.increments = nn.ParameterDict({t: nn.Parameter(torch.randn(1, tokens, c.dim) * 0.02) for t in TASKS})
        self.masks = nn.ParameterDict({t: nn.Parameter(torch.zeros(c.heads, tokens, tokens)) for t in TASKS})
        self.branches = nn.ModuleDict({t: Block(c.dim, c.heads, 2.0) for t in TASKS})
        self.first_depth = nn.Linear(c.dim, 1)
        self.depth_gain = nn.Parameter(torch.zeros(c.heads))
        self.up16 = nn.Conv2d(c.dim, c.middle, 1)
        self.mix16 = nn.Sequential(*residuals(c.middle))
        self.up32 = nn.Conv2d(c.middle, c.stem, 1)
        self.mix32 = nn.Sequential(*residuals(c.stem))
        widths = (c.dim, c.middle, c.stem)
        self.keypoint_head = KeypointHead(widths, JOINT_COUNT)
        self.pose_head = PoseHead(c.dim, c.trunk_blocks + 1, tokens, c.pose_outputs)
        self.depth_head = DepthHead(widths)
        self.joint_tokens = JointTokens(
            (*widths, c.dim), c.dim, c.heads, c.joint_blocks, c.pose_outputs - 6 * JOINT_COUNT
        )
        self.joint_depth = nn.Conv2d(c.stem, JOINT_COUNT, 1)
        self.parts = nn.Conv2d(c.stem, JOINT_COUNT + 1, 1)
        self.silhouette = nn.ConvTranspose2d(c.stem, 1, 4, 4)
        self.hint = Hint(c.stem, c.dim, POSE_HIDDEN)
        grid = c.size_px // CELL_PX
        self.register_buffer("axis", (torch.arange(grid) + 0.5) / grid - 0.5, persistent=False)

    def _mask(self, task: str, tokens: Tensor) -> Tensor | None:
        """M_task of eq. 6: learned per task and head; for depth also by the distance of a first depth estimate."""
        if not self.config.task_masks:
            return None
        mask = self.masks[task][None]
        if task == "depth":
            first = self.first_depth(tokens)
            gap = (first - first.transpose(1, 2)).abs()[:, None]
            mask = mask - F.softplus(self.depth_gain)[None, :, None, None] * gap
        return mask

    def forward(self, image: Tensor, landmarks: Tensor | None = None) -> dict[str, Tensor]:
        """Image [B, 3, S, S] in [0, 1] and landmarks [B, 33, 8] of `find_landmarks` (None or 0: no hint) to, with
        G = S/4:

        heat [B, 21, G, G] logits, joints [B, 21, 2] means of the heat maps in crop sides from the centre (y down),
        peaks [B, 21, 2] their highest cells, joint_depth [B, 21] metres towards the camera relative to the pelvis,
        points [B, 21, 3] the joints in metres from the pelvis (view frame), confidence [B, 21] peak of the heat map,
        pose [B, O], hidden [B, 384], body [B, D], context [B, 3 D] mean tokens of the tasks, depth [B, 1, S, S] metres
        behind the plane DEPTH_OFFSET_M in front of the pelvis, silhouette [B, 1, S, S] logits, parts [B, 22, G, G]
        logits; landmarks as given.
        """
        if landmarks is None or not self.config.landmarks:
            landmarks = image.new_zeros(len(image), LANDMARK_COUNT, LANDMARK_VALUES)
        hint_map, hint_tokens, hint_pose = self.hint(landmarks, self.axis)
        x32 = self.stem((image - 0.45) / 0.25) + hint_map
        x16 = self.down(x32)
        tokens = to_tokens(self.embed(x16)) + self.position + hint_tokens
        groups = []
        for block in self.trunk:
            tokens = block(tokens)
            groups.append(tokens)
        branch = {}
        for task in TASKS:
            t = tokens + self.increments[task] if self.config.task_increments else tokens
            branch[task] = self.branches[task](t, self._mask(task, t))
        key8, deep8 = to_map(branch["keypoint"], self.side), to_map(branch["depth"], self.side)
        up = lambda t: F.interpolate(t, scale_factor=2.0, mode="nearest")  # noqa: E731
        m16 = self.mix16(up(self.up16(key8)) + x16)
        m32 = self.mix32(up(self.up32(m16)) + x32)
        heat = self.keypoint_head([key8, m16, m32])
        pose, hidden = self.pose_head([*groups, branch["pose"]], hint_pose)
        share = heat.flatten(2).float().softmax(-1).view(heat.shape)
        joints = torch.stack([(share.sum(2) * self.axis).sum(-1), (share.sum(3) * self.axis).sum(-1)], -1)
        cells = heat.shape[-1]
        peak = heat.flatten(2).argmax(-1)
        confidence = share.amax((2, 3))
        joint_depth = (share * self.joint_depth(m32)).sum((2, 3))
        facts = torch.cat([joints, joint_depth[..., None], confidence.clamp_min(1e-4).log()[..., None]], -1)
        pose8 = to_map(branch["pose"], self.side)
        change, points, body = self.joint_tokens(share, [pose8, m16, m32, deep8], facts, landmarks)
        return {
            "heat": heat,
            "joints": joints,
            "peaks": torch.stack([peak % cells, peak // cells], -1).float().add(0.5) / cells - 0.5,
            "context": torch.cat([branch[task].mean(1) for task in TASKS], 1),
            "joint_depth": joint_depth,
            "points": points,
            "confidence": confidence,
            "pose": pose + change,
            "hidden": hidden,
            "body": body,
            "depth": self.depth_head([deep8, m16, m32]),
            "silhouette": self.silhouette(m32),
            "parts": self.parts(m32),
            "landmarks": landmarks,
        }


def resized(state: dict[str, Tensor], side: int) -> dict[str, Tensor]:
    """Weights of a network for another picture size: all that is laid out over the tokens, interpolated to side^2."""
    old = math.isqrt(state["position"].shape[1])
    if old == side:
        return state

    def grid(x: Tensor) -> Tensor:  # [M, old^2] to [M, side^2]
        wide = x.float().view(1, -1, old, old)
        return F.interpolate(wide, size=(side, side), mode="bilinear", align_corners=False).view(-1, side**2)

    out = dict(state)
    for name, x in state.items():
        if name == "position" or name.startswith("increments."):
            out[name] = grid(x[0].T).T[None].contiguous()
        elif name.startswith("masks."):
            rows = grid(x.flatten(0, 1)).view(len(x), old**2, -1)
            out[name] = grid(rows.transpose(1, 2).flatten(0, 1)).view(len(x), side**2, -1).transpose(1, 2).contiguous()
        elif name == "pose_head.hidden.0.weight":
            wide = x.view(len(x), old**2, -1).transpose(1, 2)
            wide = grid(wide.flatten(0, 1)).view(len(x), -1, side**2) * (old / side) ** 2
            out[name] = wide.transpose(1, 2).flatten(1).contiguous()
    return out


def rotation_from_6d(x: Tensor) -> Tensor:
    """First two columns [..., 6] to rotations [..., 3, 3] by Gram-Schmidt."""
    a, b = x[..., :3], x[..., 3:]
    c0 = F.normalize(a, dim=-1)
    c1 = F.normalize(b - (c0 * b).sum(-1, keepdim=True) * c0, dim=-1)
    return torch.stack([c0, c1, torch.linalg.cross(c0, c1)], -1)
