"""What the trainings share: optimisers, averages, several processes, growing pictures, spoilt pictures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from somacast.systems.aflsc.networks.extract import ExtractConfig, MultiTaskViT, resized
from somacast.systems.aflsc.training.extract import degrade
from somacast.training.optimisers import MovingAverage, Muon, average_gradients, build_optimisers, orthogonalise
from somacast.training.pools import Pool

SMALL = ExtractConfig(size_px=64, stem=8, middle=12, dim=24, heads=3, residuals=1, trunk_blocks=1)


@pytest.mark.parametrize("shape", [(40, 40), (12, 90), (90, 12)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    result = orthogonalise(matrix).float()
    values = torch.linalg.svdvals(result)
    assert values.max() < 1.4 and (values > 0.5).float().mean() > 0.9
    assert float((result * matrix).sum()) > 0  # the same way, not just any orthogonal matrix


def test_muon_descends_and_needs_no_scale() -> None:
    torch.manual_seed(0)
    target, x = torch.randn(16, 16), torch.randn(64, 16)
    losses = {}
    for scale in (1.0, 1000.0):
        w = nn.Parameter(torch.zeros(16, 16))
        optimiser = Muon([w], 0.05)
        for _ in range(150):
            loss = scale * (x @ w - x @ target).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        losses[scale] = float((w.detach() - target).norm() / target.norm())
    assert losses[1.0] < 0.2
    assert losses[1000.0] == pytest.approx(losses[1.0], abs=0.05)


def test_every_parameter_has_exactly_one_optimiser() -> None:
    net = MultiTaskViT(SMALL)
    first, second = build_optimisers(net, 1e-3, 0.02, ("stem.0", "position", "masks"))
    owned = [id(p) for optimiser in (first, second) for group in optimiser.param_groups for p in group["params"]]
    assert sorted(owned) == sorted(id(p) for p in net.parameters())
    assert id(net.position) in {id(p) for group in first.param_groups for p in group["params"]}


def test_average_follows_and_counts_are_copied() -> None:
    net = nn.BatchNorm1d(3)
    average = MovingAverage(net.state_dict(), ceiling=0.9)
    with torch.no_grad():
        net.weight.fill_(3.0)
        net.num_batches_tracked.fill_(7)
    for step in range(1, 200):
        average.update(net.state_dict(), step)
    assert average.state["num_batches_tracked"] == 7
    torch.testing.assert_close(average.state["weight"], net.weight.detach(), atol=1e-3, rtol=0)
    assert average.state["weight"] is not net.weight


def _share_gradients(rank: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29531"}
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(0)
    w, b = nn.Parameter(torch.ones(4, 8)), nn.Parameter(torch.zeros(3))
    w.grad, b.grad = torch.full((4, 8), float(rank)), torch.full((3,), 2.0 * rank)
    average_gradients([w, b], 2)
    means = (w.grad.clone(), b.grad.clone())
    w.grad = torch.randn(4, 8)
    Muon([w], 0.1).step()
    torch.save((*means, w.detach()), f"{folder}/{rank}.pt")
    dist.barrier()
    os._exit(0)  # gloo's threads may abort a process whose partner has already left


@pytest.mark.slow
def test_two_processes_agree(tmp_path: Path) -> None:
    mp.start_processes(_share_gradients, args=(str(tmp_path),), nprocs=2, start_method="spawn")
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert torch.all(one[0] == 0.5) and torch.all(one[1] == 1.0)
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one[2], torch.ones(4, 8))


def test_a_network_goes_on_at_another_size() -> None:
    torch.manual_seed(0)
    small, large = MultiTaskViT(SMALL), MultiTaskViT(ExtractConfig(**{**SMALL.__dict__, "size_px": 96}))
    state = resized(small.state_dict(), large.side)
    large.load_state_dict(state)
    own = small.state_dict()
    assert resized(own, small.side) is own
    flat = small.state_dict() | {"position": torch.full_like(small.position, 2.0)}
    assert torch.allclose(resized(flat, 6)["position"], torch.full_like(large.position, 2.0))
    # a map that is even over the tokens gives the same features at both sizes
    weight, wide = small.pose_head.hidden[0].weight, state["pose_head.hidden.0.weight"]
    even = torch.randn(32)
    torch.testing.assert_close(weight @ even.repeat(16), wide @ even.repeat(36), atol=1e-3, rtol=1e-3)


def test_deeper_networks_begin_as_the_shallow_one() -> None:
    torch.manual_seed(0)
    one, two = MultiTaskViT(SMALL).eval(), MultiTaskViT(ExtractConfig(**{**SMALL.__dict__, "residuals": 2})).eval()
    two.load_state_dict(two.state_dict() | one.state_dict())
    picture = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(one(picture)["heat"], two(picture)["heat"])


def test_spoilt_pictures_keep_their_form() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)
    same, spoilt = pictures.copy(), pictures.copy()
    degrade(same, rng, 0.0)
    degrade(spoilt, rng, 1.0)
    assert np.array_equal(same, pictures)
    assert all((a != b).any() for a, b in zip(spoilt, pictures, strict=True))


def test_a_pool_reads_shards_that_are_finished_out_of_order(tmp_path: Path) -> None:
    """Several producers write side by side: a lower number may come after a higher one."""

    def write(number: int) -> None:
        np.savez(tmp_path / f"{number:06d}.npz", image=np.full((2, 1), number), action=np.array(["walking"] * 2))

    pool = Pool(tmp_path, capacity=6)
    write(3)
    assert pool.refresh() == 2
    write(1)
    write(2)
    assert pool.refresh() == 6
    write(4)
    assert pool.refresh() == 6 and sorted(pool.shards) == ["000002.npz", "000003.npz", "000004.npz"]
    assert pool.refresh() == 6 and "000001.npz" not in pool.shards, "a shard that was removed stays away"
