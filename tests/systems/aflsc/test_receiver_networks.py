"""The networks of the receiver: guidance, attention bias, diffusion and its literal steps (eq. 24-27)."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.shape import chamfer
from somacast.systems.aflsc.labels.appearance_basis import COLOR_UNIT
from somacast.systems.aflsc.labels.chart import load_chart
from somacast.systems.aflsc.labels.codec import label_input_count
from somacast.systems.aflsc.labels.schema import SHAPE_LABELS
from somacast.systems.aflsc.labels.state import PersonState
from somacast.systems.aflsc.networks.diffuse import (
    CHANNELS,
    MAX_STEPS,
    Denoiser,
    DiffuseConfig,
    literal_forward,
    literal_reverse,
    literal_steps,
    reverse,
    signal_and_noise,
)
from somacast.systems.aflsc.networks.restore import FEATURES, LEVELS_PX, RestoreConfig, Restorer
from somacast.systems.aflsc.receiver.assemble import build_human
from somacast.systems.aflsc.training import receiver as aflsc_receiver
from somacast.systems.aflsc.training.labels import chart_rows
from somacast.types import Mesh
from support import aflsc_cases as cases

# --- diffusion: eq. 24 to 27 ---------------------------------------------------------------------------------------


def small_denoiser(trained: bool = True) -> Denoiser:
    torch.manual_seed(0)
    net = Denoiser(DiffuseConfig(dim=20, heads=2, blocks=1, path_dim=16, path_blocks=1)).eval()
    if trained:  # blocks and the output start at zero
        torch.nn.init.normal_(net.out.weight, std=0.1)
        for name, p in net.named_parameters():
            if name.endswith(("attention.out.weight", "mlp.2.weight")):
                torch.nn.init.normal_(p, std=0.3)
    return net


def feature_maps(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, FEATURES, n, n, generator=generator) for n in LEVELS_PX]


class Oracle:
    """Knows X_0 and notes what it was shown."""

    def __init__(self, clean: Tensor):
        self.clean, self.seen = clean, []

    def guide(self, maps: list[Tensor]) -> dict[str, Tensor]:
        return {}

    def __call__(self, x: Tensor, level: Tensor, base: Tensor, guide: dict) -> Tensor:
        self.seen.append((level[0].item(), x))
        return self.clean


def test_guidance_is_the_weighted_sum_of_equation_24() -> None:
    vit, maps = small_denoiser().condition, feature_maps()
    tokens, scores = zip(*(path(maps) for path in vit.paths), strict=True)
    powers = torch.cat(scores, 1).exp()
    share = powers / powers.sum(1, keepdim=True)
    expected = vit.out(sum((share[:, k, None, None] * t for k, t in enumerate(tokens)), torch.zeros(())))
    torch.testing.assert_close(vit(maps).flatten(2).transpose(1, 2), expected, atol=1e-5, rtol=1e-4)
    assert len(vit.paths) == 3 and not torch.allclose(tokens[0], tokens[2], atol=1e-2)


def test_denoiser_listens_to_all_its_inputs() -> None:
    net, maps = small_denoiser(), feature_maps()
    x, base, level = torch.randn(2, CHANNELS, 128, 128), torch.randn(2, CHANNELS, 128, 128), torch.full((2,), 0.5)
    with torch.inference_mode():
        guide = net.guide(maps)
        out = net(x, level, base, guide)
        assert out.shape == (2, CHANNELS, 128, 128)
        for other in (
            net(x + 0.3, level, base, guide),
            net(x, level / 3, base, guide),
            net(x, level, base + 0.3, guide),
            net(x, level, base, guide | {"bias": guide["bias"] + 3 * torch.randn_like(guide["bias"])}),
            *(net(x, level, base, net.guide([m + (k == i) for k, m in enumerate(maps)])) for i in range(3)),
        ):
            assert not torch.allclose(out, other, atol=1e-5)


@pytest.mark.parametrize("steps", [0, -1, MAX_STEPS + 1])
def test_reverse_takes_one_to_eight_steps(steps: int) -> None:
    with pytest.raises(ValueError, match=f"1 to {MAX_STEPS}, got {steps}"):
        reverse(small_denoiser(), feature_maps(), torch.zeros(2, CHANNELS, 128, 128), steps)


def test_reverse_is_deterministic_and_starts_from_the_linear_estimate() -> None:
    base = torch.randn(2, CHANNELS, 128, 128)
    with torch.inference_mode():
        first = reverse(small_denoiser(), feature_maps(), base, 3)
        assert torch.equal(first, reverse(small_denoiser(), feature_maps(), base, 3))
        assert not torch.allclose(first, reverse(small_denoiser(), feature_maps(), base, 1), atol=1e-4)
        untrained = reverse(small_denoiser(trained=False), feature_maps(), base, 2)
    assert torch.all(untrained == 0)  # no change to the linear estimate before training


@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_reverse_walks_the_forward_process_back_with_a_perfect_denoiser(steps: int) -> None:
    torch.manual_seed(0)
    clean, noise = torch.randn(2, CHANNELS, 8, 8), torch.randn(2, CHANNELS, 8, 8)
    oracle = Oracle(clean)
    got = reverse(oracle, [], torch.zeros_like(clean), steps, noise)  # type: ignore[arg-type]
    assert torch.equal(got, clean)
    assert len(oracle.seen) == steps
    assert [level for level, _ in oracle.seen] == pytest.approx([1 - i / steps for i in range(steps)])
    for level, x in oracle.seen:
        a, b = signal_and_noise(torch.tensor(level))
        assert a**2 + b**2 == pytest.approx(1)
        torch.testing.assert_close(x, a * clean + b * noise, atol=1e-5, rtol=1e-4)


def test_literal_steps_are_equations_26_and_27() -> None:
    x, u, eps, c = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0]), torch.tensor([2.0, -1.0]), 0.64
    torch.testing.assert_close(literal_forward(x, u, c, eps), torch.tensor([0.8 + 0.6 * 1.0, -1.6 - 0.6 * 3.0]))
    torch.testing.assert_close(literal_reverse(x, u, c), torch.tensor([(1 - 0.3) / 0.8, (-2 - 1.8) / 0.8]))


def test_literal_reverse_inverts_forward_only_if_all_noise_is_one() -> None:
    """Why eq. 27 is an ablation: it takes off u_m where eq. 26 has put on u_m * eps."""
    torch.manual_seed(0)
    x, u, c = torch.randn(64), torch.randn(64), 0.9
    eps = torch.randn(64)
    torch.testing.assert_close(literal_reverse(literal_forward(x, u, c, torch.ones(64)), u, c), x)
    missed = literal_reverse(literal_forward(x, u, c, eps), u, c) - x
    torch.testing.assert_close(missed, ((1 - c) / c) ** 0.5 * u * (eps - 1), atol=1e-5, rtol=1e-4)
    assert missed.abs().mean() > 0.1


def test_literal_ablation_repeats_equation_27_with_the_noise_map() -> None:
    net, maps, base, c = small_denoiser(), feature_maps(), torch.zeros(2, CHANNELS, 128, 128), 0.9
    with torch.inference_mode():
        u = net.noise_map(net.guide(maps)["u"])
        got = literal_steps(net, maps, base, 3, c)
    expected = -u * (1 - c) ** 0.5 * (c**-0.5 + c**-1 + c**-1.5)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    assert u.shape == base.shape and got.abs().max() > 0


# --- assembly: eq. 28 ----------------------------------------------------------------------------------------------


def check_person(human: Reconstruction) -> None:
    """A whole, closed person, head up, of a person's size."""
    assert human.mesh is not None and human.joints is not None and human.mesh.colors is not None
    mesh = trimesh.Trimesh(human.mesh.vertices, human.mesh.faces, process=False)
    assert mesh.is_watertight and mesh.volume > 0.02
    assert max(len(part.vertices) for part in mesh.split(only_watertight=False)) > 0.95 * len(mesh.vertices)
    low, high = mesh.bounds
    assert 1.0 < (high - low).max() < 2.6
    assert np.all(human.joints > low - 0.05) and np.all(human.joints < high + 0.05)
    assert np.abs(human.joints[0]).max() < 1e-5
    names = {n: human.joints[i] for i, n in enumerate(CANONICAL_JOINTS)}
    assert names["head"][1] > names["pelvis"][1] + 0.2
    assert min(names["l_foot"][1], names["r_foot"][1]) < names["pelvis"][1] - 0.2
    assert human.mesh.colors.min() >= 0 and human.mesh.colors.max() <= 1


