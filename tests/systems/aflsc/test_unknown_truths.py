"""What is unknown of a person teaches nothing: columns of the pools, losses of the extractor and of the coder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from somacast.body.skeleton import JOINT_COUNT
from somacast.systems.aflsc.labels.layout import LabelLayout
from somacast.systems.aflsc.networks.adversarial import Discriminator, SemanticCoder, SemanticConfig
from somacast.systems.aflsc.training import extract as aflsc_extract
from somacast.systems.aflsc.training import semantic as aflsc_semantic
from somacast.systems.aflsc.training.extract_losses import KNOWN, known_mean
from somacast.training.pools import Pool, read_shard
from support import aflsc_cases as cases
from support.sender_cases import batch, small_net

FEATURES = 10


def test_known_mean_is_that_of_the_known_rows():
    error = torch.rand(6, 3, 2)
    known = torch.tensor([1.0, 0, 1, 1, 0, 1])
    torch.testing.assert_close(known_mean(error, known), error[known > 0].mean())
    torch.testing.assert_close(known_mean(error, torch.ones(6)), error.mean())
    assert known_mean(error, torch.zeros(6)) == 0


def test_a_pool_without_the_columns_knows_everybody(tmp_path: Path):
    old = {k: v for k, v in batch().items() if k not in KNOWN}
    new = old | {"shape_known": np.ones(cases.PEOPLE, np.uint8), "attributes_known": np.zeros(cases.PEOPLE, np.uint8)}
    for name, arrays in (("000000", old), ("000001", new)):
        np.savez(tmp_path / f"{name}.npz", **arrays)  # pyright: ignore[reportArgumentType]
    assert read_shard(tmp_path / "000000.npz")["attributes_known"].tolist() == [1] * cases.PEOPLE
    pool = Pool(tmp_path, 10**6)
    assert pool.refresh() == 2 * cases.PEOPLE
    rng = np.random.default_rng(0)
    assert {k for _ in range(10) for k in pool.batch(rng, 8)["attributes_known"].tolist()} == {0, 1}
    for arrays in (old, new):
        tensors = aflsc_extract.to_tensors(arrays)
        assert tensors["shape_known"].tolist() == [1.0] * cases.PEOPLE
        assert tensors["attributes_known"].mean() == (1 if arrays is old else 0)


@pytest.mark.parametrize("group", ["shape", "attributes"])
def test_unknown_truths_pull_on_nothing(group):
    data = batch()
    known = np.ones(cases.PEOPLE, np.uint8)
    known[1] = 0
    truth = aflsc_extract.to_tensors(data | {f"{group}_known": known}, size_px=64)
    out = {k: v.detach().float() for k, v in small_net()(truth.pop("image"), truth.pop("landmarks")).items()}
    pose = out["pose"].requires_grad_()
    recipe = aflsc_extract.ExtractRecipe()
    torch.stack(list(aflsc_extract.losses(out, truth, recipe).values())).sum().backward()
    assert pose.grad is not None
    n = truth["shape"].shape[1]
    first = 6 * JOINT_COUNT
    columns = slice(first, first + n) if group == "shape" else slice(first + n + 5, None)
    reached = pose.grad[:, columns].abs().sum(1) > 0
    assert reached.tolist() == [row != 1 for row in range(cases.PEOPLE)]
    assert (pose.grad[1, :first].abs() > 0).any()  # what is known of the same person still teaches


def test_the_coder_never_sees_unknown_labels():
    space = cases.space()
    layout = LabelLayout.of(space.vocabulary)
    torch.manual_seed(0)
    coder = SemanticCoder(SemanticConfig(FEATURES, hidden=32, latent=8), layout)
    judge, chain = Discriminator(FEATURES, layout.size, hidden=16), aflsc_semantic.Kinematics(space, layout)
    values = cases.random_values(8)
    known = {"rotations": np.zeros((8, 1)), "attributes_known": np.arange(8) % 2, "shape_known": np.arange(8) // 4}
    mask = torch.from_numpy(aflsc_semantic.known_labels(space, layout, known))
    groups = [space.vocabulary.labels[i].group for i in layout.scalars]
    s = len(layout.scalars)
    assert mask.shape == (8, layout.size)
    shape = [k for k, group in enumerate(groups) if group == "shape"]
    pose = [k for k, group in enumerate(groups) if group != "shape"]
    assert mask[:, shape].mean(1).tolist() == [0.0] * 4 + [1.0] * 4 and mask[:, pose].min() == 1
    assert mask[:, s : s + 2].min() == 1 and mask[:, s + 2 :].mean(1).tolist() == [0.0, 1.0] * 4

    def loss(y: torch.Tensor, joints: torch.Tensor) -> list[float]:
        torch.manual_seed(1)
        x = torch.linspace(-1, 1, 8 * FEATURES).view(8, FEATURES)
        ours, judged, _ = aflsc_semantic.losses(
            coder, judge, chain, x, y, joints, aflsc_semantic.SemanticRecipe(), mask
        )
        return [ours.item(), judged.item()]

    y = torch.from_numpy(layout.vector(space.vocabulary, values))
    joints = chain(y[:, :s], y[:, s : s + 2])
    before = loss(y, joints)
    lies = torch.where(mask > 0, y, torch.rand(y.shape))
    wrong = joints.clone()
    wrong[:4] += 0.3  # joints follow from the shape: those of the first four are not known
    assert loss(lies, wrong) == pytest.approx(before, rel=1e-6)
    wrong[5] += 0.3
    assert loss(lies, wrong)[0] > before[0] + 1e-3
