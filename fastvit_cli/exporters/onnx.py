"""ONNX: one file, a free batch dimension, normalised images in, logits out."""

from pathlib import Path

from fastvit_cli.atomic import replaced_when_done
from fastvit_cli.checkpoints.metadata import METADATA_KEY, ModelInfo
from fastvit_cli.models.network import FastViT
from fastvit_cli.runtimes.onnx_conversion import INPUT, output_name, to_onnx


def write(network: FastViT, info: ModelInfo, path: Path, precision: str) -> None:
    """Write one self-contained file; it appears whole or not at all.

    Input `images`: float32 (batch, 3, H, W), normalised. Output `logits` or `embedding`: float32 (batch, …).
    The metadata is one JSON text under `fastvit` in the model's properties.

    Raises:
        FastViTError: the folder cannot be written.
        WorkFailedError: PyTorch's exporter failed.
    """
    import onnx

    assert precision == "fp32"
    with replaced_when_done(path) as temporary:
        onnx.save(to_onnx(network, info), temporary)


def inspect(path: Path, info: ModelInfo, _network: FastViT) -> tuple[str, ...]:
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
    expected_in, expected_out = ["batch", 3, size, size], ["batch", info.num_classes or None]
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


def _shape(value: "onnx.ValueInfoProto") -> list[int | str]:  # type: ignore[name-defined]  # noqa: F821
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
