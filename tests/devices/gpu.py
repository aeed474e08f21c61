"""Checks and measurements on a GPU, the checks first; see gpu.sh beside it. On a CPU a dry run of the same lines."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from helpers.tiny_data import draw_tiny_data
from torch import Tensor, nn

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.data.loader import Batch
from fastvit_cli.data.sources import choose_data
from fastvit_cli.devices import (
    describe_device,
    peak_memory_mb,
    release_memory,
    reset_peak_memory,
    synchronize,
    use_device,
)
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.models.variants import get_variant
from fastvit_cli.runtimes.base import normalize
from fastvit_cli.runtimes.torch_runtime import TorchRuntime
from fastvit_cli.training import train_step
from fastvit_cli.training.events import BatchHalved
from fastvit_cli.training.resolve_options import resolve_config
from fastvit_cli.training.train import run_training
from fastvit_cli.training.train_options import TrainConfig
from fastvit_cli.training.train_step import Rates, StepPosition, TrainStep

CLASSES = 10


@dataclass
class Session:
    """What all parts share; `sizes` are (variant, batch) of the measurements."""

    device: torch.device
    work: Path
    quick: bool
    ends: float
    results: dict[str, object] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def side(self) -> int:
        return 64 if self.quick else 256

    @property
    def sizes(self) -> tuple[tuple[str, int], ...]:
        return (("t8", 8),) if self.quick else (("t8", 256), ("sa24", 128))

    def part(self, name: str, work: Callable[[Session], object], seconds: float) -> None:
        """Do it where the time suffices, and go on whatever becomes of it."""
        left = self.ends - time.monotonic()
        if left < seconds:
            self.say(name, f"left out: {left:.0f} s are left and it takes {seconds:.0f}")
            return
        began = time.monotonic()
        signal.signal(signal.SIGALRM, _end_of_time)
        signal.setitimer(signal.ITIMER_REAL, left)
        try:
            found = work(self)
        except Exception as error:  # whatever it is, the other parts are of use
            if time.monotonic() >= self.ends:  # a compiler hides its end in an error of its own
                found = "left out: the time ended in it"
            else:
                self.failed.append(name)
                found = f"FAILED: {type(error).__name__}: {str(error).strip()[:300]}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self.say(name, found, time.monotonic() - began)
        release_memory(self.device)

    def say(self, name: str, found: object, seconds: float = 0.0) -> None:
        self.results[name] = found
        print(f"{seconds:6.1f} s  {name}: {found}", flush=True)  # noqa: T201


def _end_of_time(_number: int, _frame: object) -> None:
    raise TimeoutError


def _updater(
    device: torch.device, variant: str = "t8", side: int = 64, batch: int = 8, **options: object
) -> TrainStep:
    """With the same weights on every device."""
    torch.manual_seed(0)
    values = {"variant": variant, "img_size": side, "batch_size": batch, "drop_path": 0.0, **options}
    network = FastViT(get_variant(variant), num_classes=CLASSES)
    info = ModelInfo(variant, "unfused", CLASSES, Preprocessing(img_size=side))
    updater = TrainStep(TrainConfig(**values), network, info, device)  # type: ignore[arg-type]
    updater.network.train()
    return updater


def _batch(device: torch.device, size: int, side: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, CLASSES, (size,), generator=generator)
    if device.type == "cuda":
        images, labels = images.pin_memory(), labels.pin_memory()
    return Batch(images, labels, ())


PLAIN = {"mixup": 0.0, "cutmix": 0.0, "random_erasing": 0.0, "opt": "sgd"}


def _losses(updater: TrainStep, count: int = 3) -> list[float]:
    """Of so many updates of other images each; fails when one was left out."""
    config = updater.config
    queued = [
        updater.queue(
            [_batch(updater.device, config.batch_size, config.img_size, number)],
            Rates(1e-3, None),
            StepPosition(0, number, number),
        )
        for number in range(count)
    ]
    outcomes = [read() for read in queued]
    assert all(outcome is not None for outcome in outcomes), "an update was left out"
    return [outcome.loss for outcome in outcomes if outcome is not None]


def _largest_difference(one: nn.Module, other: nn.Module) -> float:
    """Of the weights and statistics, relative to the largest of each."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    floats = [(a.cpu().double(), b.cpu().double()) for a, b in pairs if a.is_floating_point()]
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-6)) for a, b in floats)


