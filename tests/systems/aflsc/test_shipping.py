"""Checkpoint to shipped files and back: tables keep what streams call them, old names of tensors are understood."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

from somacast.errors import SomacastError  # noqa: E402
from somacast.systems.aflsc.labels.layout import LabelLayout  # noqa: E402
from somacast.systems.aflsc.networks import loading  # noqa: E402
from somacast.systems.aflsc.networks.adversarial import SemanticCoder, SemanticConfig  # noqa: E402
from somacast.systems.aflsc.networks.loading import (  # noqa: E402
    FAST_SENDER,
    PARTS,
    load_states,
    load_tables,
    network_arrays,
    save_checkpoint,
    save_tables,
)
from somacast.systems.aflsc.training.extract import read_checkpoint  # noqa: E402
from somacast.systems.aflsc.training.shipping import ship  # noqa: E402
from somacast.weights.arrays import content_digest  # noqa: E402


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A checkpoint of the package's tables and networks, as a training leaves it."""
    states, tables = load_states(None), load_tables()
    layout = LabelLayout.of(tables.space.vocabulary)
    whole = SemanticCoder(SemanticConfig(len(states["semantic"]["mean"])), layout).state_dict()
    path = tmp_path_factory.mktemp("run") / "checkpoint.safetensors"
    save_checkpoint(path, tables.space, tables.codec.tables, states | {"semantic": whole | states["semantic"]})
    return path


def test_a_checkpoint_ships_as_two_files_that_hold_the_same(checkpoint, tmp_path):
    assert ship(checkpoint, tmp_path) < 0.05
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["aflsc.safetensors", FAST_SENDER])
    one, two = network_arrays(checkpoint), network_arrays(tmp_path / "aflsc.safetensors")
    assert not any(name.startswith(("semantic.from_both.", "semantic.features.")) for name in one)
    tensors, again = loading.unpack(one), loading.unpack(two)
    assert tensors.keys() == again.keys()
    assert all(np.array_equal(tensors[name], again[name]) for name in tensors)
    # the tables hold no networks and say what streams call them
    with safe_open(tmp_path / "aflsc.safetensors", "numpy") as file:
        names = list(file.keys())
    assert not any(name.startswith(PARTS) for name in names)
    assert load_tables(tmp_path / "aflsc.safetensors").codec.digest == load_tables(checkpoint).codec.digest


def test_new_tables_are_named_by_what_they_hold(checkpoint, tmp_path):
    arrays = {"labels.a": np.arange(6.0), "coding.b": np.ones((2, 3), np.int16)}
    digest = content_digest(arrays, 3)
    assert digest == content_digest(dict(reversed(arrays.items())), 3) and len(digest) == 3
    others = [
        arrays | {"labels.a": np.arange(6.0)[::-1]},
        arrays | {"coding.b": np.ones((3, 2), np.int16)},
        arrays | {"coding.b": np.ones((2, 3), np.int32)},
        {"labels.c": arrays["labels.a"], "coding.b": arrays["coding.b"]},
    ]
    assert digest not in [content_digest(other, 3) for other in others]
    with safe_open(checkpoint, "numpy") as file:
        held = {k: file.get_tensor(k) for k in file.keys() if not k.startswith(PARTS)}  # noqa: SIM118
    assert load_tables(checkpoint).codec.digest == content_digest(held, 3)
    assert load_tables(checkpoint).codec.digest != load_tables().codec.digest  # that of the package is older


def test_a_checkpoint_from_before_is_named_by_its_bytes_and_goes_on_so(checkpoint, tmp_path):
    with safe_open(checkpoint, "numpy") as file:
        held = {k: file.get_tensor(k) for k in file.keys() if not k.startswith(PARTS)}  # noqa: SIM118
    old, new = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    save_file(held, str(old))
    digest = hashlib.sha256(old.read_bytes()).digest()[:3]
    save_tables(old, new)
    assert load_tables(old).codec.digest == load_tables(new).codec.digest == digest


@pytest.mark.parametrize("stated", ["03c8", "03c8dbff", "xyzxyz", ""])
def test_a_broken_name_is_refused(checkpoint, tmp_path, stated):
    path = tmp_path / "tables.safetensors"
    save_file({"labels.a": np.zeros(1)}, str(path), {"stream_digest": stated})
    with pytest.raises(SomacastError, match=r"tables\.safetensors: stream_digest: expected 6 hex digits"):
        load_tables(path)


def test_tables_without_their_networks_say_what_is_missing(checkpoint, tmp_path):
    save_tables(checkpoint, tmp_path / "aflsc.safetensors")
    with pytest.raises(SomacastError, match=r"aflsc_sender\.onnx: expected a network as ONNX"):
        load_states(tmp_path / "aflsc.safetensors")


def test_networks_that_are_no_more_are_left_alone_in_an_old_checkpoint(checkpoint, tmp_path):
    with safe_open(checkpoint, "numpy") as file:
        held, metadata = {k: file.get_tensor(k) for k in file.keys()}, file.metadata()  # noqa: SIM118
    old = tmp_path / "old.safetensors"
    gone = {"restorer.decoder.start.weight": np.ones((2, 3), np.int8), "denoiser.position": np.ones(4, np.float16)}
    save_file(held | gone, str(old), metadata)
    states, expected = load_states(old), load_states(checkpoint)
    assert states.keys() == set(PARTS) and states["extract"].keys() == expected["extract"].keys()
    save_tables(old, tmp_path / "new.safetensors")
    with safe_open(tmp_path / "new.safetensors", "numpy") as file:
        assert set(file.keys()) == {name for name in held if not name.startswith(PARTS)}
    assert load_tables(old).codec.digest == load_tables(checkpoint).codec.digest


def test_tensors_of_a_run_from_before_a_module_was_renamed_are_found(tmp_path):
    old = {"joint_tokens.turns.weight": torch.ones(6, 4), "joint_tokens.rest.bias": torch.zeros(2)}
    torch.save({"net": old, "average": old, "step": 3}, tmp_path / "extract.pt")
    saved = read_checkpoint(tmp_path / "extract.pt")
    assert saved["step"] == 3
    assert saved["net"].keys() == saved["average"].keys() == {"joint_tokens.rotations.weight", "joint_tokens.rest.bias"}
    arrays = {f"extract.{k}": v.numpy() for k, v in old.items()}
    save_file(arrays, str(tmp_path / "run.safetensors"))
    assert "joint_tokens.rotations.weight" in load_states(tmp_path / "run.safetensors", ("extract",))["extract"]
