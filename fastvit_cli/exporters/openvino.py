"""OpenVINO: an `.xml` with the graph and, beside it, a `.bin` with the weights."""

from pathlib import Path

import torch

from fastvit_cli.atomic import replaced_when_done
from fastvit_cli.checkpoints.metadata import METADATA_KEY, ModelInfo
from fastvit_cli.errors import conversion_failed
from fastvit_cli.exporters.check import inspect_metadata
from fastvit_cli.exporters.export_options import ExportConfig
from fastvit_cli.exporters.outputs import Calibration
from fastvit_cli.models.network import FastViT
from fastvit_cli.runtimes.checksum import BLANK, CHECKSUM_KEY, add_checksum
from fastvit_cli.runtimes.onnx_conversion import INPUT, output_name
from fastvit_cli.runtimes.quiet import quiet_libraries

SNIPPET = (
    "import openvino",
    'exactly = {"INFERENCE_PRECISION_HINT": "f32"}  # or a CPU that has bfloat16 takes that\n'
    'model = openvino.compile_model($path, "CPU", exactly)\noutput = model(images)[0]',
)
inspect = inspect_metadata


def write(
    network: FastViT, info: ModelInfo, path: Path, config: ExportConfig, _calibration: Calibration | None = None
) -> tuple[str, ...]:
    """Write graph and weights: normalised float32 images (batch, 3, H, W) to logits or the embedding.

    The batch size is free; fp16 stores the weights so, and leaves the arithmetic to the device. The metadata is the
    `fastvit` entry of the model's rt_info, beside the checksum.

    Raises:
        FastViTError: the folder cannot be written.
        WorkFailedError: the conversion failed.
    """
    import openvino

    size = info.preprocessing.img_size
    with quiet_libraries():
        try:
            model = openvino.convert_model(network, example_input=torch.zeros(2, 3, size, size))
        except Exception as error:  # see `conversion_failed`
            raise conversion_failed("OpenVINO could not convert the network", error) from error
    model.set_friendly_name(f"fastvit_{info.variant}")  # else the number of the model in this process
    model.reshape([-1, 3, size, size])
    model.input(0).set_names({INPUT})
    model.output(0).set_names({output_name(info)})
    model.set_rt_info(info.to_json(), [METADATA_KEY])
    model.set_rt_info(BLANK, [CHECKSUM_KEY])
    # The weights first: an `.xml` that is there is complete.
    with replaced_when_done(path) as graph, replaced_when_done(path.with_suffix(".bin")) as weights:
        openvino.save_model(model, graph, compress_to_fp16=config.resolved_precision == "fp16")
        add_checksum(graph)
        graph.with_suffix(".bin").replace(weights)
    return ()