def equal_to_the_cpu(session: Session) -> str:
    """Three float32 updates without TF32."""
    use_device(str(session.device))
    there, here = (_updater(device, **PLAIN) for device in (session.device, torch.device("cpu")))
    losses = [_losses(updater) for updater in (there, here)]
    apart = max(abs(a - b) for a, b in zip(*losses, strict=True))
    weights = _largest_difference(there.network, here.network)
    assert apart < 1e-4, f"losses {apart:.1e} apart"
    assert weights < 1e-3, f"weights {weights:.1e} apart"
    return f"losses {apart:.1e} apart, weights {weights:.1e}"


def finite(session: Session, dtype: torch.dtype) -> str:
    with mock.patch.object(train_step, "autocast_dtype", return_value=dtype):
        return f"losses {_rounded(_losses(_updater(session.device, amp=True, clip_grad=1.0), 5))}"


def running_ahead(session: Session) -> str:
    """The same losses as waiting for each, and a spoilt batch changes nothing."""
    found = []
    for ahead in (True, False):
        with mock.patch.object(train_step, "runs_ahead", return_value=ahead):
            updater = _updater(session.device, mixup=0.0, cutmix=0.0)
            assert updater.runs_ahead is ahead
            found.append(_losses(updater))
            before = [parameter.detach().clone() for parameter in updater.network.parameters()]
            with mock.patch.object(train_step, "normalize", lambda *given: normalize(*given) * torch.inf):
                assert (
                    updater.update([_batch(session.device, 8, 64)], Rates(1e-3, None), StepPosition(0, 9, 9)) is None
                )
            assert all(map(torch.equal, before, updater.network.parameters())), "a spoilt loss reached the weights"
    apart = max(abs(a - b) for a, b in zip(*found, strict=True))
    assert apart < 1e-3, f"losses {apart:.1e} apart"
    return f"losses {apart:.1e} apart"


def channels_last(session: Session) -> str:
    if not session.on_gpu:
        return "not on a CPU, where torch crashes"
    found = [_losses(_updater(session.device, channels_last=last, **PLAIN)) for last in (True, False)]
    apart = max(abs(a - b) for a, b in zip(*found, strict=True))
    assert apart < 1e-3, f"losses {apart:.1e} apart"
    return f"losses {apart:.1e} apart"


def compiled(session: Session) -> str:
    return f"losses {_rounded(_losses(_updater(session.device, compile=True, amp=session.on_gpu)))}"


def recomputed(session: Session) -> str:
    found, memory = [], []
    for again in (False, True):
        release_memory(session.device)
        reset_peak_memory(session.device)
        found.append(_losses(_updater(session.device, grad_checkpointing=again, **PLAIN)))
        memory.append(peak_memory_mb(session.device))
    apart = max(abs(a - b) for a, b in zip(*found, strict=True))
    assert apart < 1e-4, f"losses {apart:.1e} apart"
    return f"losses {apart:.1e} apart, peak {memory[0]:.0f} and {memory[1]:.0f} MiB"


def one_process_group(session: Session) -> str:
    """NCCL, or gloo on a CPU, with the gradients going through it."""
    import torch.distributed as dist

    backend = "cpu:gloo,cuda:nccl" if session.on_gpu else "gloo"
    device_id = session.device if session.on_gpu else None
    store = f"file://{session.work}/store"
    dist.init_process_group(backend, init_method=store, rank=0, world_size=1, device_id=device_id)
    try:
        summed = torch.ones(3, device=session.device)
        dist.all_reduce(summed)
        number = torch.tensor(7)
        dist.all_reduce(number, dist.ReduceOp.MAX)
        updater = _updater(session.device, **PLAIN)
        alone = _losses(updater)
        updater = _updater(session.device, **PLAIN)
        updater._parallel = updater._forward = train_step._in_parallel(updater.network, session.device)
        apart = max(abs(a - b) for a, b in zip(alone, _losses(updater), strict=True))
        assert summed.tolist() == [1.0] * 3
        assert int(number) == 7
        assert apart < 1e-4, f"losses {apart:.1e} apart"
        return f"{backend}; losses {apart:.1e} apart from those without"
    finally:
        dist.destroy_process_group()


