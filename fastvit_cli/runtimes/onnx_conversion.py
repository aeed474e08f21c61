"""A network as an ONNX graph, in memory: what `export` writes, and what ONNX Runtime can run in PyTorch's place."""

from typing import TYPE_CHECKING

import torch

from fastvit_cli.checkpoints.metadata import METADATA_KEY, ModelInfo
from fastvit_cli.errors import WorkFailedError
from fastvit_cli.models.network import FastViT
from fastvit_cli.runtimes.quiet import quiet_libraries
from fastvit_cli.version import __version__

if TYPE_CHECKING:
    import onnx

INPUT = "images"


def output_name(info: ModelInfo) -> str:
    """`logits`, or `embedding` of a model without a classifier."""
    return "logits" if info.num_classes else "embedding"


def to_onnx(network: FastViT, info: ModelInfo) -> "onnx.ModelProto":
    """The network as it is, best all fused, with a free batch dimension and weights inside.

    Input `images`: float32 (batch, 3, H, W), normalised. Output `logits` or `embedding`: float32 (batch, …).
    The metadata is one JSON text under `fastvit` in the model's properties.

    Raises:
        WorkFailedError: PyTorch's exporter failed.
    """
    import onnx

    size = info.preprocessing.img_size
    example = torch.zeros(2, 3, size, size)  # 2: torch.export takes a batch of 1 for a constant
    with quiet_libraries():
        try:
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                external_data=False,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=[INPUT],
                output_names=[output_name(info)],
                verbose=False,
            )
        except Exception as error:  # torch raises many types here, none of them documented
            raise WorkFailedError(
                f"PyTorch could not export the network to ONNX ({type(error).__name__}).",
                "Run again with --verbose and report the traceback.",
            ) from error
    assert program is not None
    model = program.model_proto
    _forget_source(model)
    model.producer_name, model.producer_version = "fastvit", __version__
    model.doc_string = f"fastvit_{info.variant}"
    onnx.helper.set_model_props(model, {METADATA_KEY: info.to_json()})
    return model


def _forget_source(model: "onnx.ModelProto") -> None:
    """Drop what the exporter notes on every node: stack traces with the paths of this machine."""
    graph = model.graph
    del graph.metadata_props[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
