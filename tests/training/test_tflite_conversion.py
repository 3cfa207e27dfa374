"""Networks of others: from TensorFlow Lite to ONNX, operator by operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from somacast.training.tflite_conversion import LANDMARKS, Network, convert
from somacast.weights.sessions import session_of

RELU, RELU6 = 1, 3
SAME, VALID = 0, 1


class Lite:
    """Writes a TFLite file, tensor by tensor and operator by operator; tensors are [N, H, W, C]."""

    def __init__(self) -> None:
        import flatbuffers
        import tflite

        self.lib, self.builder = tflite, flatbuffers.Builder(0)
        self.tensors: list[int] = []
        self.buffers: list[int] = [self._buffer(None)]
        self.codes: list[int] = []
        self.operators: list[int] = []

    def _buffer(self, array: np.ndarray | None) -> int:
        data = None if array is None else self.builder.CreateNumpyVector(np.frombuffer(array.tobytes(), np.uint8))
        self.lib.BufferStart(self.builder)
        if data is not None:
            self.lib.BufferAddData(self.builder, data)
        return self.lib.BufferEnd(self.builder)

    def _table(self, kind: str, fields: dict[str, Any]) -> int:
        getattr(self.lib, f"{kind}Start")(self.builder)
        for name, value in fields.items():
            getattr(self.lib, f"{kind}Add{name}")(self.builder, value)
        return getattr(self.lib, f"{kind}End")(self.builder)

    def _numbers(self, values: Any) -> int:
        return self.builder.CreateNumpyVector(np.asarray(values, np.int32))

    def _vector(self, offsets: list[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return self.builder.EndVector()

    def tensor(self, name: str, shape: tuple[int, ...], array: np.ndarray | None = None) -> int:
        kinds = {"float32": "FLOAT32", "float16": "FLOAT16", "int32": "INT32"}
        kind = getattr(self.lib.TensorType, kinds[str(array.dtype)]) if array is not None else 0
        if array is not None:
            self.buffers.append(self._buffer(array))
        fields = {"Shape": self._numbers(shape), "Type": kind, "Name": self.builder.CreateString(name)}
        fields["Buffer"] = len(self.buffers) - 1 if array is not None else 0
        self.tensors.append(self._table("Tensor", fields))
        return len(self.tensors) - 1

    def sparse(self, array: np.ndarray) -> int:
        """Weights [out, 1, 1, in] of which only those that are not 0 are stored, row by row."""
        columns = np.nonzero(array)[3]
        ends = np.concatenate([[0], np.cumsum(np.count_nonzero(array[:, 0, 0], 1))])
        listed = [self._table("Uint8Vector", {"Values": self._bytes(part)}) for part in (ends, columns)]
        kind = self.lib.SparseIndexVector.Uint8Vector
        fields = {"Format": 1, "ArraySegmentsType": kind, "ArraySegments": listed[0]}
        fields |= {"ArrayIndicesType": kind, "ArrayIndices": listed[1]}
        sizes = [{"DenseSize": size} for size in array.shape[:3]]
        axes = [self._table("DimensionMetadata", one) for one in (*sizes, fields)]
        made = {"TraversalOrder": self._numbers(range(4)), "DimMetadata": self._vector(axes)}
        number = self.constant(array)
        self.buffers[-1] = self._buffer(array[array != 0])
        fields = {"Shape": self._numbers(array.shape), "Type": 0, "Name": self.builder.CreateString("sparse")}
        fields |= {"Buffer": len(self.buffers) - 1, "Sparsity": self._table("SparsityParameters", made)}
        self.tensors[number] = self._table("Tensor", fields)
        return number

    def _bytes(self, values: np.ndarray) -> int:
        return self.builder.CreateNumpyVector(values.astype(np.uint8))

    def constant(self, array: np.ndarray) -> int:
        return self.tensor(f"constant{len(self.tensors)}", array.shape, array)

    def operator(self, code: str, inputs: list[int], output: int, kind: str = "", **options: Any) -> int:
        number = getattr(self.lib.BuiltinOperator, code)
        fields = {"DeprecatedBuiltinCode": min(number, 127), "BuiltinCode": number}
        self.codes.append(self._table("OperatorCode", fields))
        fields = {"OpcodeIndex": len(self.codes) - 1, "Inputs": self._numbers(inputs)}
        fields["Outputs"] = self._numbers([output])
        if kind:
            fields["BuiltinOptions"] = self._table(kind, options)
            fields["BuiltinOptionsType"] = getattr(self.lib.BuiltinOptions, kind)
        self.operators.append(self._table("Operator", fields))
        return output

    def save(self, path: Path, first: int, outputs: list[int]) -> Path:
        fields = {
            "Tensors": self._vector(self.tensors),
            "Inputs": self._numbers([first]),
            "Outputs": self._numbers(outputs),
            "Operators": self._vector(self.operators),
        }
        graph = self._vector([self._table("SubGraph", fields)])
        fields = {"Version": 3, "OperatorCodes": self._vector(self.codes), "Subgraphs": graph}
        fields["Buffers"] = self._vector(self.buffers)
        self.builder.Finish(self._table("Model", fields), b"TFL3")
        path.write_bytes(bytes(self.builder.Output()))
        return path


def coarse(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Weights that 16 bit hold exactly."""
    return (rng.integers(-8, 9, shape) / 8).astype(np.float32)


