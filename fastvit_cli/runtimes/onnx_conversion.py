"""A network as an ONNX graph, in memory: what `export` writes, and what ONNX Runtime can run in PyTorch's place."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fastvit_cli.checkpoints.metadata import METADATA_KEY, ModelInfo
from fastvit_cli.errors import conversion_failed
from fastvit_cli.models.channels_first import channels_first
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.runtimes.quiet import quiet_libraries
from fastvit_cli.version import __version__

if TYPE_CHECKING:
    import onnx

INPUT = "images"
_WRAPPED = "network."  # where `_AsExported` keeps it
OPSET = 20  # the first with GELU as one operation


def output_name(info: ModelInfo) -> str:
    """`logits`, or `embedding` of a model without a classifier."""
    return "logits" if info.num_classes else "embedding"


class PixelNormalization(nn.Module):
    """Pixels (B, 3, H, W) of 0 to 255 to what the network was trained to see.

    Zero padding comes after the normalisation, so it cannot be folded into the first convolution. It is written as
    (x - 255 mean) * 1 / (255 std): whole numbers up to 255 are exact in float16, x / 255 is not.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        mean = torch.tensor(preprocessing.mean, dtype=torch.float64).reshape(1, 3, 1, 1)
        std = torch.tensor(preprocessing.std, dtype=torch.float64).reshape(1, 3, 1, 1)
        self.register_buffer("mean", (255.0 * mean).float())
        self.register_buffer("scale", (1.0 / (255.0 * std)).float())

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels - self.mean) * self.scale


class _AsExported(nn.Module):
    """The network between the input and output types of the file: float32, or raw uint8 images, in; float32 out."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, half: bool, image_input: bool) -> None:
        super().__init__()
        self.network = network.half() if half else network
        self.half_inside = half
        self.normalization = PixelNormalization(preprocessing) if image_input else None

    def forward(self, images: Tensor) -> Tensor:
        if self.normalization is not None:
            # Contiguous: channels-last strides would be traced into the graph, down to the pooling.
            images = self.normalization(images.permute(0, 3, 1, 2).float().contiguous())
        out: Tensor = self.network(images.half() if self.half_inside else images)
        return out.float() if self.half_inside else out


def to_onnx(
    network: FastViT, info: ModelInfo, *, half: bool = False, image_input: bool = False, opset: int = OPSET
) -> "onnx.ModelProto":
    """The network, best all fused, with channels-first attention, a free batch dimension and weights inside.

    Input `images`: float32 (batch, 3, H, W), normalised, or with `image_input` raw uint8 (batch, H, W, 3), RGB.
    Output `logits` or `embedding`: float32 (batch, …). The metadata is one JSON text under `fastvit` in the
    model's properties.

    Args:
        half: weights and arithmetic in float16; input and output stay what they are.

    Raises:
        WorkFailedError: PyTorch's exporter failed.
    """
    import onnx

    size = info.preprocessing.img_size
    # 2: torch.export takes a batch of 1 for a constant.
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8) if image_input else torch.zeros(2, 3, size, size)
    wrapped = _AsExported(channels_first(network), info.preprocessing, half, image_input)
    with quiet_libraries():
        try:
            program = torch.onnx.export(
                wrapped.eval(),
                (example,),
                dynamo=True,
                external_data=False,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=[INPUT],
                output_names=[output_name(info)],
                opset_version=opset,
                verbose=False,
            )
        except Exception as error:  # see `conversion_failed`
            raise conversion_failed("PyTorch could not export the network to ONNX", error) from error
    assert program is not None
    model = program.model_proto
    _forget_source(model)
    _name_weights_as_the_network_does(model)
    model.producer_name, model.producer_version = "fastvit", __version__
    model.doc_string = f"fastvit_{info.variant}"
    onnx.helper.set_model_props(model, {METADATA_KEY: info.to_json()})
    return model


def _name_weights_as_the_network_does(model: "onnx.ModelProto") -> None:
    """`stages.0.…` in place of `network.stages.0.…`: the wrapper is nobody's business."""
    names = {weight.name: weight.name.removeprefix(_WRAPPED) for weight in model.graph.initializer}
    for weight in model.graph.initializer:
        weight.name = names[weight.name]
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]


def _forget_source(model: "onnx.ModelProto") -> None:
    """Drop what the exporter notes on every node: stack traces with the paths of this machine."""
    graph = model.graph
    del graph.metadata_props[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
