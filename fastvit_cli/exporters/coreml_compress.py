"""Core ML weights in fewer bits, and the operations that the mixed precision keeps in float32."""

from typing import Any

from fastvit_cli.exporters.formats import require_modules

# What sums over many values, or normalises: in float16 these lose most.
KEPT_IN_FLOAT32 = ("sub", "reduce_mean", "matmul", "softmax", "linear")

_BITS = {"palettize8": 8, "palettize6": 6, "palettize4": 4}
_BLOCK = 16  # input channels that share a scale in int4; divides the widths of every variant but ma36
_COMPUTE_WEIGHTS = ("conv", "linear")


def compute_precision(precision: str) -> Any:
    """What `coremltools.convert` takes as its compute_precision."""
    import coremltools as ct

    if precision == "mixed":
        return ct.transform.FP16ComputePrecision(op_selector=lambda op: op.op_type not in KEPT_IN_FLOAT32)
    return ct.precision.FLOAT16 if precision == "fp16" else ct.precision.FLOAT32


def require_compression(compress: str) -> None:
    """
    Raises:
        FastViTError: the library that clusters the weights is not installed.
    """
    if compress in _BITS:
        require_modules(("sklearn",), f"--compress {compress}", "compress")


def compressed(model: Any, compress: str) -> Any:
    """A copy of a converted model with its weights in fewer bits; small tensors stay as they are."""
    import coremltools.optimize.coreml as cto

    if compress in _BITS:
        options = cto.OpPalettizerConfig(mode="kmeans", nbits=_BITS[compress])
        return cto.palettize_weights(model, cto.OptimizationConfig(global_config=options))
    if compress == "int8":
        linear = cto.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8")
    else:
        linear = cto.OpLinearQuantizerConfig(
            mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=_BLOCK
        )
    return cto.linear_quantize_weights(model, cto.OptimizationConfig(global_config=linear))


def count_compressed(program: Any) -> tuple[int, int]:
    """Convolutions and linear layers of a program, and how many of them have compressed weights."""
    (function,) = program.functions.values()
    weights = [operation.weight for operation in function.operations if operation.op_type in _COMPUTE_WEIGHTS]
    small = sum(weight.op is not None and weight.op.op_type.startswith("constexpr_") for weight in weights)
    return len(weights), small