def same_padded(x: np.ndarray, size: int, step: int) -> np.ndarray:
    """[H, W, C] padded as TensorFlow does for "same": the odd row and column behind."""
    widths = []
    for have in x.shape[:2]:
        total = max((-(-have // step) - 1) * step + size - have, 0)
        widths.append((total // 2, total - total // 2))
    return np.pad(x, (*widths, (0, 0)))


def windows(x: np.ndarray, size: int, step: int) -> np.ndarray:
    """[H, W, C] to [H', W', C, size, size]."""
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), (0, 1))[::step, ::step]


def enlarged(x: np.ndarray) -> np.ndarray:
    """[H, W, C] to twice the size, bilinear between pixel centres, straight from the definition."""
    for axis in (0, 1):
        at = np.clip((np.arange(2 * x.shape[axis]) + 0.5) / 2 - 0.5, 0, x.shape[axis] - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, x.shape[axis] - 1)
        share = (at - low).reshape([-1 if k == axis else 1 for k in range(3)])
        x = np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
    return x


OUTPUTS = LANDMARKS.outputs


def run_onnx(path: Path, images: np.ndarray, with_mask: bool = False) -> list[np.ndarray]:
    fed = {"image": images, "with_mask": np.array([with_mask])}
    return [np.asarray(x) for x in session_of(str(path)).run([*OUTPUTS, "mask"], fed)]


def tiny_weights() -> dict[str, np.ndarray]:
    """Kernels as TFLite holds them: [out, height, width, in], depthwise [1, height, width, channels]; biases."""
    rng = np.random.default_rng(0)
    kernels = {"one": coarse(rng, 4, 3, 3, 3), "two": 4 * coarse(rng, 1, 5, 5, 4)}
    kernels |= {"Identity": coarse(rng, 5, 4, 4, 6), "Identity_4": coarse(rng, 2, 4, 4, 6)}
    kernels["Identity_1"] = coarse(rng, 1, 4, 4, 6)
    biases = {f"{k}_bias": coarse(rng, 4 if k in ("one", "two") else len(w)) for k, w in kernels.items()}
    return kernels | biases


def tiny_file(path: Path, weights: dict[str, np.ndarray]) -> Path:
    """conv "same" by 2 with odd padding + relu, depthwise + relu6, add, pad, max-pool, enlarge, two heads, reshape."""
    lite = Lite()
    by_one, by_two = {"StrideW": 1, "StrideH": 1}, {"StrideW": 2, "StrideH": 2}
    image = lite.tensor("input", (1, 8, 8, 3))
    half = lite.constant(weights["one"].astype(np.float16))
    wide = lite.operator("DEQUANTIZE", [half], lite.tensor("wide", weights["one"].shape))
    fed, out = [image, wide, lite.constant(weights["one_bias"])], lite.tensor("one", (1, 4, 4, 4))
    one = lite.operator("CONV_2D", fed, out, "Conv2DOptions", Padding=SAME, FusedActivationFunction=RELU, **by_two)
    fed, out = [one, *(lite.constant(weights[k]) for k in ("two", "two_bias"))], lite.tensor("two", (1, 4, 4, 4))
    options: dict[str, Any] = {"Padding": SAME, "DepthMultiplier": 1, "FusedActivationFunction": RELU6} | by_one
    two = lite.operator("DEPTHWISE_CONV_2D", fed, out, "DepthwiseConv2DOptions", **options)
    out = lite.tensor("sum", (1, 4, 4, 4))
    total = lite.operator("ADD", [one, two], out, "AddOptions", FusedActivationFunction=RELU)
    fed = [total, lite.constant(np.array([[0, 0], [0, 0], [0, 0], [0, 2]], np.int32))]
    more = lite.operator("PAD", fed, lite.tensor("more", (1, 4, 4, 6)), "PadOptions")
    options = {"Padding": VALID, "FilterWidth": 2, "FilterHeight": 2} | by_two
    small = lite.operator("MAX_POOL_2D", [more], lite.tensor("small", (1, 2, 2, 6)), "Pool2DOptions", **options)
    fed, out = [small, lite.constant(np.array([4, 4], np.int32))], lite.tensor("large", (1, 4, 4, 6))
    large = lite.operator("RESIZE_BILINEAR", fed, out, "ResizeBilinearOptions", HalfPixelCenters=True)
    flat = []
    for name in OUTPUTS.values():
        kernel, bias = weights[name], weights[f"{name}_bias"]
        fed = [large, lite.constant(kernel), lite.constant(bias)]
        out = lite.tensor(f"{name}_map", (1, 1, 1, len(bias)))
        head = lite.operator("CONV_2D", fed, out, "Conv2DOptions", Padding=VALID, **by_one)
        if name == "Identity_1":
            head = lite.operator("LOGISTIC", [head], lite.tensor("share", (1, 1, 1, len(bias))))
        fed = [head, lite.constant(np.array([1, len(bias)], np.int32))]
        flat.append(lite.operator("RESHAPE", fed, lite.tensor(name, (1, len(bias))), "ReshapeOptions"))
    unused = lite.operator("TANH", [large], lite.tensor("Identity_3", (1, 4, 4, 6)))  # nobody asks for it
    mask = lite.operator("LOGISTIC", [large], lite.tensor("Identity_2", (1, 4, 4, 6)))  # made only on request
    return lite.save(path, image, [unused, mask, *flat[::-1]])


def test_converted_network_computes_what_the_file_says(tmp_path: Path) -> None:
    weights = tiny_weights()
    convert(tiny_file(tmp_path / "net.tflite", weights), tmp_path / "net.onnx", LANDMARKS)
    images = np.random.default_rng(1).uniform(0, 1, (3, 3, 8, 8)).astype(np.float32)
    *got, mask = run_onnx(tmp_path / "net.onnx", images, with_mask=True)
    assert [x.shape for x in got] == [(3, 5), (3, 2), (3, 1)] and mask.shape == (3, 6, 4, 4)
    *same, nothing = run_onnx(tmp_path / "net.onnx", images)
    assert nothing.shape == (0, 6, 4, 4) and all(np.array_equal(a, b) for a, b in zip(got, same, strict=True))
    for row, picture in enumerate(images.transpose(0, 2, 3, 1).astype(np.float64)):
        one = np.einsum("hwcij,oijc->hwo", windows(same_padded(picture, 3, 2), 3, 2), weights["one"])
        one = one + weights["one_bias"]
        assert one.min() < 0 < one.max()
        one = one.clip(0)
        two = np.einsum("hwcij,ijc->hwc", windows(same_padded(one, 5, 1), 5, 1), weights["two"][0])
        two = two + weights["two_bias"]
        assert two.min() < 0 and two.max() > 6  # both ends of the clip are met
        total = one + two.clip(0, 6)
        pooled = windows(np.pad(total, ((0, 0), (0, 0), (0, 2))), 2, 2).max((-2, -1))
        expected = 1 / (1 + np.exp(-enlarged(pooled))).transpose(2, 0, 1)
        np.testing.assert_allclose(mask[row], expected, rtol=1e-4, atol=1e-4)
        for out, name in zip(got, OUTPUTS.values(), strict=True):
            expected = np.einsum("hwc,ohwc->o", enlarged(pooled), weights[name]) + weights[f"{name}_bias"]
            if name == "Identity_1":
                expected = 1 / (1 + np.exp(-expected))
            np.testing.assert_allclose(out[row], expected, rtol=1e-4, atol=1e-4)


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    lite = Lite()
    image = lite.tensor("input", (1, 1, 1, 4))
    one = lite.operator("TANH", [image], lite.tensor("one", (1, 1, 1, 4)))
    names = [*OUTPUTS.values(), *LANDMARKS.on_request.values()]
    outputs = [lite.operator("RESHAPE", [one], lite.tensor(name, (1, 4)), "ReshapeOptions") for name in names]
    source = lite.save(tmp_path / "net.tflite", image, outputs)
    with pytest.raises(ValueError, match="expected a network of convolutions, got the operator TANH"):
        convert(source, tmp_path / "net.onnx", LANDMARKS)
    assert not (tmp_path / "net.onnx").exists()


def test_sparse_weights_and_grids_of_answers(tmp_path: Path) -> None:
    """What the detector has: weights without their zeros, depth to space, two grids reshaped and put together."""
    rng, lite = np.random.default_rng(3), Lite()
    flat = np.where(rng.random((8, 5)) < 0.3, coarse(rng, 8, 5), 0).astype(np.float32)
    assert np.count_nonzero(flat) and not flat.all()
    image = lite.tensor("input", (1, 2, 2, 5))
    whole = lite.operator("DENSIFY", [lite.sparse(flat[:, None, None])], lite.tensor("whole", (8, 1, 1, 5)))
    bias = coarse(rng, 8)
    fed, out = [image, whole, lite.constant(bias)], lite.tensor("one", (1, 2, 2, 8))
    one = lite.operator("CONV_2D", fed, out, "Conv2DOptions", Padding=VALID, StrideW=1, StrideH=1)
    large = lite.operator(
        "DEPTH_TO_SPACE", [one], lite.tensor("large", (1, 4, 4, 2)), "DepthToSpaceOptions", BlockSize=2
    )
    lists = []
    for source, cells in ((large, 16), (one, 16)):
        shape = lite.constant(np.array([1, cells, 2], np.int32))
        lists.append(lite.operator("RESHAPE", [source, shape], lite.tensor("list", (1, cells, 2)), "ReshapeOptions"))
    both = lite.operator("CONCATENATION", lists, lite.tensor("both", (1, 32, 2)), "ConcatenationOptions", Axis=1)
    source = lite.save(tmp_path / "net.tflite", image, [both])
    convert(source, tmp_path / "net.onnx", Network({"answers": "both"}))
    images = rng.uniform(-1, 1, (3, 5, 2, 2)).astype(np.float32)
    (got,) = session_of(str(tmp_path / "net.onnx")).run(["answers"], {"image": images})
    for row, picture in enumerate(images.transpose(0, 2, 3, 1).astype(np.float64)):
        seen = picture @ flat.T.astype(np.float64) + bias
        grown = seen.reshape(2, 2, 2, 2, 2).transpose(0, 2, 1, 3, 4)  # row, column, two by two places, channels
        np.testing.assert_allclose(np.asarray(got)[row, :16], grown.reshape(16, 2), atol=1e-5)
        np.testing.assert_allclose(np.asarray(got)[row, 16:], seen.reshape(16, 2), atol=1e-5)
