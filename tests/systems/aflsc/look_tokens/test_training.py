"""Training of the look tokens: rows of the pool, batches, losses, a few steps, and both halves as they will ship."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from somacast.capture.pictures import frame_from_array
from somacast.extras import installed
from somacast.metrics import perceptual
from somacast.synthetic.samples import SceneConfig, SyntheticPeople
from somacast.systems.aflsc.look_tokens.capsules import GRID, HEIGHT_PX, PARTS, WIDTH_PX
from somacast.systems.aflsc.networks.loading import LOOK_PRIORS, LOOK_READER, LOOK_REFINER, LOOK_WRITER, load_tables
from somacast.systems.aflsc.picture_layer.aligned import PosedBody
from somacast.systems.aflsc.picture_layer.show import Shown
from somacast.systems.aflsc.picture_layer.warp import NO_WARP
from somacast.types import Capture

torch = pytest.importorskip("torch", reason="trainings need torch")

import torch.nn.functional as F  # noqa: E402

from somacast.systems.aflsc.look_tokens.runner import Known, LookReader, LookWriter  # noqa: E402
from somacast.systems.aflsc.look_tokens.stream import TokenCoder  # noqa: E402
from somacast.systems.aflsc.networks.looks import DIMS, GRIDS, LookCodec  # noqa: E402
from somacast.systems.aflsc.training.looks import train as training  # noqa: E402
from somacast.systems.aflsc.training.looks.adversary import Adversary  # noqa: E402
from somacast.systems.aflsc.training.looks.batches import draw_kept, kept_cells, to_batch  # noqa: E402
from somacast.systems.aflsc.training.looks.examples import Examples  # noqa: E402
from somacast.systems.aflsc.training.looks.importance import (  # noqa: E402
    Sensitivities,
    correlation,
    fitted,
    sensitivities,
)
from somacast.systems.aflsc.training.looks.losses import Losses, depth_errors, toned  # noqa: E402
from somacast.systems.aflsc.training.looks.perceptual_loss import PerceptualLoss  # noqa: E402
from somacast.systems.aflsc.training.looks.pool import SampleMaker  # noqa: E402
from somacast.systems.aflsc.training.looks.recipe import LooksRecipe  # noqa: E402
from somacast.systems.aflsc.training.shipping import export_looks  # noqa: E402
from somacast.weights.sessions import session_of  # noqa: E402

needs_measure = pytest.mark.skipif(
    not installed(perceptual.PACKAGE),
    reason="STLPIPS-PYTORCH IS NOT INSTALLED: the perceptual loss was not looked at",
)
SPACE = load_tables().space


@lru_cache(maxsize=1)
def rows() -> list[dict[str, np.ndarray]]:
    """Four rows as the pool has them, two people from two sides."""
    people = SyntheticPeople("train", 5, None, SceneConfig(size_px=256, views_per_person=2))
    maker = SampleMaker()
    made = [
        (maker.make(sample, np.random.default_rng([index, view]), 0.0), index)
        for index in (1, 2)
        for view, sample in enumerate(people.samples(index))
    ]
    return [row | {"person": np.int32(index)} for row, index in made if row is not None]


@pytest.fixture
def examples(tmp_path: Path) -> Examples:
    """Half of whose people are watched."""
    folder = tmp_path / "pool"
    folder.mkdir()
    shard = {k: np.stack([row[k] for row in rows()]) for k in rows()[0]}
    shard["person"] = np.where(shard["person"] == 1, 0, 1)
    shard["pictured"] = np.arange(len(rows())) % 2 == 0
    np.savez(folder / "000000.npz", **shard)
    found = Examples(folder, SPACE, 1000)
    assert found.refresh() == len(rows()) >= 3
    return found


def watched(examples: Examples) -> list[dict[str, np.ndarray]]:
    """Rows of people who are not learnt from, with a picture or without."""
    return [*examples.held_out(16, True), *examples.held_out(16, False)]


def test_rows_hold_a_person_as_the_sender_sees_them_and_both_sides():
    for row in rows():
        assert row["picture"].shape == (HEIGHT_PX, WIDTH_PX, 3) and row["given"].shape == row["picture"].shape
        body, seen = row["cover"] > 127, row["mask"] > 127
        assert (body & seen).sum() / (body | seen).sum() > 0.5
        front, back = (np.where(row[k] < 8, row[k].astype(float), np.nan) for k in ("front_m", "back_m"))
        both = np.isfinite(front) & np.isfinite(back)
        assert both.sum() > 0.9 * body.sum()
        assert (back - front)[both].min() > -0.02 and 0.05 < np.median((back - front)[both]) < 0.4
        assert 0.7 < row["size_ratio"] < 1.4
    assert any(row["given"].any() for row in rows()) == any(row["pictured"] for row in rows())


def test_batches_are_what_both_ends_know_and_mirror_alike(examples):
    rows_, *_ = watched(examples)
    batch = to_batch(rows_)
    body = batch.condition[:, :1] > 0.5
    assert batch.picture.shape[1:] == (5, HEIGHT_PX, WIDTH_PX)
    assert (batch.cover > 0.5)[body].float().mean() > 0.6, "the body lies on the person"
    assert batch.change[batch.known > 0].abs().median() < 0.15
    for k, grid in enumerate(GRIDS):
        assert batch.parts[k].shape[1:] == (len(PARTS), *grid) and 0 < batch.valid[k].mean() < 1

    class Mirror:
        """Draws that mirror, and change no colour."""

        def random(self):
            return 0.0

        def uniform(self, low, high, size):
            return np.ones(size)

    turned = to_batch(rows_, Mirror())  # type: ignore[arg-type]
    torch.testing.assert_close(turned.front.flip(3), batch.front, atol=0.02, rtol=0)
    left, right = PARTS.index("l_lower_leg"), PARTS.index("r_lower_leg")
    torch.testing.assert_close(turned.parts[-1][:, left], batch.parts[-1][:, right].flip(2))
    torch.testing.assert_close(turned.condition[:, 1].flip(2), -batch.condition[:, 1])


def test_watched_people_are_never_learnt_from(examples):
    batch = examples.batch(np.random.default_rng(0), 32)
    assert set(batch["person"].tolist()) == {1}
    assert {int(p) for part in watched(examples) for p in part["person"]} == {0}


def test_cells_have_levels_by_their_worth():
    valid = [torch.ones(1, 1, h, v) for h, v in ((1, 1), (2, 2), (4, 4))]
    valid[2][..., 0] = 0
    worth = torch.linspace(0, 1, 16).view(1, 1, 4, 4)
    for level, counts in ((0.0, [0, 0, 0]), (0.3, [1, 0, 0]), (1.5, [1, 4, 0]), (2.0, [1, 4, 6]), (9.0, [1, 4, 12])):
        kept = kept_cells(valid, worth, torch.tensor([level]))
        assert [int(k.sum()) for k in kept] == counts, level
        for coarse, fine in itertools.pairwise(kept):
            assert (F.max_pool2d(fine, 2) <= coarse).all(), "a cell without those above it"


def test_depth_errors_count_what_is_known():
    true, known = torch.zeros(1, 2, 3, 3), torch.ones(1, 2, 3, 3)
    found = true.clone()
    found[..., 0] = 1.0
    known[..., 0] = 0
    assert all(float(error) == 0 for error in depth_errors(found, true, known))
    level, steps = depth_errors(true + 0.5, true, torch.ones(1, 2, 3, 3))
    assert float(level) == pytest.approx(0.5) and float(steps) == 0


def test_colours_are_compared_in_the_mean_of_what_is_found():
    cover = torch.zeros(1, 1, 4, 4)
    cover[..., 1:3, 1:3] = 1
    truth, weight = torch.rand(1, 3, 4, 4), cover / cover.sum()
    moved, apart = toned(truth, truth + 0.2 * cover, weight, cover)
    torch.testing.assert_close(moved, truth + 0.2 * cover)
    assert float(apart) == pytest.approx(0.2) and float(toned(truth, truth, weight, cover)[1]) == 0


def test_the_adversary_learns_what_is_painted_and_goes_on_from_a_checkpoint():
    torch.manual_seed(0)
    adversary, condition = Adversary(), torch.rand(2, 15, 32, 32)
    true = torch.rand(2, 6, 32, 32)
    painted = F.interpolate(F.avg_pool2d(true, 4), scale_factor=4.0).requires_grad_()
    for _ in range(30):
        judged, right = adversary(true, painted, condition)
    assert right > 0.9
    before = [p.grad.clone() for p in adversary.net.parameters()]
    judged.backward()
    assert painted.grad is not None and painted.grad.abs().sum() > 0
    assert all(torch.equal(a, p.grad) for a, p in zip(before, adversary.net.parameters(), strict=True))
    again = Adversary()
    again.load(adversary.state())
    for one, other in zip(adversary.net.parameters(), again.net.parameters(), strict=True):
        assert torch.equal(one, other)


@needs_measure
def test_the_perceptual_loss_is_the_measure():
    rng = np.random.default_rng(0)
    size = perceptual.SQUARE_PX
    images = rng.random((2, size, size, 3)).astype(np.float32)
    images[1] = 0.7 * images[0] + 0.3 * images[1]
    one, other = perceptual.features(images)
    expected = float(np.square(one - other).sum())
    found = PerceptualLoss()(*(torch.from_numpy(x).permute(2, 0, 1)[None] for x in images))
    assert float(found) == pytest.approx(expected, rel=1e-3)


@needs_measure
def test_bits_teach_priors_alone_while_they_are_free(examples):
    recipe = LooksRecipe(perceptual=0)
    net, losses, rng = LookCodec(), Losses(recipe), np.random.default_rng(0)
    batch = to_batch(examples.batch(rng, 4), rng)
    kept = [v.clone() for v in batch.valid]
    gradients = {}
    for progress in (0.0, 1.0):
        net.zero_grad()
        found = net(batch.picture, batch.condition, batch.given, batch.attributes, batch.parts, kept, batch.valid,
                    free=progress < recipe.free)  # fmt: skip
        sum(bits.sum() for bits in found["bits"]).backward()
        gradients[progress] = net.post[0][1].weight.grad
        assert net.priors[0].out.weight.grad.abs().sum() > 0
    assert gradients[0.0] is None or gradients[0.0].abs().sum() == 0
    assert gradients[1.0].abs().sum() > 0
    loss, figures = losses(net, batch, draw_kept(batch, rng), 1.0, rng)
    assert torch.isfinite(loss) and figures["depth_cm"] > 0


@needs_measure
def test_a_training_leaves_a_checkpoint_and_goes_on(examples, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CUTS", (1.0, 9.0))
    recipe = LooksRecipe(minutes=0.05, batch=2)
    (tmp_path / "other").mkdir()
    training.train(recipe, examples, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert lines and lines[-1]["step"] > 0 and set(lines[-1]["watch"]) >= {"1", "9"}
    training.train(replace(recipe, minutes=2 * lines[-1]["minutes"] + 0.05), examples, tmp_path, resume=True)
    again = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert again[-1]["step"] > lines[-1]["step"]
    training.train(recipe, examples, tmp_path / "other", start=tmp_path / training.WEIGHTS)
    first = json.loads((tmp_path / "other" / "curve.jsonl").read_text().splitlines()[0])
    assert first["watch"]["9"]["bytes"] == pytest.approx(again[-1]["watch"]["9"]["bytes"], rel=0.2)


def test_importance_is_found_from_what_cells_are_worth():
    """tau and embeddings that made the sensitivities come back, up to what scatters."""
    rng = np.random.default_rng(0)
    part, depth = torch.from_numpy(rng.integers(0, 3, 6000)), torch.from_numpy(rng.integers(2, 9, 6000))
    coarse = torch.from_numpy(rng.integers(-1, 2, (6000, DIMS[0]))).float()
    worth = torch.exp(part.float() - 0.3 * depth - 0.8 * coarse[:, 3].abs())
    found = Sensitivities(1e-4 * worth * torch.from_numpy(rng.exponential(1, 6000)).float(), part, depth, coarse)
    importance, fit = fitted(found)
    assert importance.tau[2, 4] > importance.tau[1, 4] > importance.tau[0, 4] > importance.tau[0, 7]
    assert fit["coarse tokens"] > 0.02 and fit["correlation"] > 0.6
    assert correlation(importance, found) > correlation(replace(importance, sigma=10**9), found) + 0.02


@needs_measure
def test_sensitivities_are_of_cells_that_may_be_sent(examples):
    rows_, *_ = watched(examples)
    batch = to_batch(rows_)
    found = sensitivities(LookCodec(), PerceptualLoss(), [batch])
    assert len(found.value) == int(batch.valid[-1].sum()) and torch.isfinite(found.value).all()
    assert found.value.abs().sum() > 0 and int(found.depth.min()) >= 2 and found.coarse.shape[1] == DIMS[0]


def test_halves_that_ship_say_and_understand_the_same(tmp_path):
    torch.manual_seed(1)
    net = LookCodec().eval()
    with torch.no_grad():
        for last in net.post:
            last[-1].weight.mul_(80)  # so that symbols differ from 0
    difference = export_looks(net, tmp_path)
    assert difference[LOOK_READER] < 1e-3 and difference[LOOK_WRITER] in (0, 1)
    coder = TokenCoder.from_arrays(load_file(tmp_path / LOOK_PRIORS))
    writer, *reader = (session_of(str(tmp_path / name)) for name in (LOOK_WRITER, LOOK_READER, LOOK_REFINER))
    maker = SampleMaker()
    people = SyntheticPeople("train", 6, None, SceneConfig(size_px=256, views_per_person=1))
    (sample,) = people.samples(3)
    frame = frame_from_array(sample.image)
    values, _, look = maker.encoder.see(Capture([frame]))
    sent = SPACE.vocabulary.dequantise(SPACE.vocabulary.quantise(values[None]))[0][0]
    posed = PosedBody.of(SPACE.state(sent), SPACE)
    body = posed.aligned(NO_WARP.heights)
    for shown in (None, Shown(body, frame.image[:64, :64].astype(np.float32))):
        known = Known.of(sent, SPACE, shown, len(GRIDS))
        says, hears = LookWriter(writer, coder, SPACE), LookReader(*reader, coder, SPACE)
        symbols = says.symbols(frame, look, known)
        assert [s.shape[1:] for s in symbols] == list(GRIDS) and any(s.any() for s in symbols)
        everything = says.layer(symbols, known, 10**6) or b""
        some = says.layer(symbols, known, len(everything) // 2) or b""
        whole, part = (hears.sides(layer, known) for layer in (everything, some))
        assert whole.front.shape == (HEIGHT_PX, WIDTH_PX, 3) and whole.depth.shape == (2, HEIGHT_PX, WIDTH_PX)
        assert np.isfinite(whole.depth).all() and whole.cover.min() >= 0 and whole.cover.max() <= 1
        assert np.abs(whole.front - part.front).max() > 0
        printed = replace(hears, steps=2, literal=True).sides(says.layer(symbols, known, 10**6) or b"", known)
        assert np.abs(printed.front - whole.front).max() > 0 and np.array_equal(printed.depth, whole.depth)
        kept = [torch.from_numpy(k.reshape(1, 1, *g)).float()
                for k, g in zip(known.grids.valid, GRIDS, strict=True)]  # fmt: skip
        with torch.inference_mode():
            cond, state = net.conditions(
                *(torch.from_numpy(known.feed[k]) for k in ("condition", "given", "attributes"))
            )
            for k, values_ in enumerate(symbols):
                tokens = torch.from_numpy(values_)[None].float() * kept[k]
                state, _ = net.level(k, state, cond, tokens, kept[k])
            coarse = net.sides(state, cond, torch.from_numpy(known.feed["given"]))["coarse"]
        np.testing.assert_allclose(coarse[0, 6].sigmoid().numpy(), whole.cover, atol=2e-3)
    assert known.capsules.depths.shape == (len(PARTS), *GRID)
