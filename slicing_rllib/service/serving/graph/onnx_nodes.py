"""Nodes and constants of an ONNX graph while it is written."""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class OnnxNodes:
    """The nodes and constants of a graph; each method adds a node and returns its output's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: object, dtype: type = np.float64) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, operation: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        output = name or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [output], **attributes))
        return output

    def scale(self, x: str, factor: float) -> str:
        return self.add("Mul", x, self.constant(factor))

    def sum(self, x: str, axis: int, keepdims: bool) -> str:
        return self.add("ReduceSum", x, self.constant([axis], np.int64), keepdims=int(keepdims))

    def where(self, condition: str, yes: str, no: str) -> str:
        return self.add("Where", condition, yes, no)

    def cast(self, x: str, kind: int, name: str | None = None) -> str:
        return self.add("Cast", x, name=name, to=kind)

    def is_positive(self, x: str) -> str:
        return self.add("Greater", x, self.constant(0.0))

    def expand(self, x: str, axis: int) -> str:
        return self.add("Unsqueeze", x, self.constant([axis], np.int64))
