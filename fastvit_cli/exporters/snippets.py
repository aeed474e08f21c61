"""The lines that load and run an exported file, with its preprocessing, for whoever gets it."""

import importlib
from pathlib import Path
from string import Template

from fastvit_cli.atomic import write_text
from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.data.resizing import resized_side
from fastvit_cli.exporters.export_options import ExportConfig
from fastvit_cli.formats import FORMATS
from fastvit_cli.names import printable

_FILTERS = {"bicubic": "BICUBIC", "bilinear": "BILINEAR", "nearest": "NEAREST"}

# Vision crops the middle square itself, which is what crop_pct 1 would mean.
_SWIFT_IMAGE = """\
import CoreML
import Vision

// $file is dragged into Xcode, which makes the class $class_name of it.
func run(on image: CGImage$orientation) throws {
    let model = try VNCoreMLModel(for: $class_name(configuration: MLModelConfiguration()).model)
    let request = VNCoreMLRequest(model: model)
    request.imageCropAndScaleOption = .centerCrop  // evaluated on the middle $size of a shorter side of $resize px
    try VNImageRequestHandler(cgImage: image$turned).perform([request])
    $result
}
"""
_SWIFT_CLASSIFIER = """for answer in (request.results as? [VNClassificationObservation] ?? []).prefix(5) {
        print(answer.identifier, answer.confidence)
    }"""
_SWIFT_VALUES = """let answers = request.results as? [VNCoreMLFeatureValueObservation]
    print(answers?.first?.featureValue.multiArrayValue as Any)  // $output"""

_SWIFT_TENSOR = """\
import CoreML

// $file is dragged into Xcode, which makes the class $class_name of it.
func run(on images: MLMultiArray) throws -> MLFeatureProvider {
    // images: float32 ($batch, 3, $size, $size), RGB, ${upright}the shorter side resized to $resize, the middle cut
    // out, (x / 255 - mean) / std with mean $mean and std $std.
    let model = try $class_name(configuration: MLModelConfiguration()).model
    return try model.prediction(from: MLDictionaryFeatureProvider(dictionary: ["images": images]))  // $output
}
"""

_PYTHON = """\
${standard}import numpy as np
$imports
from PIL import $pil

image = $opened.convert("RGB")
shorter = min(image.size)
image = image.resize([int($resize * side / shorter) for side in image.size], Image.Resampling.$filter)
left, top = (round((side - $size) / 2) for side in image.size)
pixels = np.asarray(image.crop((left, top, left + $size, top + $size)))
$prepare
$run
print($show)
"""
_NORMALIZE = (
    'images = ((pixels / 255 - $mean) / $std).astype("float32").transpose(2, 0, 1)[None]  # (1, 3, $size, $size)'
)
# By whether images are turned upright, as people mean them where the model's file does not say.
_EXIF = {
    True: {
        "pil": "Image, ImageOps",
        "opened": 'ImageOps.exif_transpose(Image.open("photo.jpg"))',
        "upright": "turned upright by EXIF, ",
        "orientation": ", orientation: CGImagePropertyOrientation",
        "turned": ", orientation: orientation",
    },
    False: {"pil": "Image", "opened": 'Image.open("photo.jpg")', "upright": "", "orientation": "", "turned": ""},
}

_NAMES = """
properties = session.get_modelmeta().custom_metadata_map
names = json.loads(properties["fastvit"])["class_names"]"""


def write_snippet(output: Path, info: ModelInfo, config: ExportConfig) -> tuple[Path, str]:
    """Write it beside the file; returns its path and text.

    Raises:
        FastViTError: the folder cannot be written.
    """
    text, path = snippet(output, info, config), snippet_path(output, config.format)
    write_text(path, text)
    return path, text


def snippet_path(output: Path, format_: str) -> Path:
    """Where the snippet of an exported file goes."""
    return output.with_name(output.name + (".swift" if format_ == "coreml" else ".py"))


def snippet(output: Path, info: ModelInfo, config: ExportConfig) -> str:
    """The text: Swift for Core ML, Python for the others."""
    preprocessing = info.preprocessing
    values = {
        "file": printable(output.name),
        "path": repr(output.name),
        "class_name": "".join(letter if letter.isalnum() else "_" for letter in output.stem),
        "size": str(preprocessing.img_size),
        "resize": str(resized_side(preprocessing.img_size, preprocessing.crop_pct)),
        "filter": _FILTERS.get(preprocessing.interpolation, "BICUBIC"),
        "batch": str(config.batch_size),
        "mean": str(list(preprocessing.mean)),
        "std": str(list(preprocessing.std)),
        **_EXIF[preprocessing.exif is not False],
        "output": "one logit for each class" if info.num_classes else "the pooled embedding",
    }
    if config.format == "coreml":
        return _swift(values, info, config)
    imports, run = importlib.import_module(FORMATS[config.format].exporter).SNIPPET
    values["standard"] = ""
    values["imports"] = imports
    prepare = "images = pixels[None]  # raw uint8" if config.image_input else _NORMALIZE
    values["prepare"] = Template(prepare).substitute(values)
    values["run"] = Template(run).substitute(values)
    values["show"] = "output[0].argmax()" if info.num_classes else "output.shape"
    if info.class_names is not None and config.format == "onnx":
        values["standard"] = "import json\n\n"
        values["run"] += _NAMES
        values["show"] = "names[output[0].argmax()]"
    return Template(_PYTHON).substitute(values)


def _swift(values: dict[str, str], info: ModelInfo, config: ExportConfig) -> str:
    if config.tensor_input:
        return Template(_SWIFT_TENSOR).substitute(values)
    classifies = info.class_names is not None and not config.logits
    values["result"] = Template(_SWIFT_CLASSIFIER if classifies else _SWIFT_VALUES).substitute(values)
    return Template(_SWIFT_IMAGE).substitute(values)
