"""ONNX: one file, a free batch dimension, normalised or raw images in, logits out."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from fastvit_cli.atomic import replaced_when_done
from fastvit_cli.checkpoints.metadata import METADATA_KEY, ModelInfo
from fastvit_cli.exporters.export_options import ExportConfig
from fastvit_cli.exporters.outputs import Calibration
from fastvit_cli.models.network import FastViT
from fastvit_cli.runtimes.checksum import BLANK, CHECKSUM_KEY, add_checksum
from fastvit_cli.runtimes.onnx_conversion import INPUT, output_name, to_onnx

if TYPE_CHECKING:
    import onnx

SNIPPET = (
    "import onnxruntime",
    'session = onnxruntime.InferenceSession($path)\n(output,) = session.run(None, {"images": images})',
)


def write(
    network: FastViT, info: ModelInfo, path: Path, config: ExportConfig, calibration: Calibration | None
) -> tuple[str, ...]:
    """Write one self-contained file; it appears whole or not at all.

    Input and output are those of `runtimes.onnx_conversion.to_onnx`, whatever the precision inside. The metadata is
    one JSON text under `fastvit` in the model's properties, the checksum another entry.

    Raises:
        FastViTError: the folder cannot be written.
        WorkFailedError: PyTorch's exporter failed.
    """
    with replaced_when_done(path) as temporary:
        model, notes = _converted(network, info, config, calibration)
        model.metadata_props.add(key=CHECKSUM_KEY, value=BLANK)
        # Protobuf promises no order of its maps unless asked.
        temporary.write_bytes(model.SerializeToString(deterministic=True))
        add_checksum(temporary)
    return notes


def _converted(
    network: FastViT, info: ModelInfo, config: ExportConfig, calibration: Calibration | None
) -> "tuple[onnx.ModelProto, tuple[str, ...]]":
    convert = functools.partial(to_onnx, info=info, image_input=config.image_input, opset=config.opset)
    if config.resolved_precision != "int8":
        return convert(network, half=config.resolved_precision == "fp16"), ()
    from fastvit_cli.exporters.onnx_int8 import quantize

    assert calibration is not None
    return quantize(convert(network), calibration)


def inspect(path: Path, info: ModelInfo, _network: FastViT, config: ExportConfig) -> tuple[str, ...]:
    """What is wrong with the file's structure or interface; empty when nothing is.

    Weights are left to the comparison on images: in float32 it is sharp enough to see them.
    """
    import onnx

    model = onnx.load(path)
    problems = []
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        problems.append(f"onnx.checker: {str(error).splitlines()[0]}")
    size = info.preprocessing.img_size
    expected_in = ["batch", size, size, 3] if config.image_input else ["batch", 3, size, size]
    expected_out = ["batch", info.num_classes or None]
    for role, values, name, expected in (
        ("input", model.graph.input, INPUT, expected_in),
        ("output", model.graph.output, output_name(info), expected_out),
    ):
        found = [(value.name, _shape(value)) for value in values]
        same = len(found) == 1 and found[0][0] == name and len(found[0][1]) == len(expected)
        if not same or any(want not in (None, have) for want, have in zip(expected, found[0][1], strict=True)):
            problems.append(f"the {role} is {found}, not {name} {expected}")
    properties = {item.key: item.value for item in model.metadata_props}
    if properties.get(METADATA_KEY) != info.to_json():
        problems.append("the metadata is not what was written")
    return tuple(problems)


def _shape(value: "onnx.ValueInfoProto") -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
