"""The landmark network of the sender: a TensorFlow Lite file of convolutions to ONNX with 16-bit weights.

    pip download --no-deps mediapipe==0.10.21   # a wheel is a zip: modules/pose_landmark/pose_landmark_full.tflite
    python -m somacast.training.landmark_conversion pose_landmark_full.tflite landmarks.onnx

Only the operators that this network has are known; what the asked outputs do not need (its segmentation) is left out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

OUTPUTS = {"landmarks": "Identity", "world": "Identity_4", "score": "Identity_1"}  # ours: theirs
_ACTIVATIONS = {0: "Identity", 1: "Relu", 3: "Clip"}
_TYPES = {0: np.float32, 1: np.float16, 2: np.int32}


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
                self.constants[index] = data.view(_TYPES[tensor.Type()]).reshape(self.shape(index))
        self.made: dict[int, tuple[str, list[int], Any]] = {}  # output tensor: operator, its inputs, its options
        for index in range(self.graph.OperatorsLength()):
            operator = self.graph.Operators(index)
            code = self.model.OperatorCodes(operator.OpcodeIndex())
            name = codes[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            inputs, output = operator.InputsAsNumpy().tolist(), int(operator.OutputsAsNumpy()[0])
            if name == "DEQUANTIZE":
                self.constants[output] = self.constants[inputs[0]].astype(np.float32)
            else:
                self.made[output] = name, inputs, operator.BuiltinOptions()
        self.nodes: list[Any] = []
        self.tables: list[Any] = []

    def shape(self, index: int) -> tuple[int, ...]:
        tensor = self.graph.Tensors(index)
        return tuple(tensor.ShapeAsNumpy().tolist()) if tensor.ShapeLength() else ()

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

        if array.dtype == np.float32 and array.ndim:
            self.tables.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float16), name + "_half"))
            self.node("Cast", [name + "_half"], name, to=TensorProto.FLOAT)
        else:
            self.tables.append(numpy_helper.from_array(np.asarray(array), name))
        return name

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
        elif name == "LOGISTIC":
            self.node("Sigmoid", [source], target)
        else:
            raise ValueError(f"expected a network of convolutions, got the operator {name}")


def _needed(made: dict[int, tuple[str, list[int], Any]], wanted: list[int]) -> list[int]:
    """Tensors that the wanted ones are made of, in an order in which they can be made."""
    order: list[int] = []

    def visit(tensor: int) -> None:
        if tensor in made and tensor not in order:
            for source in made[tensor][1]:
                visit(source)
            order.append(tensor)

    for tensor in wanted:
        visit(tensor)
    return order


def convert(source: Path, target: Path) -> None:
    """Write the ONNX twin of a TFLite landmark network. ValueError for operators that it does not know."""
    import onnx
    from onnx import TensorProto, helper

    graph = _Graph(source.read_bytes())
    plain = graph.graph
    outputs = {plain.Tensors(t).Name().decode(): int(t) for t in plain.OutputsAsNumpy()}
    wanted = {ours: outputs[theirs] for ours, theirs in OUTPUTS.items()}
    first = int(plain.Inputs(0))
    graph.node("Identity", ["image"], f"t{first}")
    for tensor in _needed(graph.made, list(wanted.values())):
        graph.write(tensor)
    for name, tensor in wanted.items():
        graph.node("Identity", [f"t{tensor}"], name)
    _, height, width, channels = graph.shape(first)
    form: Callable[..., Any] = helper.make_tensor_value_info
    fed = form("image", TensorProto.FLOAT, ["B", channels, height, width])
    given = [form(name, TensorProto.FLOAT, ["B", graph.shape(tensor)[-1]]) for name, tensor in wanted.items()]
    whole = helper.make_graph(graph.nodes, "landmarks", [fed], given, graph.tables)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
