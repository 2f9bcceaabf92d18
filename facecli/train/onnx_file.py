"""A network of PyTorch as an ONNX file whose numbers are halves, in the file or in a safetensors beside it."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn


def exported(network: nn.Module, example: tuple[Tensor, ...], **options: Any) -> ModelProto:
    """The network as torch's exporter writes it. options: of torch.onnx.export.

    Nothing is optimised: that would fold what a network makes of its parameters, which are to stay apart. Raises
    RuntimeError when nothing is written.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch deprecates what its own exporter calls
        program = torch.onnx.export(network, example, dynamo=True, optimize=False, verbose=False, **options)
    if program is None:
        raise RuntimeError("torch exported nothing")
    model: ModelProto = program.model_proto
    return model


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
