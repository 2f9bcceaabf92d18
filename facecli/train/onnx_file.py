"""A network of PyTorch as an ONNX file whose numbers are halves, in the file or in a safetensors beside it.

What a network in eight bits rounds, kernels too, becomes a pair of QuantizeLinear and DequantizeLinear. onnxruntime
works out those of constants as it loads the file, and makes of each convolution between such pairs one of integers.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxscript import opset20 as op
from torch import Tensor, nn

from facecli.rounding import LEVELS


def exported(network: nn.Module, example: tuple[Tensor, ...], **options: Any) -> ModelProto:
    """The network as torch's exporter writes it. options: of torch.onnx.export.

    Nothing is optimised: that would fold what a network makes of its parameters, which are to stay apart. Raises
    RuntimeError when nothing is written.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch deprecates what its own exporter calls
        program = torch.onnx.export(
            network,
            example,
            dynamo=True,
            optimize=False,
            verbose=False,
            custom_translation_table={torch.ops.facecli.rounded.default: _rounded},
            **options,
        )
    if program is None:
        raise RuntimeError("torch exported nothing")
    model: ModelProto = program.model_proto
    round_biases(model)
    return model


def _rounded(x: Any, step: Any, zero: Any, levels: int) -> Any:
    """`facecli.rounding.rounded` in ONNX: what passes between layers in unsigned bytes, kernels in signed ones."""
    if levels == LEVELS:
        zero = op.Cast(zero, to=TensorProto.UINT8)
        return op.DequantizeLinear(op.QuantizeLinear(x, step, zero), step, zero)
    zero = op.Cast(op.Mul(step, 0.0), to=TensorProto.INT8)
    return op.DequantizeLinear(op.QuantizeLinear(x, step, zero, axis=0), step, zero, axis=0)


def round_biases(model: ModelProto) -> None:
    """Round the biases of convolutions of bytes to the steps of their sums, the product of both factors' steps.

    Those are so fine that nothing changes, but onnxruntime computes in integers only where the bias is one too.
    """
    maker = {output: node for node in model.graph.node for output in node.output}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        factors = [maker.get(name) for name in node.input[:2]]
        if node.op_type == "Conv" and all(f is not None and f.op_type == "DequantizeLinear" for f in factors):
            given, kernel = (factor.input[1] for factor in factors if factor is not None)
            name = f"{node.output[0]}.bias"
            nodes += [
                helper.make_node("Mul", [given, kernel], [f"{name}.step"]),
                helper.make_node("Div", [node.input[2], f"{name}.step"], [f"{name}.steps"]),
                helper.make_node("Round", [f"{name}.steps"], [f"{name}.round"]),
                helper.make_node("Cast", [f"{name}.round"], [f"{name}.whole"], to=TensorProto.INT32),
                helper.make_node("DequantizeLinear", [f"{name}.whole", f"{name}.step"], [name], axis=0),
            ]
            node.input[2] = name
        nodes.append(node)
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)


def store_as_halves(model: ModelProto, names: set[str], outside: Mapping[str, str]) -> None:
    """Make the float initializers of these names fp16, cast on loading; and leave out the exporter's remarks.

    outside: the files that hold some of them, by name; the model names those and has only their shapes. Raises
    RuntimeError where the exporter has renamed or folded one of these.
    """
    kept, casts = [], []
    for tensor in model.graph.initializer:
        if tensor.name not in names or tensor.data_type != TensorProto.FLOAT:
            kept.append(tensor)
            continue
        half = f"{tensor.name}.half"
        casts.append(helper.make_node("Cast", [half], [tensor.name], to=TensorProto.FLOAT))
        if tensor.name in outside:
            stub = TensorProto(name=half, dims=tensor.dims, data_type=TensorProto.FLOAT16)
            stub.data_location = TensorProto.EXTERNAL
            stub.external_data.add(key="location", value=outside[tensor.name])
            kept.append(stub)
        else:
            kept.append(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), half))
    if missing := outside.keys() - {cast.output[0] for cast in casts}:
        raise RuntimeError(f"the exporter renamed or folded {sorted(missing)}")
    nodes = list(model.graph.node)
    for field in ("initializer", "node", "value_info"):
        model.graph.ClearField(field)
    model.graph.initializer.extend(kept)
    model.graph.node.extend(casts + nodes)
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.doc_string = ""
