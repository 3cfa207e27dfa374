"""How different two pictures look: shift-tolerant LPIPS (Ghildyal and Liu 2022, arXiv:2207.13686), without torch.

The network is the AlexNet of the package stlpips-pytorch 0.0.2, "shift_tolerant", trained from scratch by its authors.
Only the weights of the package are used: a small reader takes them out of their file, the graph is built here and ONNX
Runtime runs it. Pictures are float32 sRGB in [0, 1].
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from somacast.errors import SomacastError
from somacast.extras import require
from somacast.metrics.image import mask_box
from somacast.metrics.torch_file import read_torch_file
from somacast.weights.sessions import session_of

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

PACKAGE = "stlpips_pytorch"
WEIGHTS = Path("weights", "vST0.0", "alex_shift_tolerant.pth")
WEIGHTS_SHA256 = "b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee"
SQUARE_PX = 192
MIN_SIDE_PX = 21  # below, the last map is too small for its border of two mirrored pixels
_NORM_FLOOR = 1e-10
_WHAT = "the perceptual measure"


def features(images: np.ndarray, threads: int = 2) -> np.ndarray:
    """Where pictures stand in the space of the measure: images [N, H, W, 3] in [0, 1] to [N, D] float32.

    The squared distance of two rows is the ST-LPIPS of their pictures. D is set by the size, 1.5 million at 192 px.
    Raises SomacastError if the packages of the extra `bench` are missing, ValueError for pictures of another shape.
    """
    rows = []
    for image in images:  # one at a time is as fast as many, and takes less memory
        maps = layers(image[None], threads)
        rows.append(np.concatenate([m.ravel() * np.float32((m.shape[2] * m.shape[3]) ** -0.5) for m in maps]))
    return np.stack(rows) if rows else np.zeros((0, 0), np.float32)


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """ST-LPIPS [N] float64 from features a [N, D], or [D] of one picture, and b [N, D] of pictures of the same size."""
    pairs = np.broadcast_to(a, b.shape)
    return np.array([_squared(x - y) for x, y in zip(pairs, b, strict=True)])


def distance(truth: np.ndarray, result: np.ndarray, threads: int = 2) -> float:
    """ST-LPIPS of two pictures [H, W, 3] in [0, 1]; 0 for equal ones, about 0.5 for a person and a grey mannequin."""
    if truth.shape != result.shape:
        raise ValueError(f"expected two pictures of one shape, got {truth.shape} and {result.shape}")
    pair = features(np.stack([truth, result]), threads)
    return float(distances(pair[0], pair[1:])[0])


def _squared(difference: np.ndarray) -> float:
    return float(np.vdot(difference, difference))


def layers(images: np.ndarray, threads: int = 2) -> list[np.ndarray]:
    """The five layers of pictures [N, H, W, 3] in [0, 1], each [N, C, h, w] float32: unit length over the channels of
    a pixel, then each channel times the root of its weight in the measure."""
    if images.ndim != 4 or images.shape[3] != 3 or min(images.shape[1:3]) < MIN_SIDE_PX:
        raise ValueError(f"expected pictures [N, H, W, 3] of at least {MIN_SIDE_PX} px, got shape {images.shape}")
    return _session(threads).run(None, {"images": np.ascontiguousarray(images, np.float32)})


def union_square(
    truth: np.ndarray, result: np.ndarray, union: np.ndarray, size_px: int = SQUARE_PX, background: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """What of two pictures [H, W, 3] is compared: the box of union [H, W] bool, where either shows the person, padded
    to a square with the background and resized. Two pictures [size_px, size_px, 3] float32; of an empty union, the
    whole pictures."""
    box = mask_box(union) or (slice(0, union.shape[0]), slice(0, union.shape[1]))
    return _square(truth[box], size_px, background), _square(result[box], size_px, background)


def _square(image: np.ndarray, size_px: int, background: float) -> np.ndarray:
    height, width = image.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), background, np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image
    # Pillow averages over what a pixel covers when it shrinks; it resizes floats one channel at a time
    channels = [
        Image.fromarray(np.ascontiguousarray(square[..., k])).resize((size_px, size_px), Image.Resampling.BILINEAR)
        for k in range(3)
    ]
    return np.stack([np.asarray(channel, np.float32) for channel in channels], 2)


def weights_file() -> Path:
    """Where the package has its weights; it is not imported, as that needs torch and more. SomacastError if it is not
    installed."""
    require(PACKAGE, _WHAT)
    spec = find_spec(PACKAGE)
    assert spec is not None
    for folder in spec.submodule_search_locations or ():
        if (Path(folder) / WEIGHTS).is_file():
            return Path(folder) / WEIGHTS
    raise SomacastError(f"expected {WEIGHTS} in the package {PACKAGE}, found nothing: install stlpips-pytorch 0.0.2")


@lru_cache(maxsize=1)
def _model() -> bytes:
    require("onnx", _WHAT, "bench")
    data = weights_file().read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != WEIGHTS_SHA256:
        raise SomacastError(
            f"expected the weights of stlpips-pytorch 0.0.2, SHA-256 {WEIGHTS_SHA256[:12]}, got {found[:12]}"
        )
    return build_model(read_torch_file(data))


@lru_cache(maxsize=4)
def _session(threads: int) -> InferenceSession:
    return session_of(_model(), threads=threads)


class _Graph:
    """Nodes and weights of an ONNX graph in the making; every method gives the name of its result."""

    def __init__(self, weights: dict[str, np.ndarray]):
        from onnx import numpy_helper

        self.array = numpy_helper.from_array
        self.nodes: list[Any] = []
        self.constants = dict(weights)

    def constant(self, name: str, values: np.ndarray) -> str:
        self.constants[name] = values
        return name

    def add(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = name or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def conv(self, x: str, name: str, padding: int) -> str:
        return self.add("Conv", x, f"{name}.weight", f"{name}.bias", pads=[padding] * 4)

    def blur(self, x: str, name: str) -> str:
        """Half the size: the border mirrored by two pixels, then a 3 x 3 binomial of every second pixel."""
        mirrored = self.add("Pad", x, self.constant("mirror", np.array([0, 0, 2, 2, 0, 0, 2, 2])), mode="reflect")
        return self.add("Conv", mirrored, f"{name}.filt", strides=[2, 2], group=len(self.constants[f"{name}.filt"]))

    def weighted(self, x: str, number: int) -> None:
        """A layer of the measure: unit length over the channels, each channel times the root of its weight."""
        length = self.add("ReduceL2", x, self.constant("channels", np.array([1])), keepdims=1)
        floored = self.add("Add", length, self.constant("floor", np.array(_NORM_FLOOR, np.float32)))
        root = self.constant(f"root{number}", np.sqrt(self.constants[f"lin{number}.model.1.weight"]))
        self.add("Mul", self.add("Div", x, floored), root, name=f"layer{number}")

    def model(self) -> bytes:
        from onnx import TensorProto, helper

        used = {name for node in self.nodes for name in node.input} & set(self.constants)
        picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", "h", "w", 3])
        outputs = [
            helper.make_tensor_value_info(f"layer{k}", TensorProto.FLOAT, ["n", None, None, None]) for k in range(5)
        ]
        constants = [self.array(self.constants[name], name) for name in sorted(used)]
        graph = helper.make_graph(self.nodes, "stlpips", [picture], outputs, constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        return made.SerializeToString()


def build_model(weights: dict[str, np.ndarray]) -> bytes:
    """The network as an ONNX model: `images` [n, h, w, 3] in [0, 1] to `layer0` to `layer4`, see `layers`.

    weights: arrays of the package's file by their names there. Written after the AlexNet of the package, variant
    "shift_tolerant": strides are a blur after the convolution, and max pooling moves by one pixel.
    """
    g = _Graph(weights)
    scale, shift = weights["scaling_layer.scale"], weights["scaling_layer.shift"]  # of pictures in [-1, 1]
    x = g.add("Transpose", "images", perm=[0, 3, 1, 2])
    x = g.add("Mul", x, g.constant("gain", 2 / scale))
    x = g.add("Add", x, g.constant("offset", (-1 - shift) / scale))
    x = g.add("Relu", g.blur(g.conv(x, "net.slice1.0", 2), "net.slice1.1"))
    g.weighted(x, 0)
    x = g.blur(g.add("MaxPool", x, kernel_shape=[3, 3]), "net.slice2.4")
    x = g.add("Relu", g.conv(x, "net.slice2.5", 2))
    g.weighted(x, 1)
    x = g.blur(g.add("MaxPool", x, kernel_shape=[3, 3]), "net.slice3.8")
    for number, name in ((2, "net.slice3.9"), (3, "net.slice4.11"), (4, "net.slice5.13")):
        x = g.add("Relu", g.conv(x, name, 1))
        g.weighted(x, number)
    return g.model()
