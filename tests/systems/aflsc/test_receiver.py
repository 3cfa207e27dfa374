"""AFLSC's receiver: labels, surface chart, restorer (eq. 19-23), diffusion (eq. 24-27), assembly (eq. 28)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trimesh
from scipy.spatial.transform import Rotation
from torch import Tensor

from somacast.body.clothing import ATTRIBUTES, MATERIALS
from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.body.table import BODY_VERTICES, load_body, vertex_normals
from somacast.synthetic.people import Person, dress
from somacast.synthetic.wardrobe.garments import Garment, Layer, Outfit, scale_matrix
from somacast.systems.aflsc.labels.chart import CHART_PX, face_texels, load_chart
from somacast.systems.aflsc.labels.codec import label_input_count, label_inputs
from somacast.systems.aflsc.labels.schema import APPEARANCE_LABELS, SHAPE_LABELS
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.networks.diffuse import (
    GeneratedBias,
)
from somacast.systems.aflsc.networks.restore import FEATURES, LEVELS_PX, RestoreConfig, Restorer, level_targets
from somacast.systems.aflsc.training.outer_surface import clean_offsets, inner_faces, outer_surface
from support import aflsc_cases as cases

# --- labels --------------------------------------------------------------------------------------------------------


def test_labels_come_back_as_the_state_they_were_made_from() -> None:
    space = cases.space()
    rng = np.random.default_rng(0)
    for values in cases.random_values(5):
        state = space.state(values)
        batch = {
            "rotations": state.rotations[None], "shape": state.shape[None], "codes": state.codes[None],
            "attributes": np.array([[ATTRIBUTES[k].index(v) for k, v in state.attributes.items()]]),
            "curl": state.curl[None], "pelvis": state.pelvis[None],
        }  # fmt: skip
        np.testing.assert_allclose(space.values(batch)[0], values, atol=1e-3)
    # and from the other side: a pose that the kept components can say
    kept = space.parts["pose"].numbers
    rotvecs = space.pose.mean + 0.5 * (rng.normal(0, space.pose.std[kept]) @ space.pose.basis[kept])
    values = cases.random_values(1)[0]
    values[space.vocabulary.group_indices("pose")] = (rotvecs - space.pose.mean) @ space.pose.basis[kept].T
    local = np.swapaxes(space.state(values).rotations[0], -1, -2) @ space.state(values).rotations[1]
    np.testing.assert_allclose(Rotation.from_matrix(local).as_rotvec(), rotvecs[:3], atol=1e-4)


def test_symbols_carry_the_state_to_within_half_a_bin() -> None:
    vocabulary = cases.space().vocabulary
    values = cases.random_values(5, strength=0.4)
    got, width, present = vocabulary.dequantise(vocabulary.quantise(values))
    assert present.all()
    for i, label in enumerate(vocabulary.labels):
        unit = {"scalar": label.std, "circular": 1.0, "class": 1.0}[label.kind]
        error = np.abs(got[:, i] - values[:, i])
        if label.kind == "circular":
            error = np.minimum(error, 2 * np.pi - error)
        inside = np.abs(values[:, i] - label.mean) <= label.span * unit if label.kind == "scalar" else error < 9
        assert np.all(error[inside] <= 2 * width[inside, i] * unit + 1e-5), label.name


def test_label_tables_survive_their_file_form() -> None:
    space = cases.space()
    again = LabelSpace.from_arrays(space.to_arrays())
    assert [label.name for label in again.vocabulary.labels] == [label.name for label in space.vocabulary.labels]
    np.testing.assert_allclose(
        again.appearance.basis, space.appearance.basis, atol=np.abs(space.appearance.basis).max() / 200
    )
    np.testing.assert_array_equal(again.bits, space.bits)
    assert np.all(again.appearance.basis[APPEARANCE_LABELS:, ~face_texels()] == 0)
    twice = LabelSpace.from_arrays(again.to_arrays())  # what is fitted after reading must be what is read again
    assert twice.vocabulary.to_json() == again.vocabulary.to_json()


def test_label_inputs_mark_what_is_missing() -> None:
    vocabulary = cases.space().vocabulary
    symbols = vocabulary.quantise(np.array([[label.mean for label in vocabulary.labels]] * 2))
    curl, camera = vocabulary.positions["curl_left"], vocabulary.positions["log_depth"]
    symbols[1, [curl, camera]] = -1
    rows = label_inputs(vocabulary, *vocabulary.dequantise(symbols))
    assert rows.shape == (2, label_input_count(vocabulary)) and rows.dtype == np.float32
    count = len(vocabulary.labels)
    flags = rows[:, -count:]
    assert flags[0].all()
    assert not flags[1, [curl, camera]].any() and flags[1].sum() == count - 2
    # an average label and a missing one have the same value but neither the same flag nor the same width
    changed = np.flatnonzero(rows[0] != rows[1])
    assert {rows.shape[1] - count + curl, rows.shape[1] - count + camera} <= set(changed)
    whole = np.flatnonzero(rows[1, :-count] == 1)
    assert len(set(changed) & set(whole)) >= 2  # widths at the full span


# --- chart ---------------------------------------------------------------------------------------------------------


def test_chart_covers_the_body() -> None:
    chart, body = load_chart(), load_body()
    assert chart.face.shape == chart.inside.shape == (CHART_PX, CHART_PX)
    assert 0.5 < chart.inside.mean() < 0.9
    assert set(np.unique(chart.joint[chart.inside])) >= {CANONICAL_JOINTS.index(n) for n in ("head", "l_hand", "r_toe")}
    bary = chart.bary[chart.inside]
    assert bary.min() >= 0
    np.testing.assert_allclose(bary.sum(1), 1, atol=1e-5)
    rows, columns = np.nonzero(chart.inside)
    uv = (body.uvs[body.face_uvs[chart.face[chart.inside]]] * bary[..., None]).sum(1)
    np.testing.assert_allclose(uv, np.stack([columns + 0.5, CHART_PX - rows - 0.5], 1) / CHART_PX, atol=1e-4)
    # every part of the body has texels: the mean distance from a vertex to the nearest texel is small
    tri = body.shape_mean[body.faces[chart.face[chart.inside]]]
    points = (tri * bary[..., None]).sum(1)
    gap = trimesh.proximity.cKDTree(points).query(body.shape_mean[:BODY_VERTICES])[0]
    assert np.percentile(gap, 95) < 0.015


def bare_person(layers: list[Layer], color: int) -> Person:
    skin = np.full((256, 256, 4), 255, np.uint8)
    skin[..., :3] = color
    return dress(np.zeros(SHAPE_LABELS, np.float32), {}, Outfit(skin, scale_matrix(1.0), layers))


def shell(distance_m: float) -> Layer:
    """The whole body's skin moved out along its normals, as a garment that hides the body."""
    body = load_body()
    rest, _ = body.rest(np.zeros(SHAPE_LABELS, np.float32))
    normal = np.empty_like(rest)
    vertex_normals(rest, body.faces, normal)
    own = np.arange(BODY_VERTICES)
    texture = np.full((256, 256, 4), 255, np.uint8)
    texture[..., :3] = (200, 40, 20)
    garment = Garment(
        "shell", np.stack([own] * 3, 1), np.tile(np.float32([1, 0, 0]), (BODY_VERTICES, 1)),
        distance_m * normal, np.zeros((3, 2), int), np.zeros(3), body.uvs, body.faces, body.face_uvs,
        np.full(len(body.faces), MATERIALS.index("top"), np.uint8), own, 1, texture, False,
    )  # fmt: skip
    return Layer(garment, scale_matrix(1.0))