def halved(session: Session) -> str:
    """A batch that does not fit is halved, and what it held is free by then."""
    events: list[object] = []
    values = {"img_size": 64, "batch_size": 32, "time_limit": 0.0, "workers": 0}
    config = resolve_config({**values, "output": str(session.work / "halved"), "device": str(session.device)}, "demo")
    allocated: list[int] = []
    plain = normalize

    def small(images: Tensor, info: ModelInfo) -> Tensor:
        if session.on_gpu:
            allocated.append(torch.cuda.memory_allocated(session.device))
        if len(images) > 16:
            # Of the device itself where there is one: more than it has.
            torch.empty(1 << 50, dtype=torch.uint8, device=session.device)
        return plain(images, info)

    with mock.patch.object(train_step, "normalize", small):
        run_training(config, choose_data("demo"), on_event=events.append)
    halvings = [event for event in events if isinstance(event, BatchHalved)]
    assert halvings == [BatchHalved(16, 2)], halvings
    if session.on_gpu:
        assert allocated[1] < 1.2 * allocated[0], f"{allocated[0]} bytes at first, {allocated[1]} after it"
    return "32 to 16, twice an update"


def _fastvit(session: Session, *words: object, device: object = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fastvit_cli", *map(str, words), "--device", str(device or session.device)]
    return subprocess.run(command, capture_output=True, text=True, cwd=session.work)


def killed_and_resumed(session: Session) -> str:
    data = draw_tiny_data(session.work / "tiny") if session.quick else "demo"
    words = ("train", "--data", data, "--output", "run", "--epochs", 100, "--save-every", 0, "--workers", 2)
    size = ("--img-size", 64, "--batch-size", 8 if session.quick else 64, "--device", session.device)
    command = [sys.executable, "-m", "fastvit_cli", *map(str, (*words, *size))]
    process = subprocess.Popen(command, cwd=session.work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state, deadline = session.work / "run" / "state.pt", time.monotonic() + 90
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    code = process.wait(60)
    assert code == 143, f"exit {code} after SIGTERM"
    done = _fastvit(session, "train", "--resume", "run", "--time-limit", 0.3, "--json")
    assert done.returncode == 0, done.stderr[-300:]
    result = json.loads(done.stdout)["result"]
    return f"143, then top-1 {result['top1']:.1f} % after {result['epochs']} epochs"


def validated(session: Session) -> str:
    """The run before it on the device and on the CPU."""
    found = [
        json.loads(_fastvit(session, "validate", "--ckpt", "run", "--json", device=device).stdout)["result"]
        for device in (session.device, "cpu")
    ]
    assert found[0]["top1"] == found[1]["top1"], (found[0]["top1"], found[1]["top1"])
    return f"top-1 {found[0]['top1']:.2f} %, losses {abs(found[0]['loss'] - found[1]['loss']):.1e} apart"


def benched(session: Session) -> str:
    """`bench` by its clock, beside the device's own events."""
    words = ("--variant", "t8", "--engine", "torch", "--img-size", session.side, "--batch-size", 8, "--json")
    done = _fastvit(session, "bench", *words)
    assert done.returncode == 0, done.stderr[-300:]
    median = json.loads(done.stdout)["result"]["results"][0]["median_ms"]
    info = ModelInfo("t8", "unfused", CLASSES, Preprocessing(img_size=session.side))
    network = FastViT(get_variant("t8"), num_classes=CLASSES).to(session.device).eval()
    images = normalize(_batch(session.device, 8, session.side).images.to(session.device), info)
    with torch.inference_mode():
        seconds = _seconds(session, lambda: network(images), 5 if session.quick else 50)
    return f"median {median:.2f} ms (fused), {1000 * seconds:.2f} ms by events (unfused)"


def _seconds(session: Session, work: Callable[[], object], count: int) -> float:
    """Of one call, by CUDA's events where there are any, after a warm-up."""
    for _ in range(3):
        work()
    synchronize(session.device)
    if not session.on_gpu:
        began = time.perf_counter()
        for _ in range(count):
            work()
        return (time.perf_counter() - began) / count
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(count):
        work()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last)) / 1000 / count


RECIPE = {"amp": True, "mixup": 0.2, "cutmix": 1.0, "random_erasing": 0.25, "ema_decay": 0.9995}


