"""Shift-tolerant LPIPS without torch: equal to the original, and in the order that eyes would put pictures."""

from __future__ import annotations

import io
import pickle
import sys
from collections import OrderedDict
from unittest.mock import MagicMock

import numpy as np
import pytest

from somacast import extras
from somacast.errors import SomacastError
from somacast.geometry.gaussian import gaussian_filter
from somacast.metrics import perceptual
from somacast.metrics.perceptual import distance, distances, features, layers, union_square
from somacast.metrics.torch_file import FORMAT_VERSION, MAGIC, read_torch_file
from support.picture_cases import picture

needs_weights = pytest.mark.skipif(
    not (extras.installed("stlpips_pytorch") and extras.installed("onnx")),
    reason="the perceptual measure needs stlpips-pytorch and onnx of the extra bench",
)


def noisy(shape: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    a = rng.random((*shape, 3)).astype(np.float32)
    return a, np.clip(a + rng.normal(0, 0.3, a.shape), 0, 1).astype(np.float32)


def person(side: int = 96) -> np.ndarray:
    return picture(side).astype(np.float32) / 255


@pytest.fixture
def original(monkeypatch):
    """The network of the package in torch; what it imports beside is not needed to run it."""
    torch = pytest.importorskip("torch")
    for name in ("torchvision", "torchvision.models", "torchsummary", "IPython"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    from stlpips_pytorch.stlpips import LPIPS

    net = LPIPS(net="alex", variant="shift_tolerant", verbose=False)

    def measure(a: np.ndarray, b: np.ndarray) -> float:
        with torch.no_grad():
            return net(*(torch.from_numpy(v).permute(2, 0, 1)[None] for v in (a, b)), normalize=True).item()

    yield measure
    for name in [name for name in sys.modules if name.startswith("stlpips_pytorch")]:
        del sys.modules[name]


@needs_weights
@pytest.mark.parametrize("shape", [(64, 64), (97, 131), (perceptual.MIN_SIDE_PX, perceptual.MIN_SIDE_PX), (40, 96)])
def test_equal_to_the_original(original, shape):
    a, b = noisy(shape)
    assert distance(a, b) == pytest.approx(original(a, b), abs=1e-6)
    sketch = person(max(shape))[: shape[0], : shape[1]]
    moved = np.roll(sketch, 3, 1)
    assert original(sketch, moved) > 1e-3
    assert distance(sketch, moved) == pytest.approx(original(sketch, moved), abs=1e-6)


@needs_weights
def test_features_are_computed_once_and_compared_with_many():
    a, b = noisy((48, 48))
    found = features(np.stack([a, b, a]))
    assert found.dtype == np.float32 and found.shape[0] == 3
    one = distances(found[0], found)
    assert one == pytest.approx([0, distance(a, b), 0], abs=1e-7)
    assert distances(found[[0, 0]], found[[1, 2]]) == pytest.approx([distance(a, b), 0], abs=1e-7)
    assert distances(found[0], features(np.zeros((0, 48, 48, 3), np.float32)).reshape(0, found.shape[1])).shape == (0,)


@needs_weights
def test_layers_are_unit_vectors_times_weights():
    a, _ = noisy((64, 64))
    found = layers(a[None])
    assert [m.shape[1] for m in found] == [64, 192, 384, 256, 256]
    assert all((m >= 0).all() and np.isfinite(m).all() for m in found)
    longest = [float(np.linalg.norm(m, axis=1).max()) for m in found]
    assert min(longest) > 0.05 and max(longest) < 0.32**0.5


@needs_weights
def test_order_of_what_eyes_see():
    truth = person()
    moved = np.roll(truth, 1, 1)
    blurred = gaussian_filter(truth.astype(np.float64), 3.0, 9, (0, 1), mirror=True).astype(np.float32)
    grey = np.full_like(truth, 0.5)
    found = [distance(truth, other) for other in (truth, moved, blurred, grey)]
    assert found[0] == 0 and found == sorted(found) and len(set(found)) == 4
    assert found[1] < 0.5 * found[2], "the measure tolerates shifts"


@needs_weights
def test_wrong_pictures_are_refused():
    with pytest.raises(ValueError, match=r"at least 21 px, got shape \(1, 20, 64, 3\)"):
        layers(np.zeros((1, 20, 64, 3), np.float32))
    with pytest.raises(ValueError, match="one shape"):
        distance(np.zeros((32, 32, 3), np.float32), np.zeros((32, 33, 3), np.float32))


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda package: None)
    with pytest.raises(SomacastError, match=r"^the perceptual measure needs the package stlpips_pytorch.*\[bench\]"):
        perceptual.weights_file()
    monkeypatch.setattr(extras, "find_spec", lambda package: None if package == "onnx" else package)
    perceptual._model.cache_clear()
    with pytest.raises(SomacastError, match=r"needs the package onnx: pip install 'somacast\[bench\]'"):
        perceptual._model()


def test_other_weights_are_refused(monkeypatch, tmp_path):
    (tmp_path / "w.pth").write_bytes(b"others")
    monkeypatch.setattr(perceptual, "weights_file", lambda: tmp_path / "w.pth")
    monkeypatch.setattr(perceptual, "require", lambda *_: None)
    perceptual._model.cache_clear()
    with pytest.raises(SomacastError, match="expected the weights of stlpips-pytorch 0.0.2, SHA-256 b356b382f960, got"):
        perceptual._model()


def test_union_square():
    truth, result = np.full((40, 60, 3), 0.9, np.float32), np.full((40, 60, 3), 0.2, np.float32)
    union = np.zeros((40, 60), bool)
    union[5:35, 20:30] = True
    a, b = union_square(truth, result, union, 90, background=0.5)
    assert a.shape == b.shape == (90, 90, 3) and a.dtype == np.float32
    assert a[45, 45] == pytest.approx(0.9) and b[45, 45] == pytest.approx(0.2)
    assert a[45, 5] == pytest.approx(0.5) and b[2, 88] == pytest.approx(0.5)
    assert a[2, 45] == pytest.approx(0.9), "the box is as high as the square"
    assert np.count_nonzero(a[45, :, 0] > 0.7) == pytest.approx(30, abs=1)
    whole, _ = union_square(truth, result, np.zeros_like(union), 60)
    assert whole[30, 30] == pytest.approx(0.9) and whole[2, 30] == pytest.approx(0.5)


def test_shrinking_averages():
    stripes = np.zeros((96, 96, 3), np.float32)
    stripes[:, ::2] = 1
    shrunk, _ = union_square(stripes, stripes, np.ones((96, 96), bool), 24)
    assert shrunk[4:-4, 4:-4] == pytest.approx(0.5, abs=0.05)


def torch_file(content: object, protocol: int = 2) -> bytes:
    head = [pickle.dumps(MAGIC, protocol), pickle.dumps(FORMAT_VERSION, protocol), pickle.dumps({}, protocol)]
    return b"".join([*head, pickle.dumps(content, protocol), pickle.dumps([], protocol)])


def test_torch_files_are_read_as_torch_reads_them():
    torch = pytest.importorskip("torch")
    stream = io.BytesIO()
    state = OrderedDict(a=torch.arange(6.0).reshape(2, 3), b=torch.tensor([7.0]))
    torch.save(state, stream, _use_new_zipfile_serialization=False)
    found = read_torch_file(stream.getvalue())
    assert list(found) == ["a", "b"] and found["a"].dtype == np.float32
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and found["b"].tolist() == [7]
    with pytest.raises(ValueError, match="numbers in a storage"):
        read_torch_file(stream.getvalue()[:-2])
    stream = io.BytesIO()
    torch.save({"a": torch.arange(6.0).reshape(2, 3).T}, stream, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="whole blocks"):
        read_torch_file(stream.getvalue())


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("content", [Evil(), {"a": Evil()}, {"a": 1}, [1, 2], "text"])
def test_nothing_else_is_unpickled(content, capsys):
    with pytest.raises(ValueError, match="expected"):
        read_torch_file(torch_file(content))
    assert capsys.readouterr().out == ""


def test_other_files_are_no_torch_files():
    for data in (b"", b"PK\x03\x04 a zip", pickle.dumps(12, 2)):
        with pytest.raises(ValueError, match="expected a weights file"):
            read_torch_file(data)
