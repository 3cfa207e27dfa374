"""Networks as ONNX from stored arrays: ONNX Runtime gives what torch gives, and torch gets every array back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from somacast.training.onnx_export import write_packed_onnx  # noqa: E402
from somacast.weights.arrays import SCALE, pack, read_onnx, unpack  # noqa: E402
from somacast.weights.sessions import session_of  # noqa: E402


class Net(nn.Module):
    """A convolution of each kind before a batch norm, equal parameters, wide ones, and one that forward leaves out."""

    def __init__(self):
        super().__init__()
        self.plain = nn.Sequential(nn.Conv2d(3, 40, 3, 1, 1, bias=False), nn.BatchNorm2d(40), nn.ReLU())
        self.biased = nn.Sequential(nn.Conv2d(40, 64, 3, 2, 1), nn.BatchNorm2d(64))
        self.norm, self.twin = nn.LayerNorm(64), nn.LayerNorm(64)  # equal: torch writes their weights once
        self.wide = nn.Linear(64, 320)
        self.narrow = nn.Linear(320, 5, bias=False)
        self.unused = nn.Linear(7, 3)

    def forward(self, image):
        x = self.biased(self.plain(image)).mean((2, 3))[:, None]
        return self.narrow(torch.tanh(self.wide(self.twin(self.norm(x)))))


def net_and_arrays() -> tuple[Net, dict[str, np.ndarray]]:
    """A network whose state is exactly what its stored arrays hold."""
    torch.manual_seed(0)
    net = Net().eval()
    for layer in (net.plain[1], net.biased[1]):
        nn.init.uniform_(layer.weight, 0.5, 2)
        nn.init.normal_(layer.bias)
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.2, 3)
    arrays = pack({k: v.numpy() for k, v in net.state_dict().items()}, ("running_",))
    net.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in unpack(arrays).items()})
    return net, arrays


def written(path: Path) -> tuple[Net, dict[str, np.ndarray]]:
    net, arrays = net_and_arrays()
    write_packed_onnx(net, (torch.rand(2, 3, 8, 8),), ["image"], ["out"], arrays, path)
    return net, arrays


def test_the_file_computes_what_the_network_does(tmp_path):
    net, _ = written(tmp_path / "net.onnx")
    image = torch.rand(3, 3, 8, 8)  # another batch than it was exported with
    (got,) = session_of(str(tmp_path / "net.onnx")).run(["out"], {"image": image.numpy()})
    with torch.inference_mode():
        expected = net(image).numpy()
    assert np.asarray(got).shape == expected.shape == (3, 1, 5)
    np.testing.assert_allclose(np.asarray(got), expected, atol=2e-3)  # weights count as 16-bit numbers


def test_every_array_comes_back_bit_for_bit(tmp_path):
    net, arrays = written(tmp_path / "net.onnx")
    assert any(name.endswith(SCALE) for name in arrays)
    tensors = unpack(read_onnx(tmp_path / "net.onnx"))
    state = net.state_dict()
    assert state.keys() <= tensors.keys()
    for name, tensor in state.items():
        assert np.array_equal(tensors[name], tensor.numpy()), name


def test_no_array_is_stored_wider_than_it_was_given(tmp_path):
    _, arrays = written(tmp_path / "net.onnx")
    stored = read_onnx(tmp_path / "net.onnx")
    large = {name: array for name, array in arrays.items() if array.size > 256}
    assert large and all(stored[name].dtype == array.dtype for name, array in large.items())
    assert sum(a.nbytes for a in stored.values()) < 1.1 * sum(a.nbytes for a in arrays.values()) + 4000


def test_batch_norms_are_folded(tmp_path):
    import onnx

    written(tmp_path / "net.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node]
    assert "BatchNormalization" not in kinds and kinds.count("Conv") == 2