@lru_cache(maxsize=1)
def true_labels() -> np.ndarray:
    """Label values [1, L] of the first person, read off the truth."""
    sample, space = cases.sample(0), cases.space()
    rows = chart_rows({name: maps[:1] for name, maps in cases.charts().items()})
    return space.values(
        {
            "rotations": sample.rotations[None],
            "shape": sample.person.shape[None],
            "attributes": cases.attribute_numbers(sample)[None],
            "codes": space.appearance.codes(rows),
            "curl": sample.curl[None],
            "pelvis": np.array([[0.1, -0.05, np.log(3.0)]]),
        }
    )


@lru_cache(maxsize=1)
def truth_mesh() -> Mesh:
    return cases.sample(0).truth_mesh()


def test_true_chart_and_pose_give_the_person_back() -> None:
    sample = cases.sample(0)
    state = PersonState(
        sample.rotations, sample.person.shape[:SHAPE_LABELS], sample.curl, np.array([0.1, -0.05, np.log(3.0)]),
        sample.person.outfit.attributes, np.zeros(0),
    )  # fmt: skip
    charts = cases.charts()
    human = build_human(state, charts["color"][0] / 255.0, charts["offset"][0].astype(np.float32))
    check_person(human)
    assert human.mesh is not None and human.joints is not None and human.pelvis_m is not None
    assert chamfer(truth_mesh(), human.mesh, 20_000) < 0.015
    np.testing.assert_allclose(human.joints, sample.joints_m, atol=0.03)
    np.testing.assert_allclose(human.pelvis_m, [0.3, -0.15, 3.0], atol=1e-5)
    # colours are where they belong: each truth vertex against the nearest of the result
    near = trimesh.proximity.cKDTree(human.mesh.vertices).query(truth_mesh().vertices[::97])[1]
    assert human.mesh.colors is not None and truth_mesh().colors is not None
    assert np.median(np.abs(human.mesh.colors[near] - truth_mesh().colors[::97])) < 0.1


