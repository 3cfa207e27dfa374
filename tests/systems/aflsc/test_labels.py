"""AFLSC's list of labels: its order is the format's, and values of labels mean what they always meant (golden)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from somacast.body.clothing import ATTRIBUTES
from somacast.systems.aflsc.labels.appearance_basis import AppearanceBasis
from somacast.systems.aflsc.labels.pose_basis import PoseBasis
from somacast.systems.aflsc.labels.schema import FITTED_LABELS, LABELS, PART_SIZES, SCALAR_NAMES
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.networks.loading import load_tables

CODES = 152


@lru_cache(maxsize=1)
def space() -> LabelSpace:
    """A label space made by formulas, so that no other weights change it; some components have no label."""
    k = np.arange(60.0)
    basis = np.sqrt(2 / 60) * np.cos(np.outer(k + 0.5, k + 0.5) * np.pi / 60)  # orthonormal
    bits = 1 + np.arange(len(FITTED_LABELS)) * 5 % 8
    bits[40:50] = bits[100:120] = bits[-20:-2] = 0
    empty = AppearanceBasis(np.zeros((0, 4)), np.zeros((CODES, 0, 4)), 1 + np.arange(CODES, dtype=np.float32))
    scalars = {name: (0.25 * i, 1 + 0.5 * i) for i, name in enumerate(SCALAR_NAMES)}
    return LabelSpace(PoseBasis(0.2 * np.sin(k), basis, 0.5 / (1 + 0.1 * k)), empty, scalars, bits)


def some_values() -> np.ndarray:
    labels = space().vocabulary.labels
    return np.array([i % n if label.kind == "class" else 0.3 * np.sin(1 + i) for i, label in enumerate(labels)
                     for n in label.alphabets[:1]])  # fmt: skip


def test_the_vocabulary_is_the_one_of_earlier_files() -> None:
    assert len(space().vocabulary.labels) == 189
    assert space().vocabulary.digest.hex() == "f855acab9f81012b03a1175db5961fd1d7b382ce9640ef90ea9eadafca0e418a"


def test_values_mean_what_they_meant_in_earlier_files() -> None:
    values, state = some_values(), space().state(some_values())
    turned = [[0.968876, 0.026797, 0.24609], [0.0418, 0.962138, -0.269338], [-0.24399, 0.271242, 0.931073]]
    np.testing.assert_allclose(state.rotations[0], turned, atol=2e-6)
    np.testing.assert_allclose(state.rotations[12, 0], [0.96593, 0.222133, 0.132801], atol=2e-6)
    np.testing.assert_allclose(state.shape[[0, 11]], [0.1910214, 0.2321672], atol=1e-6)
    np.testing.assert_allclose(state.curl, [0.10398635, 0], atol=1e-6)
    np.testing.assert_allclose(state.pelvis, [-0.29915131, -0.1426571, 0.14499539], atol=1e-6)
    assert list(state.attributes.values()) == ["none", "bare", "bare", "long", "hat"]
    assert np.count_nonzero(state.codes) == 114 and np.flatnonzero(state.codes)[-1] == 133
    assert state.codes.sum() == pytest.approx(0.26336667, abs=1e-5)
    mirrored = space().mirrored(values)
    golden = [-0.252441, 0.272789, -0.042336, 0.076362, 0.204141, 0, 0.103986, 0.299151, -0.142657]
    np.testing.assert_allclose(mirrored[[0, 1, 2, 3, 30, -5, -4, -3, -2]], golden, atol=2e-6)
    np.testing.assert_allclose(space().mirrored(mirrored)[:3], values[:3], atol=1e-5)


def test_every_part_comes_back_from_values() -> None:
    values, state = some_values(), space().state(some_values())
    truth = {
        "rotations": state.rotations[None], "shape": state.shape[None], "codes": state.codes[None],
        "attributes": np.array([[ATTRIBUTES[k].index(v) for k, v in state.attributes.items()]]),
        "curl": space().part_of(values, "curl")[None], "pelvis": state.pelvis[None],
    }  # fmt: skip
    np.testing.assert_allclose(space().values(truth)[0], values, atol=1e-5)
    everyone = np.concatenate([part.labels for part in space().parts.values()])
    assert sorted(everyone) == list(range(len(values)))


def test_the_list_names_every_number_of_every_part_once() -> None:
    assert len({entry.name for entry in LABELS}) == len(LABELS)
    for part, size in PART_SIZES.items():
        assert [entry.number for entry in LABELS if entry.part == part] == list(range(size))


def test_shipped_tables_keep_their_array_names() -> None:
    arrays = load_tables().space.to_arrays()
    assert set(arrays) == {
        f"labels.{name}"
        for name in (
            "pose_mean", "pose_basis", "pose_std", "appearance_mean", "appearance_std", "appearance_basis",
            "appearance_scale", "face_basis", "face_scale", "scalar_names", "scalar_mean", "scalar_std", "bits",
        )
    }  # fmt: skip
    assert bytes(arrays["labels.scalar_names"]).decode().split("\n") == list(SCALAR_NAMES)
