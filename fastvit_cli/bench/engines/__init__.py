"""What runs a network: one module a library, one table of engines."""

import importlib
from collections.abc import Callable

from fastvit_cli.bench.engines import coreml, onnx, pytorch
from fastvit_cli.bench.engines.base import Job, Prepared
from fastvit_cli.errors import FastViTError

ENGINES: dict[str, Callable[[Job], Prepared]] = {
    "torch": pytorch.eager,
    "compile": pytorch.compiled,
    "onnxruntime": onnx.onnx_runtime,
    "openvino": onnx.openvino,
    "coreml": coreml.core_ml,
}

_LIBRARIES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "coreml": "coremltools"}
_EXTRAS = {"openvino": "'fastvit[openvino]'"}  # whose versions are those this was tested with


def load_library(engine: str) -> None:
    """Import what the engine needs, so that neither its time nor its memory is counted to the first subject.

    Raises:
        FastViTError: it is not installed.
    """
    library = _LIBRARIES.get(engine)
    if library is None:
        return
    try:
        importlib.import_module(library)
    except ImportError as error:
        raise FastViTError(f"{library} is not installed: pip install {_EXTRAS.get(engine, library)}") from error