def test_labels_alone_carry_the_person() -> None:
    space = cases.space()
    values, _, present = space.vocabulary.dequantise(space.vocabulary.quantise(true_labels()))
    assert present.all()
    state = space.state(values[0])
    human = build_human(state, *space.appearance.chart_maps(state.codes))
    check_person(human)
    assert human.mesh is not None
    assert chamfer(truth_mesh(), human.mesh, 20_000) < 0.03


def test_coarse_and_missing_labels_still_give_a_whole_person() -> None:
    space = cases.space()
    symbols = space.vocabulary.quantise(true_labels())
    symbols[:, :, 1:] = -1
    symbols[:, space.vocabulary.minimum_levels == 0] = -1
    values, _, present = space.vocabulary.dequantise(symbols)
    assert 0.3 < present.mean() < 0.95
    state = space.state(values[0])
    human = build_human(state, *space.appearance.chart_maps(state.codes))
    check_person(human)
    assert human.mesh is not None
    assert chamfer(truth_mesh(), human.mesh, 20_000) < 0.15


# --- training ------------------------------------------------------------------------------------------------------


def test_a_few_steps_of_the_recipe_lower_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    from somacast.systems.aflsc.training import labels as aflsc_labels

    whole = aflsc_labels.draw_scalars
    monkeypatch.setattr(aflsc_labels, "draw_scalars", lambda _count, seed: whole(50, seed))
    torch.manual_seed(0)
    space = cases.space()
    batches = aflsc_receiver.Batches(space, cases.charts(), cases.poses(), 1)
    plain = batches.draw(2, 0.0, whole=True, pick=np.arange(2))
    batch = batches.draw(2, 1.0, whole=True, pick=np.arange(2))  # recoloured: more than the labels can say
    inputs = label_input_count(space.vocabulary)
    model = aflsc_receiver.Receiver(inputs)
    model.restorer = Restorer(replace(RestoreConfig(inputs), hidden=64, latent=16, state=12))
    model.denoiser = Denoiser(DiffuseConfig(dim=40, heads=2, blocks=1, path_dim=32, path_blocks=1))
    inside = torch.from_numpy(load_chart().inside.astype(np.float32))[None, None]
    # the batch is made of what the receiver meets: the truth is in it, the linear estimate is near it
    np.testing.assert_allclose(
        plain["chart"][:, :3].permute(0, 2, 3, 1).numpy()[:, load_chart().inside] * COLOR_UNIT,
        cases.charts()["color"][:, load_chart().inside] / 255, atol=2e-3,
    )  # fmt: skip
    error = [((b["base"] - b["chart"]) * inside).square().mean() for b in (plain, batch)]
    assert error[0] < 0.05 * (plain["chart"] * inside).var()
    assert error[1] > 2 * error[0]
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    history: list[dict[str, float]] = []
    for _ in range(12):
        generator = torch.Generator().manual_seed(5)
        terms = aflsc_receiver.losses(model, batch, inside, aflsc_receiver.ReceiverRecipe(), generator)
        optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimiser.step()
        history.append({k: v.item() for k, v in terms.items()})
    assert set(history[0]) == {"level", "kl", "diversity", "diffusion", "literal"}
    assert history[-1]["level"] < 0.9 * history[0]["level"]
    assert history[-1]["diffusion"] < history[0]["diffusion"]
    assert sum(history[-1].values()) < 0.9 * sum(history[0].values())
    idle = [n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    # the state after the last level has no reader: its cell is in the file for the sake of eq. 22 only
    assert all(name.startswith("restorer.decoder.cells.2.") for name in idle), f"no gradient reaches {idle}"


def test_coarsened_batches_keep_what_every_stream_has() -> None:
    vocabulary = cases.space().vocabulary
    symbols = vocabulary.quantise(cases.random_values(40))
    cut = aflsc_receiver.coarsen(symbols, np.random.default_rng(0), vocabulary)
    vocabulary.check_symbols(cut)
    must = vocabulary.minimum_levels == 1
    assert np.all(cut[:, must, 0] == symbols[:, must, 0])
    assert np.all((cut == symbols) | (cut == -1))
    changed = (cut != symbols).any((1, 2))
    assert 0.3 < changed.mean() < 0.95
