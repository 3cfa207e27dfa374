"""Trained networks as the ONNX files that ship: what ONNX Runtime runs, with all that torch needs to read them back."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from somacast.files import write_atomically
from somacast.weights.arrays import SCALE

# Weights of more values than this count as 16-bit numbers wherever they are used, whatever they are stored as.
_MAX_WIDE = 256


def write_packed_onnx(
    net: nn.Module,
    inputs: tuple[Tensor, ...],
    input_names: list[str],
    names: list[str],
    arrays: dict[str, np.ndarray],
    path: Path,
    batched: bool = True,
) -> None:
    """Write a network as ONNX whose initialisers are `arrays`, its state as `somacast.weights.arrays.pack` gives it.

    All of them travel, also those that the graph does not use, so that the file holds the whole network. Nodes of the
    graph make 32-bit weights of them, and fold batch norms into convolutions; ONNX Runtime runs these once, when it
    loads the file. Needs the `onnx` package.
    """
    from onnx import numpy_helper

    model = _exported(net, inputs, input_names, names, batched)
    weights = _Weights(arrays)
    # torch writes equal parameters once and lets the others be copies of it; here each has its own array
    body = [node for node in model.graph.node if not set(node.output) & set(arrays)]
    body = _fold_batch_norms(body, weights)
    for node in body:
        for k, name in enumerate(node.input):
            if name in arrays:
                node.input[k] = weights.rounded(weights.wide(name), arrays[name].size)
    used = {name for node in body for name in node.input}
    others = [w for w in model.graph.initializer if w.name in used and w.name not in arrays]
    del model.graph.initializer[:]
    model.graph.initializer.extend(others)
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in weights.stored.items())
    _write(model, [*weights.nodes, *body], path)


class _Weights:
    """Stored arrays and the nodes that make 32-bit weights of them. Every method gives the name of its result."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        self.nodes, self.made = [], set()
        self.stored = {}
        for name, array in arrays.items():
            if name.endswith(SCALE):
                rank = arrays[name.removesuffix(SCALE)].ndim
                array = array.reshape(-1, *[1] * (rank - 1))
            elif array.dtype == np.float16 and array.size <= _MAX_WIDE:
                array = array.astype(np.float32)  # a node more would cost more than it saves
            self.stored[name] = array

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """A node, unless there is one with that output."""
        from onnx import helper

        if output not in self.made:
            self.made.add(output)
            self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        """An initialiser that is no weight."""
        self.stored[name] = value
        return name

    def wide(self, name: str) -> str:
        """A weight in 32 bits."""
        from onnx import TensorProto

        if self.stored[name].dtype not in (np.float16, np.int8):
            return name
        scaled = name + SCALE in self.stored
        out = self.node("Cast", [name], f"{name}/{'steps' if scaled else 'wide'}", to=TensorProto.FLOAT)
        return self.node("Mul", [out, name + SCALE], f"{name}/wide") if scaled else out

    def rounded(self, value: str, size: int) -> str:
        """A 32-bit value as what 16 bits hold of it, if it is that of many."""
        from onnx import TensorProto

        name = value.removesuffix("/wide")
        if size <= _MAX_WIDE or (name in self.stored and self.stored[name].dtype == np.float16):
            return value
        half = self.node("Cast", [value], f"{name}/half", to=TensorProto.FLOAT16)
        return self.node("Cast", [half], f"{name}/rounded", to=TensorProto.FLOAT)


def _fold_batch_norms(nodes: list[Any], weights: _Weights) -> list[Any]:
    """The nodes without batch norms after convolutions, whose weights are computed from those of both."""
    makers = {name: node for node in nodes for name in node.output}
    left = []
    for node in nodes:
        if node.op_type != "BatchNormalization":
            left.append(node)
            continue
        conv = makers[node.input[0]]
        gamma, beta, mean, variance = (weights.wide(name) for name in node.input[1:])
        kernel, name = conv.input[1], node.input[1].removesuffix(".weight")
        epsilon = next(a.f for a in node.attribute if a.name == "epsilon")
        eps = weights.constant("epsilon", np.array(epsilon, np.float32))
        column = weights.constant("column", np.array([-1, 1, 1, 1], np.int64))
        std = weights.node("Sqrt", [weights.node("Add", [variance, eps], f"{name}/variance")], f"{name}/std")
        gain = weights.node("Div", [gamma, std], f"{name}/gain")
        tall = weights.node("Reshape", [gain, column], f"{name}/column")
        folded = weights.node("Mul", [weights.wide(kernel), tall], f"{kernel}/folded")
        if len(conv.input) > 2:
            mean = weights.node("Sub", [mean, weights.wide(conv.input[2])], f"{name}/mean")
        offset = weights.node("Sub", [beta, weights.node("Mul", [mean, gain], f"{name}/shift")], f"{name}/offset")
        inputs = [conv.input[0], weights.rounded(folded, weights.stored[kernel].size), offset]
        del conv.input[:]
        conv.input.extend(inputs)
        conv.output[0] = node.output[0]
    return left


def _exported(
    net: nn.Module, inputs: tuple[Tensor, ...], input_names: list[str], names: list[str], batched: bool
) -> Any:
    """The network as torch exports it, all parameters initialisers under their own names."""
    import onnx

    stream = io.BytesIO()
    torch.onnx.export(
        net.eval(), inputs, cast(Any, stream), dynamo=False, opset_version=17,
        input_names=input_names, output_names=names, do_constant_folding=False,
        training=torch.onnx.TrainingMode.PRESERVE,
        dynamic_axes={name: {0: "batch"} for name in [*input_names, *names]} if batched else None,
    )  # fmt: skip
    return onnx.load_from_string(stream.getvalue())


def _write(model: Any, nodes: list[Any], path: Path) -> None:
    import onnx

    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.producer_name, model.doc_string = "somacast", path.stem
    for node in model.graph.node:
        node.doc_string = ""
    onnx.checker.check_model(model)
    write_atomically(path, model.SerializeToString())
