"""Networks of others for the sender: TensorFlow Lite files of convolutions to ONNX with 16-bit weights.

    pip download --no-deps mediapipe==0.10.21   # a wheel is a zip; the networks lie in modules/
    python -m somacast.training.tflite_conversion landmarks pose_landmark/pose_landmark_full.tflite landmarks.onnx
    python -m somacast.training.tflite_conversion detector pose_detection/pose_detection.tflite detector.onnx

Only the operators that these networks have are known; what no output needs is left out. ONNX Runtime computes a whole
graph whatever it is asked for, so outputs on request stand in the branch of an If.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Network:
    """What is taken of a TFLite network, ours: theirs. outputs: always computed; on_request: only if the input
    "with_NAME" [1] bool says so, otherwise empty."""

    outputs: dict[str, str]
    on_request: dict[str, str] = field(default_factory=dict)


LANDMARKS = Network(
    {"landmarks": "Identity", "world": "Identity_4", "score": "Identity_1"}, on_request={"mask": "Identity_2"}
)
DETECTOR = Network({"boxes": "Identity", "scores": "Identity_1"})
NETWORKS = {"landmarks": LANDMARKS, "detector": DETECTOR}
_ACTIVATIONS = {0: "Identity", 1: "Relu", 3: "Clip"}
MAX_FILLED = 0.8  # share of a constant's places from which on all are stored
_TYPES = {0: np.float32, 1: np.float16, 2: np.int32}


def _dense(values: np.ndarray, sparsity: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The whole of a tensor of which only the blocks that are not 0 are stored (TFLite's SparsityParameters).

    Its axes, and those inside a block, are walked in the stored order; a sparse axis lists the places that are there.
    """
    order, inner = sparsity.TraversalOrderAsNumpy(), sparsity.BlockMapAsNumpy()
    inner = inner if isinstance(inner, np.ndarray) else np.zeros(0, np.int64)
    block = np.ones(len(shape), np.int64)
    nodes = np.zeros((1, len(order)), np.int64)  # places of the walk so far, along the stored axes
    numbers = np.zeros(1, np.int64)  # which of the stored rows each of them is
    for step, axis in enumerate(order):
        metadata = sparsity.DimMetadata(step)
        if metadata.Format() == 0:
            size = metadata.DenseSize()
            if axis >= len(shape):
                block[inner[axis - len(shape)]] = size
            places = np.tile(np.arange(size), len(nodes))
            counts = np.full(len(nodes), size)
            numbers = (numbers[:, None] * size + np.arange(size)).reshape(-1)
        else:
            ends, listed = _integers(metadata.ArraySegments), _integers(metadata.ArrayIndices)
            counts = ends[numbers + 1] - ends[numbers]
            numbers = np.concatenate([np.arange(ends[n], ends[n + 1]) for n in numbers])
            places = listed[numbers]
        nodes = np.repeat(nodes, counts, 0)
        nodes[:, axis] = places
    at = nodes[:, : len(shape)].copy()
    for k, axis in enumerate(inner):
        at[:, axis] = at[:, axis] * block[axis] + nodes[:, len(shape) + k]
    out = np.zeros(shape, values.dtype)
    out[tuple(at.T)] = values[numbers]
    return out


def _integers(field: Callable[[], Any]) -> np.ndarray:
    """A vector of a sparse axis; field: the accessor of its table."""
    import tflite

    owner: Any = field.__self__  # type: ignore[attr-defined]
    kind = getattr(owner, f"{field.__name__}Type")()
    name = {1: "Int32Vector", 2: "Uint16Vector", 3: "Uint8Vector"}[kind]
    vector, table = getattr(tflite, name)(), field()
    vector.Init(table.Bytes, table.Pos)
    return np.asarray(vector.ValuesAsNumpy(), np.int64)


