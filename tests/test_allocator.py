"""Freed memory is kept, where the allocator is glibc's and nobody else has decided."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# What a pass of the fused network causes once it is warm: a page fault for each page cleared anew, or none. Its
# largest tensors have 50 MB: blocks below 32 MB glibc learns to keep by itself.
CODE = """
import resource, sys
from fastvit_cli import create_model, keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "kept" else None
import torch
network, images = create_model("t8", fused=True).eval(), torch.zeros(64, 3, 128, 128)
with torch.inference_mode():
    network(images)
    network(images)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    network(images)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(way: str = "kept", **environment: str) -> tuple[str, int]:
    """What `keep_freed_memory` returned, and page faults of a pass after that."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "LD_PRELOAD"))}
    done = subprocess.run(
        [sys.executable, "-c", CODE, way], env=clean | environment, capture_output=True, text=True, check=True
    )
    kept, faults = done.stdout.split()
    return kept, int(faults)


def is_glibc() -> bool:
    """The C library says so itself; others do not know the question."""
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError):
        return False


@pytest.mark.skipif(not is_glibc(), reason="the setting is glibc's")
class TestWithGlibc:
    def test_memory_is_kept(self) -> None:
        kept, faults = run()
        assert kept == "True"
        # Threads of the library have heaps of their own, which give some of it back.
        assert 3 * faults < run("not asked")[1]

    @pytest.mark.parametrize(
        "variable", [{"MALLOC_TRIM_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}]
    )
    def test_a_variable_of_the_user_wins(self, variable: dict[str, str]) -> None:
        assert run(**variable)[0] == "False"

    @pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler to make an allocator with")
    def test_another_allocator_is_left_alone(self, tmp_path: Path) -> None:
        source, library = tmp_path / "other.c", tmp_path / "other.so"
        source.write_text(
            "#include <stddef.h>\nextern void *__libc_malloc(size_t);\n"
            "void *malloc(size_t size) { return __libc_malloc(size); }\n"
        )
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
        assert run(LD_PRELOAD=str(library))[0] == "False"


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastvit_cli import allocator

    monkeypatch.setattr(sys, "platform", "darwin")
    assert allocator.keep_freed_memory() is False
