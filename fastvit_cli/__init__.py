"""fastvit: train, validate, fuse, export and time FastViT image models.

As a library: `from fastvit_cli import create_model, load_model, reparameterize`. The names are imported on
first use, so that importing the package itself costs nothing. On a CPU call `keep_freed_memory` first, for speed.
"""

from typing import TYPE_CHECKING, Any

from fastvit_cli.version import __version__

if TYPE_CHECKING:
    from fastvit_cli.allocator import keep_freed_memory
    from fastvit_cli.checkpoints.load import load_model
    from fastvit_cli.models.factory import create_model
    from fastvit_cli.models.fusion import reparameterize

__all__ = ["__version__", "create_model", "keep_freed_memory", "load_model", "reparameterize"]

_HOMES = {
    "create_model": "fastvit_cli.models.factory",
    "keep_freed_memory": "fastvit_cli.allocator",
    "load_model": "fastvit_cli.checkpoints.load",
    "reparameterize": "fastvit_cli.models.fusion",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fastvit_cli' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