def test_a_bare_body_stands_on_its_own_skin() -> None:
    inside = load_chart().inside
    offset, color, material = outer_surface(bare_person([], 90))
    assert np.all(offset[~inside] == 0)
    assert np.median(np.abs(offset[inside])) < 1e-4
    assert (np.abs(offset[inside]) < 1e-3).mean() > 0.93  # lips, eyelids and fingers see one another
    assert np.abs(color[inside] - 90 / 255).max() < 0.01
    assert set(np.unique(material[inside])) == {MATERIALS.index("skin") + 1}


def test_a_shell_stands_off_by_its_distance() -> None:
    inside = load_chart().inside
    offset, color, material = outer_surface(bare_person([shell(0.02)], 90))
    worn = material == MATERIALS.index("top") + 1
    assert worn[inside].mean() > 0.98
    assert np.median(offset[worn]) == pytest.approx(0.02, abs=5e-4)
    assert (np.abs(offset[worn] - 0.02) < 0.003).mean() > 0.85
    assert np.median(np.abs(color[worn] - np.array([200, 40, 20]) / 255)) < 0.01


def test_the_body_knows_the_faces_that_rays_find_to_be_inside() -> None:
    found, known = inner_faces(), load_body().inner_faces
    assert known.shape == (len(load_body().faces),) and 1000 < known.sum() < 3000
    np.testing.assert_array_equal(found, known)