def our_rate(
    session: Session, variant: str, batch: int, tf32: bool = True, tuned: bool = False, **options: object
) -> str:
    """One way of our step on images that are there already."""
    use_device(str(session.device), tf32=tf32)
    torch.backends.cudnn.benchmark = tuned
    with contextlib.ExitStack() as patches:
        if not options.pop("ahead", True):
            patches.enter_context(mock.patch.object(train_step, "runs_ahead", return_value=False))
        updater = _updater(session.device, variant, session.side, batch, **{**RECIPE, **options})
    batches = [_batch(session.device, batch, session.side, seed) for seed in range(2)]
    unread: list[Callable[[], object]] = []
    numbers = iter(range(10**6))

    def step() -> None:
        number = next(numbers)
        unread.append(updater.queue([batches[number % 2]], Rates(1e-3, None), StepPosition(0, number, number)))
        if len(unread) > 1:
            unread.pop(0)()

    return _rate(session, step, batch)


def _rate(session: Session, step: Callable[[], None], batch: int) -> str:
    release_memory(session.device)
    reset_peak_memory(session.device)
    seconds = _seconds(session, step, 2 if session.quick else 20)
    return f"{batch / seconds:.1f} images/s, peak {peak_memory_mb(session.device):.0f} MiB"


def timms_rate(session: Session, variant: str, batch: int, *, last: bool, compile_it: bool) -> str:
    """The step of timm's training script on the same images."""
    import timm
    from timm.data import Mixup
    from timm.data.random_erasing import RandomErasing
    from timm.loss import SoftTargetCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.utils import ModelEmaV3

    device = session.device
    model = timm.create_model(f"fastvit_{variant}", num_classes=CLASSES).to(device).train()
    if last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05)
    average = ModelEmaV3(model, decay=0.9995, use_warmup=True)
    mix = Mixup(0.2, 1.0, label_smoothing=0.1, num_classes=CLASSES)
    erase, loss_of = RandomErasing(0.25, mode="pixel", device=device), SoftTargetCrossEntropy()
    forward = torch.compile(model) if compile_it else model
    info = ModelInfo(variant, "unfused", CLASSES, Preprocessing(img_size=session.side))
    given = _batch(device, batch, session.side)
    numbers = iter(range(10**6))

    def step() -> None:
        images = normalize(given.images.to(device, non_blocking=True), info)
        mixed, targets = mix(erase(images), given.labels.to(device, non_blocking=True))
        if last:
            mixed = mixed.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = loss_of(forward(mixed), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update(model, step=next(numbers))

    return _rate(session, step, batch)


def with_the_loader(session: Session, side: str, workers: int) -> str:
    """The whole loop, decoding included; as tests/benchmarks/training.py measures it."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    from training import enough_images, measure

    steps, batch = (2, 8) if session.quick else (20, 256)
    folder = session.work / f"images-{side}-{workers}"
    data = enough_images(None, folder, (steps + 8) * batch)
    values = {
        "img_size": session.side,
        "batch_size": batch,
        "workers": workers,
        "amp": session.on_gpu,
        "total_batch_size": batch,
    }
    config = resolve_config({**values, "data": str(data)}, "imagenet")
    one = measure(side, replace(config, teacher=None), steps)
    return f"{one.images_per_second:.1f} images/s, waits {100 * one.data_wait:.0f} %, peak {one.peak_mb:.0f} MiB"


def scored(session: Session, batch: int, dtype: torch.dtype, tf32: bool) -> str:
    """Validation of a t8 in one way."""
    use_device(str(session.device), tf32=tf32)
    info = ModelInfo("t8", "unfused", CLASSES, Preprocessing(img_size=session.side))
    runtime = TorchRuntime(FastViT(get_variant("t8"), num_classes=CLASSES), info, session.device)
    images = _batch(session.device, batch, session.side).images

    def score() -> None:
        with torch.autocast(session.device.type, dtype=dtype, enabled=dtype != torch.float32):
            runtime.logits(images)

    return _rate(session, score, batch)


def profiled(session: Session, variant: str, batch: int) -> str:
    """Where the time of our step goes; a table and a trace in the folder."""
    from torch.profiler import ProfilerActivity, profile

    updater = _updater(session.device, variant, session.side, batch, channels_last=session.on_gpu, **RECIPE)
    given = [_batch(session.device, batch, session.side)]
    for number in range(2):
        updater.update(given, Rates(1e-3, None), StepPosition(0, number, number))
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if session.on_gpu else [])]
    with profile(activities=activities) as found:
        updater.update(given, Rates(1e-3, None), StepPosition(0, 2, 2))
        synchronize(session.device)
    order = "cuda_time_total" if session.on_gpu else "cpu_time_total"
    table = session.work / f"profile-{variant}.txt"
    table.write_text(found.key_averages().table(sort_by=order, row_limit=40))
    return "\n" + found.key_averages().table(sort_by=order, row_limit=12, max_name_column_width=48)


CHECKS: Sequence[tuple[str, Callable[[Session], object], float]] = (
    ("float32 as on the CPU", equal_to_the_cpu, 20),
    ("bfloat16 is finite", partial(finite, dtype=torch.bfloat16), 10),
    ("float16 is finite", partial(finite, dtype=torch.float16), 10),
    ("a step ahead", running_ahead, 10),
    ("channels last", channels_last, 10),
    ("recomputed blocks", recomputed, 10),
    ("one-process group", one_process_group, 15),
    ("out of memory halves", halved, 20),
    ("killed and resumed", killed_and_resumed, 60),
    ("validate as on the CPU", validated, 30),
    ("bench by events", benched, 30),
    ("compiled", compiled, 60),
)


def measurements(session: Session) -> Iterator[tuple[str, Callable[[Session], object], float]]:
    """The most telling first: what there is no time for is left out."""
    last = session.on_gpu
    for variant, batch in session.sizes:
        ours, timm = (
            partial(our_rate, variant=variant, batch=batch),
            partial(timms_rate, variant=variant, batch=batch),
        )
        yield f"{variant}: timm, eager", partial(timm, last=False, compile_it=False), 12
        yield f"{variant}: timm, channels last", partial(timm, last=last, compile_it=False), 12
        yield f"{variant}: ours", ours, 12
        yield f"{variant}: ours, channels last", partial(ours, channels_last=last), 12
        yield f"{variant}: ours, channels last, cudnn.benchmark", partial(ours, channels_last=last, tuned=True), 15
        yield f"{variant}: ours, waiting for each loss", partial(ours, ahead=False), 12
        yield f"{variant}: ours, float32 with TF32", partial(ours, amp=False), 15
        yield f"{variant}: ours, float32 without", partial(ours, amp=False, tf32=False), 20
        yield f"{variant}: ours, recomputed blocks", partial(ours, grad_checkpointing=True), 12
        yield f"{variant}: ours, agc", partial(ours, clip_grad=0.01, clip_mode="agc"), 12
        yield f"{variant}: profile", partial(profiled, variant=variant, batch=batch), 15
    for size in (64, 256):
        for name, dtype, tf32 in (
            ("float32", torch.float32, False),
            ("TF32", torch.float32, True),
            ("bfloat16", torch.bfloat16, True),
        ):
            yield f"validation, {name}, {size} at once", partial(scored, batch=size, dtype=dtype, tf32=tf32), 6
    workers = (2,) if session.quick else (8, 16)
    for count in workers:
        yield f"t8: ours, with {count} workers", partial(with_the_loader, side="fastvit", workers=count), 45
    yield f"t8: timm, with {workers[-1]} workers", partial(with_the_loader, side="timm", workers=workers[-1]), 45
    for variant, batch in session.sizes:
        ours, timm = (
            partial(our_rate, variant=variant, batch=batch),
            partial(timms_rate, variant=variant, batch=batch),
        )
        yield f"{variant}: ours, compiled", partial(ours, channels_last=last, compile=True), 75
        yield f"{variant}: timm, compiled", partial(timm, last=last, compile_it=True), 75


def _rounded(values: list[float]) -> str:
    return " ".join(f"{value:.3f}" for value in values)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small sizes, for a dry run")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--out", type=Path, default=Path("gpu-results"))
    parser.add_argument("--only", default="", help="the parts whose names hold this")
    parser.add_argument("--work", type=Path, required=True)
    given = parser.parse_args()
    os.environ.setdefault("XDG_CACHE_HOME", str(given.work / "cache"))
    device = use_device(given.device)
    session = Session(device, given.work, given.quick, time.monotonic() + 60 * given.minutes - 5)
    session.say("machine", f"torch {torch.__version__}, {describe_device(device)}, {os.cpu_count()} cores")
    for name, work, seconds in (*CHECKS, *measurements(session)):
        if given.only in name:
            session.part(name, work, 1 if given.quick else seconds)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "gpu.json").write_text(json.dumps(session.results, indent=1, default=str))
    for table in session.work.glob("profile-*.txt"):
        (given.out / table.name).write_text(table.read_text())
    session.say("left out", sum(str(found).startswith("left out") for found in session.results.values()))
    session.say("failed", ", ".join(session.failed) or "none")
    return 1 if session.failed else 0


if __name__ == "__main__":
    sys.exit(main())
