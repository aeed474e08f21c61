"""The command of the harness: its options, its table and its JSON."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fuzz.bases import COMMAND, EXPORT, KINDS, PICKLE, PROCESS, build
from fuzz.cases import QUICK_FORMATS, Case, plan, quick
from fuzz.exports import FILES
from fuzz.harness import in_child, run_cases
from fuzz.judge import ERROR, FAILURES, VERDICTS, Job, Result

_WIDTH = 150
_MODULES = ("cv2", "matplotlib.pyplot", "safetensors.torch", "timm", "torch.utils.tensorboard")
_ONNX = ("onnx", "onnxruntime")
_MODULES_OF = {
    "onnx": _ONNX,
    "onnx with side file": _ONNX,
    "coreml": ("coremltools.converters.mil.frontend.milproto.load",),
    "openvino": ("openvino",),
}
_HEADINGS = {
    "refused": "refused",
    "identical": "taken, same values",
    "changed": "CHANGED",
    "unsealed": "changed, no checksum",
    "error": "INTERNAL ERRORS",
    "code": "CODE RUN",
}


def main(argv: list[str] | None = None) -> int:
    """0 when nothing ran code, nothing was taken with changed values and nothing went wrong inside; else 1."""
    options = _options(argv)
    try:
        return _run(options)
    finally:
        if options.own_work and options.only is None:
            shutil.rmtree(options.work, ignore_errors=True)


def _run(options: argparse.Namespace) -> int:
    from rich.console import Console

    console = Console(stderr=True, highlight=False, width=_WIDTH)
    os.environ.update(HF_HUB_OFFLINE="1", XDG_CACHE_HOME=str(options.work / "cache"), PYTHONWARNINGS="ignore")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    started = time.perf_counter()
    cases = _chosen(options)
    console.print(f"Making whole files for {len(cases):,} cases in {options.work} …")
    formats = _formats(cases)
    _import_what_workers_use(formats)
    needed = {(case.kind, case.base, COMMAND if case.way == PROCESS else case.way) for case in cases}
    bases = in_child(lambda: build(options.work, formats, needed))
    job = Job(
        options.work, options.seed, {(base.kind, base.name): base for base in bases}, keep=options.only is not None
    )
    results = []
    prepared = time.perf_counter() - started
    for result in run_cases(cases, job, options.processes):
        results.append(result)
        if result.verdict in FAILURES and options.verbose:
            console.print(f"{_line(result)}", markup=False, soft_wrap=True)
        if len(results) % 250 == 0:
            console.print(f"{len(results):,} of {len(cases):,}, {time.perf_counter() - started:.0f} s")
    document = summary(results, options.seed, time.perf_counter() - started, prepared)
    _show(document, Console(highlight=False, width=_WIDTH) if options.json != "-" else console)
    if options.json:
        text = json.dumps(document, indent=1, ensure_ascii=True)
        sys.stdout.write(text + "\n") if options.json == "-" else Path(options.json).write_text(text + "\n")
    if options.only is not None:
        console.print(_line(results[0]), markup=False, soft_wrap=True)
        console.print(f"Its files are in {_without_the_rest(options.work, options.only)}.")
    return 1 if document["failures"] else 0


def _without_the_rest(work: Path, number: int) -> Path:
    """The folder of one case; the whole files are removed."""
    kept = work / f"case-{number}"
    for path in work.iterdir():
        if path != kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return kept


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/fuzz/run.py", description="Open thousands of changed files.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=None, help="run the first N only")
    parser.add_argument("--quick", type=int, metavar="N", help="N cases that take least time, as the test suite does")
    parser.add_argument("--kind", choices=KINDS, help="run one kind only")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="run one case and keep its files")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--work", type=Path, help="folder for the files, which must not exist; default: a temporary one"
    )
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help="print or write a JSON document")
    parser.add_argument("--verbose", action="store_true", help="a line for every failure as it happens")
    options = parser.parse_args(argv)
    options.own_work = options.work is None
    options.work = Path(tempfile.mkdtemp(prefix="fastvit-fuzz-")) if options.own_work else options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    return options


def _chosen(options: argparse.Namespace) -> list[Case]:
    cases = plan(options.seed)
    if options.only is not None:
        return [cases[options.only]]
    if options.quick is not None:
        cases = quick(cases, options.quick)
    if options.kind is not None:
        cases = [case for case in cases if case.kind == options.kind]
    return cases[: options.cases]


def _formats(cases: list[Case]) -> list[str]:
    """Exports that the cases need. Those with code need one of a program."""
    needed = {case.base for case in cases if case.kind == EXPORT}
    if any(case.kind == PICKLE for case in cases):
        needed |= set(QUICK_FORMATS[1:]) | ({"pt2"} if len(cases) > 1000 or not needed else set())
    return [name for name in FILES if name in needed]


def _import_what_workers_use(formats: list[str]) -> None:
    """Here, once; but nothing of it starts a thread, which a forked worker would miss."""
    from fastvit_cli.runtimes.quiet import quiet_libraries

    with quiet_libraries():
        for name in (*_MODULES, *(module for format_ in formats for module in _MODULES_OF.get(format_, ()))):
            importlib.import_module(name)


def summary(results: list[Result], seed: int, seconds: float, prepared: float) -> dict[str, Any]:
    """The JSON document: counts by kind, the worst, and the failures grouped by what is the same about them."""
    results = sorted(results, key=lambda result: result.case.number)
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        if result.verdict in FAILURES:
            key = (result.verdict, result.case.kind, result.case.base, _pattern(result))
            groups.setdefault(key, []).append(result)
    return {
        "seed": seed,
        "cases": len(results),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(_cpu_seconds(), 1),
        "seconds_of_preparation": round(prepared, 1),
        "kinds": {kind: _counts([result for result in results if result.case.kind == kind]) for kind in KINDS},
        "total": _counts(results),
        "slowest": [_plain(result) for result in sorted(results, key=lambda result: -result.seconds)[:5]],
        "largest": [_plain(result) for result in sorted(results, key=lambda result: -result.memory_mb)[:5]],
        "failures": [
            {
                **dict(zip(("verdict", "kind", "base", "what"), key, strict=True)),
                "count": len(found),
                "mutations": dict(Counter(result.case.mutation for result in found).most_common(6)),
                "cases": [result.case.number for result in found[:12]],
                "example": _plain(found[0]),
            }
            for key, found in sorted(groups.items(), key=lambda item: -len(item[1]))
        ],
        "unsealed": dict(
            Counter(
                f"{result.case.base}: {result.case.mutation}" for result in results if result.verdict == "unsealed"
            )
        ),
    }


def _cpu_seconds() -> float:
    """Of this process and all that it has waited for; what other programs on the machine do is no part of it."""
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def _pattern(result: Result) -> str:
    """What failures of one kind share: their text without names, numbers and paths, or what has changed."""
    if result.verdict == ERROR:
        text = re.sub(r"/\S+|0x[0-9a-f]+|'[^']*'|\d+", "…", result.detail)
        return re.sub(r"[^ -~…]+", "…", text)[:110]
    if result.verdict == "changed":
        names = re.findall(r"(?:^|; )([a-z_]+\.?[a-z_]*)", result.detail)
        return f"{result.case.mutation}: {', '.join(sorted({name.split('.')[0] for name in names}))}"
    return result.case.mutation


def _counts(results: list[Result]) -> dict[str, Any]:
    verdicts = Counter(result.verdict for result in results)
    return {
        "cases": len(results),
        **{verdict: verdicts[verdict] for verdict in VERDICTS},
        "worst_s": round(max((result.seconds for result in results), default=0.0), 2),
        "worst_mb": round(max((result.memory_mb for result in results), default=0.0)),
    }


def _plain(result: Result) -> dict[str, Any]:
    return {
        **asdict(result.case),
        "verdict": result.verdict,
        "detail": result.detail[:600].encode("ascii", "backslashreplace").decode(),
        "seconds": round(result.seconds, 2),
        "memory_mb": round(result.memory_mb),
    }


def _line(result: Result) -> str:
    case = result.case
    where = f"case {case.number} ({case.kind}, {case.base}, {case.mutation}, {case.way})"
    return f"{where}: {result.verdict}: {result.detail[:300]}"


def _show(document: dict[str, Any], console: Any) -> None:
    from rich.table import Table

    table = Table("kind", "cases", *_HEADINGS.values(), "worst s", "worst MB")
    for kind, counts in (*document["kinds"].items(), ("total", document["total"])):
        table.add_row(kind, *(f"{value:,}" for value in counts.values()))
    console.print(table)
    for group in document["failures"]:
        example = group["example"]
        console.print(
            f"{group['count']} x {group['verdict']}, {group['kind']}, {group['base']}: {group['what']}\n"
            f"    case {example['number']}, {example['mutation']}: {example['detail'][:300]}",
            markup=False,
            soft_wrap=True,
        )
    console.print(
        f"{document['cases']:,} cases, seed {document['seed']}, {document['seconds']:.0f} s, of which "
        f"{document['seconds_of_preparation']:.0f} s for the whole files; {document['cpu_seconds']:.0f} s of CPU. "
        "Again, with its files kept: --only NUMBER.",
        soft_wrap=True,
    )