class _Graph:
    """One TFLite graph being written as ONNX; tensors turn from [N, H, W, C] to [N, C, H, W]."""

    def __init__(self, content: bytes):
        import tflite

        # its generated accessors may all return None by their types
        self.tflite: Any = tflite
        self.model: Any = self.tflite.Model.GetRootAsModel(content, 0)
        self.graph: Any = self.model.Subgraphs(0)
        codes = {v: k for k, v in vars(self.tflite.BuiltinOperator).items() if not k.startswith("_")}
        self.constants: dict[int, np.ndarray] = {}
        for index in range(self.graph.TensorsLength()):
            tensor = self.graph.Tensors(index)
            data = self.model.Buffers(tensor.Buffer()).DataAsNumpy()
            if not isinstance(data, int):
                values, sparsity = data.view(_TYPES[tensor.Type()]), tensor.Sparsity()
                shape = self.shape(index)
                self.constants[index] = _dense(values, sparsity, shape) if sparsity else values.reshape(shape)
        self.made: dict[int, tuple[str, list[int], Any]] = {}  # output tensor: operator, its inputs, its options
        for index in range(self.graph.OperatorsLength()):
            operator = self.graph.Operators(index)
            code = self.model.OperatorCodes(operator.OpcodeIndex())
            name = codes[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            inputs, output = operator.InputsAsNumpy().tolist(), int(operator.OutputsAsNumpy()[0])
            if name in ("DEQUANTIZE", "DENSIFY"):  # sparse tensors are made whole where they are read
                self.constants[output] = self.constants[inputs[0]].astype(np.float32)
            else:
                self.made[output] = name, inputs, operator.BuiltinOptions()
        self.nodes: list[Any] = []
        self.tables: list[Any] = []

    def shape(self, index: int) -> tuple[int, ...]:
        tensor = self.graph.Tensors(index)
        return tuple(tensor.ShapeAsNumpy().tolist()) if tensor.ShapeLength() else ()

    def form(self, index: int) -> list[Any]:
        """Shape of a tensor as ONNX has it, for any batch."""
        _, *rest = self.shape(index)
        return ["B", rest[-1], *rest[:-1]] if len(rest) == 3 else ["B", *rest]

    def options(self, kind: str, table: Any) -> Any:
        out = getattr(self.tflite, kind)()
        out.Init(table.Bytes, table.Pos)
        return out

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    def table(self, name: str, array: np.ndarray | np.generic) -> str:
        """A constant; float32 is kept as 16 bit and widened when the network is loaded."""
        from onnx import TensorProto, numpy_helper

        if array.dtype != np.float32 or not array.ndim:
            self.tables.append(numpy_helper.from_array(np.asarray(array), name))
            return name
        half = np.ascontiguousarray(array, np.float16)
        if np.count_nonzero(half) < MAX_FILLED * half.size:
            self.sparse_table(f"{name}_half", half)
        else:
            self.tables.append(numpy_helper.from_array(half, f"{name}_half"))
        self.node("Cast", [f"{name}_half"], name, to=TensorProto.FLOAT)
        return name

    def sparse_table(self, name: str, array: np.ndarray) -> None:
        """A constant of many zeros: a bit for each place, which says whether its value follows, and the values. ONNX
        Runtime makes it whole when the network is loaded."""
        from onnx import TensorProto, numpy_helper

        filled = array.reshape(-1) != 0
        bits = np.packbits(filled, bitorder="little")
        parts = {
            "bits": bits[:, None],
            "places": np.arange(8, dtype=np.uint8),
            "two": np.array(2, np.uint8),
            "flat": np.array([-1]),
            "axis": np.array(0),
            "start": np.array([0]),
            "count": np.array([array.size]),
            "shape": np.array(array.shape),
            "values": np.concatenate([np.zeros(1, array.dtype), array.reshape(-1)[filled]]),
        }
        for part, values in parts.items():
            self.tables.append(numpy_helper.from_array(values, f"{name}_{part}"))
        steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
            ("BitShift", ["bits", "places"], "shifted", {"direction": "RIGHT"}),
            ("Mod", ["shifted", "two"], "each", {}),
            ("Cast", ["each"], "whether", {"to": TensorProto.INT64}),
            ("Reshape", ["whether", "flat"], "padded", {}),
            ("Slice", ["padded", "start", "count"], "filled", {}),
            ("CumSum", ["filled", "axis"], "counted", {}),
            ("Mul", ["counted", "filled"], "number", {}),
            ("Gather", ["values", "number"], "list", {}),
        ]
        for kind, inputs, output, options in steps:
            self.node(kind, [f"{name}_{part}" for part in inputs], f"{name}_{output}", **options)
        self.node("Reshape", [f"{name}_list", f"{name}_shape"], name)

    def branch(self, name: str, output: int, there: list[int]) -> None:
        """An output that is computed only if the input "with_NAME" is true; there: tensors that are written already."""
        from onnx import TensorProto, helper, numpy_helper

        above, self.nodes, self.tables = (self.nodes, self.tables), [], []
        for tensor in _needed(self.made, [output], there):
            self.write(tensor)
        self.node("Identity", [f"t{output}"], f"{name}_asked")
        form: Any = helper.make_tensor_value_info
        shapes = [form(f"{name}_{answer}", TensorProto.FLOAT, self.form(output)) for answer in ("asked", "empty")]
        asked = helper.make_graph(self.nodes, f"{name}_asked", [], shapes[:1], self.tables)
        nothing = numpy_helper.from_array(np.zeros((0, *self.form(output)[1:]), np.float32), f"{name}_nothing")
        node = helper.make_node("Identity", [f"{name}_nothing"], [f"{name}_empty"])
        empty = helper.make_graph([node], f"{name}_empty", [], shapes[1:], [nothing])
        self.nodes, self.tables = above
        self.node("If", [f"with_{name}"], name, then_branch=asked, else_branch=empty)

    def activate(self, kind: int, source: str, target: str) -> None:
        bounds = []
        if _ACTIVATIONS[kind] == "Clip":
            bounds = [self.table(target + "_low", np.float32(0)), self.table(target + "_high", np.float32(6))]
        self.node(_ACTIVATIONS[kind], [source, *bounds], target)

    def convolution(self, output: int, inputs: list[int], table: Any, depthwise: bool) -> None:
        o = self.options("DepthwiseConv2DOptions" if depthwise else "Conv2DOptions", table)
        weight = self.constants[inputs[1]].transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
        steps = (o.StrideH(), o.StrideW())
        before, after = [], []
        for axis in (0, 1):  # "same" padding is one longer behind where it is odd
            have, want = self.shape(inputs[0])[1 + axis], self.shape(output)[1 + axis]
            total = max((want - 1) * steps[axis] + weight.shape[2 + axis] - have, 0) if o.Padding() == 0 else 0
            before.append(total // 2)
            after.append(total - total // 2)
        fed = [f"t{inputs[0]}", self.table(f"w{output}", weight), self.table(f"b{output}", self.constants[inputs[2]])]
        self.node("Conv", fed, f"t{output}_plain", strides=list(steps), pads=before + after,
                  kernel_shape=list(weight.shape[2:]), group=len(weight) if depthwise else 1)  # fmt: skip
        self.activate(o.FusedActivationFunction(), f"t{output}_plain", f"t{output}")

    def write(self, output: int) -> None:
        """The nodes of one tensor."""
        name, inputs, table = self.made[output]
        source, target = f"t{inputs[0]}", f"t{output}"
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            self.convolution(output, inputs, table, name != "CONV_2D")
        elif name == "ADD":
            self.node("Add", [source, f"t{inputs[1]}"], target + "_plain")
            self.activate(self.options("AddOptions", table).FusedActivationFunction(), target + "_plain", target)
        elif name == "PAD":
            width = self.constants[inputs[1]][[0, 3, 1, 2]].astype(np.int64)
            self.node("Pad", [source, self.table(f"p{output}", width.T.reshape(-1))], target)
        elif name == "MAX_POOL_2D":
            o = self.options("Pool2DOptions", table)
            self.node("MaxPool", [source], target, kernel_shape=[o.FilterHeight(), o.FilterWidth()],
                      strides=[o.StrideH(), o.StrideW()])  # fmt: skip
        elif name == "RESIZE_BILINEAR":
            o = self.options("ResizeBilinearOptions", table)
            places = "align_corners" if o.AlignCorners() else "half_pixel" if o.HalfPixelCenters() else "asymmetric"
            pairs = zip(self.shape(inputs[0])[1:3], self.shape(output)[1:3], strict=True)
            scales = np.array([1, 1, *(b / a for a, b in pairs)])
            self.node("Cast", [self.table(f"s{output}_wide", scales)], f"s{output}", to=1)
            self.node(
                "Resize", [source, "", f"s{output}"], target, mode="linear", coordinate_transformation_mode=places
            )
        elif name == "RESHAPE" and self.shape(inputs[0])[1:3] == (1, 1):
            self.node("Flatten", [source], target)
        elif name == "RESHAPE" and len(self.shape(inputs[0])) == 4 and len(self.shape(output)) == 3:
            self.node("Transpose", [source], target + "_last", perm=[0, 2, 3, 1])
            rows = self.table(f"r{output}", np.array([0, -1, self.shape(output)[-1]]))
            self.node("Reshape", [target + "_last", rows], target)
        elif name == "CONCATENATION" and len(self.shape(output)) == 3:
            axis = self.options("ConcatenationOptions", table).Axis()
            self.node("Concat", [f"t{t}" for t in inputs], target, axis=axis)
        elif name == "DEPTH_TO_SPACE":
            size = self.options("DepthToSpaceOptions", table).BlockSize()
            self.node("DepthToSpace", [source], target, blocksize=size, mode="DCR")
        elif name == "LOGISTIC":
            self.node("Sigmoid", [source], target)
        else:
            raise ValueError(f"expected a network of convolutions, got the operator {name}")


def _needed(made: dict[int, tuple[str, list[int], Any]], wanted: Iterable[int], there: Iterable[int] = ()) -> list[int]:
    """Tensors that the wanted ones are made of, beside those that are there, in an order in which they can be made."""
    order: list[int] = list(there)
    start = len(order)

    def visit(tensor: int) -> None:
        if tensor in made and tensor not in order:
            for source in made[tensor][1]:
                visit(source)
            order.append(tensor)

    for tensor in wanted:
        visit(tensor)
    return order[start:]


def convert(source: Path, target: Path, network: Network) -> None:
    """Write the ONNX twin of a TFLite network: image [B, C, H, W] to its outputs.

    ValueError for operators that it does not know.
    """
    import onnx
    from onnx import TensorProto, helper

    graph = _Graph(source.read_bytes())
    plain = graph.graph
    number = {plain.Tensors(t).Name().decode(): int(t) for t in plain.OutputsAsNumpy()}
    form: Callable[..., Any] = helper.make_tensor_value_info
    first = int(plain.Inputs(0))
    graph.node("Identity", ["image"], f"t{first}")
    fed = [form("image", TensorProto.FLOAT, graph.form(first))]
    always = _needed(graph.made, [number[theirs] for theirs in network.outputs.values()])
    for tensor in always:
        graph.write(tensor)
    for ours, theirs in network.outputs.items():
        graph.node("Identity", [f"t{number[theirs]}"], ours)
    for ours, theirs in network.on_request.items():
        fed.append(form(f"with_{ours}", TensorProto.BOOL, [1]))
        graph.branch(ours, number[theirs], always)
    named = network.outputs | network.on_request
    given = [form(ours, TensorProto.FLOAT, graph.form(number[theirs])) for ours, theirs in named.items()]
    whole = helper.make_graph(graph.nodes, target.stem, fed, given, graph.tables)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


if __name__ == "__main__":
    convert(Path(sys.argv[2]), Path(sys.argv[3]), NETWORKS[sys.argv[1]])