def test_clean_offsets_remove_lone_spikes_but_keep_hair() -> None:
    chart = load_chart()
    row, column = np.argwhere(chart.inside & (np.arange(CHART_PX)[:, None] > CHART_PX // 4))[4000]
    flat = np.full(chart.inside.shape, 0.01, np.float32)
    flat[row, column] = 0.13
    skin = np.ones(flat.shape, np.uint8)
    cleaned = clean_offsets(flat, skin)
    np.testing.assert_allclose(cleaned[chart.inside], 0.01, atol=1e-6)
    assert np.all(cleaned[~chart.inside] == 0)
    hair = np.full(flat.shape, MATERIALS.index("hair") + 1, np.uint8)
    flat[row, column] = 0.05  # within what hair may do
    assert clean_offsets(flat, hair)[row, column] == pytest.approx(0.05)
    assert clean_offsets(flat, skin)[row, column] == pytest.approx(0.01)
    wide = np.full(flat.shape, 0.25, np.float32)
    assert clean_offsets(wide, skin).max() == pytest.approx(0.14)
    assert clean_offsets(wide, hair).max() == pytest.approx(0.25)


# --- restorer: eq. 19 to 23 ----------------------------------------------------------------------------------------

SMALL = RestoreConfig(label_inputs=12, hidden=16, latent=6, components=3, state=5)


def small_restorer() -> tuple[Restorer, Tensor]:
    torch.manual_seed(0)
    restorer = Restorer(SMALL).eval()
    return restorer, torch.randn(2, SMALL.label_inputs)


def test_restorer_gives_three_levels_and_is_deterministic() -> None:
    restorer, labels = small_restorer()
    maps = restorer(labels)
    assert [tuple(m.shape) for m in maps] == [(2, FEATURES, n, n) for n in LEVELS_PX]
    again = restorer.decoder(restorer.encoder(labels).mode())
    for a, b in zip(maps, again, strict=True):
        assert torch.equal(a, b)
    one = restorer.sampled(labels, torch.Generator().manual_seed(1))
    assert torch.equal(one[2], restorer.sampled(labels, torch.Generator().manual_seed(1))[2])
    assert not torch.allclose(one[2], restorer.sampled(labels, torch.Generator().manual_seed(2))[2])


def test_levels_follow_the_recurrence_of_equation_22() -> None:
    restorer, labels = small_restorer()
    decoder, z = restorer.decoder, restorer.encoder(labels).mode()
    h = decoder.start(z).view(2, SMALL.state, 8, 8)
    for level, (n, got) in enumerate(zip(LEVELS_PX, decoder(z), strict=True)):
        h = h if level == 0 else h.repeat_interleave(2, 2).repeat_interleave(2, 3)
        known = F.gelu(h + decoder.tell[level](z)[..., None, None])
        place = decoder.position[level].expand(2, -1, n, n)
        s = decoder.local[level](torch.cat([known, place], 1))
        torch.testing.assert_close(got, s, atol=1e-5, rtol=1e-4)
        cell = decoder.cells[level]
        update, reset = cell.gates(torch.cat([s, h], 1)).sigmoid().split(SMALL.state, 1)
        h = h + update * (torch.tanh(cell.candidate(torch.cat([s, reset * h], 1))) - h)


def test_a_finer_level_hears_of_the_coarser_one_through_the_state() -> None:
    restorer, labels = small_restorer()
    before = restorer(labels)
    hook = restorer.decoder.local[0].register_forward_hook(lambda _module, _given, out: out + 1)
    moved = restorer(labels)
    hook.remove()
    torch.testing.assert_close(moved[0], before[0] + 1)
    assert not torch.allclose(moved[1], before[1], atol=1e-4)
    assert not torch.allclose(moved[2], before[2], atol=1e-5)
    with torch.no_grad():
        restorer.decoder.local[2][4].bias += 1
    after = restorer(labels)
    assert torch.equal(after[0], before[0]) and torch.equal(after[1], before[1])


def test_level_targets_average_over_the_texels_inside() -> None:
    torch.manual_seed(0)
    inside = (torch.rand(1, 1, 128, 128) < 0.4).float()
    chart = torch.randn(2, 3, 128, 128)
    for n, target in zip(LEVELS_PX, level_targets(chart, inside), strict=True):
        k = 128 // n
        assert target.shape == (2, 3, n, n)
        block = (1, slice(None), slice(2 * k, 3 * k), slice(k, 2 * k))
        mask = inside[0, 0, 2 * k : 3 * k, k : 2 * k].bool()
        torch.testing.assert_close(target[1, :, 2, 1], chart[block][:, mask].mean(1), atol=1e-5, rtol=1e-4)


def test_generated_bias_is_a_product_of_features() -> None:
    torch.manual_seed(0)
    bias, s = GeneratedBias(heads=3, rank=4), torch.randn(2, FEATURES, 8, 8)
    got = bias(s, 4)
    assert got.shape == (2, 3, 16, 16)
    pooled = s.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5))
    left, right = (torch.tanh(f(pooled[1, :, 2, 3])) for f in (bias.left, bias.right))
    other = torch.tanh(bias.right(pooled[1, :, 0, 1]))
    at = slice(2 * 4, 3 * 4)  # numbers of head 2
    torch.testing.assert_close(got[1, 2, 11, 11], bias.gain * left[at] @ right[at], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(got[1, 2, 11, 1], bias.gain * left[at] @ other[at], atol=1e-6, rtol=1e-4)
