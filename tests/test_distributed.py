"""A process's place in its run, and what its end means; tests/training/test_several_processes.py runs real ones."""

import inspect
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from helpers.program import run
from torch.distributed.launcher.api import LaunchConfig

from fastvit_cli import distributed
from fastvit_cli.distributed import (
    ALONE,
    LostPeerError,
    World,
    _code_of,
    check_local_devices,
    find_world,
    joined,
    launch,
    lost_peers_named,
)
from fastvit_cli.errors import EXIT_LOST_PEER, FastViTError, WorkFailedError
from fastvit_cli.training.stopping import Stop, Stopped, StopRequests
from fastvit_cli.training.train_options import TrainConfig


def test_a_process_finds_its_place() -> None:
    assert find_world({}) == ALONE
    assert find_world({"RANK": "3"}) == ALONE
    four = {"RANK": "9", "WORLD_SIZE": "16", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "8"}
    assert find_world(four) == World(9, 16, 1, 8)
    assert ALONE.is_main
    assert not find_world(four).is_main


def test_alone_nothing_is_shared() -> None:
    counts = torch.tensor([1, 2])
    with joined(ALONE, "auto"), ALONE.main_first():
        assert ALONE.all_reduce_sum(counts) is counts
        assert ALONE.all_reduce_max(-4) == -4
        assert ALONE.all_gather(iter("ab")) == ["a", "b"]
    assert counts.tolist() == [1, 2]


def _ended(*exit_codes: int) -> dict[int, SimpleNamespace]:
    return {rank: SimpleNamespace(exitcode=code, timestamp=10) for rank, code in enumerate(exit_codes) if code}


@pytest.mark.parametrize(
    ("exit_codes", "expected"),
    [
        ((2, -15), 2),  # the first one's mistake; the other was ended for it
        ((EXIT_LOST_PEER, 1), 1),  # the second one failed, the first lost it
        ((143, 143), 143),
        ((130, -15), 130),
    ],
)
def test_the_code_is_that_of_the_process_that_failed_by_itself(exit_codes: tuple[int, ...], expected: int) -> None:
    assert _code_of(_ended(*exit_codes)) == expected  # type: ignore[arg-type]  # stand-ins


def test_a_killed_process_is_named() -> None:
    with pytest.raises(WorkFailedError, match=r"Process 2 of the run was killed \(SIGKILL\)") as caught:
        _code_of(_ended(EXIT_LOST_PEER, -15, -9))  # type: ignore[arg-type]  # stand-ins
    assert "--resume" in caught.value.hint


def test_only_lost_connections_are_lost_peers() -> None:
    with pytest.raises(LostPeerError), lost_peers_named():
        raise RuntimeError("[../third_party/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1")
    with pytest.raises(RuntimeError, match="shape"), lost_peers_named():
        raise RuntimeError("shape mismatch")


def _pretend_cuda(monkeypatch: pytest.MonkeyPatch, devices: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)


def test_fewer_gpus_than_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend_cuda(monkeypatch, 2)
    with (
        pytest.raises(FastViTError, match="4 processes for 2 CUDA devices") as caught,
        joined(World(0, 4, 0, 4), "auto"),
    ):
        pass
    assert "--nproc-per-node 2" in caught.value.hint


def test_one_gpu_is_not_for_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend_cuda(monkeypatch, 4)
    with pytest.raises(FastViTError, match="--device cuda:1 is one device, and there are 2 processes") as caught:
        check_local_devices(2, "cuda:1")
    assert "--device cuda" in caught.value.hint
    check_local_devices(2, "cuda")
    check_local_devices(1, "cuda:1")


@pytest.mark.parametrize(
    ("world", "device", "mine"),
    [
        (World(3, 4, 1, 2), "cuda", "cuda:1"),
        (World(1, 2, 0, 1), "cuda:1", "cuda:1"),
        (World(0, 2, 0, 2), "cpu", None),
    ],
)
def test_each_process_joins_with_its_own_device(
    world: World, device: str, mine: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pretend_cuda(monkeypatch, 2)
    current, group = Mock(), Mock()
    monkeypatch.setattr(torch.cuda, "set_device", current)
    monkeypatch.setattr("torch.distributed.init_process_group", group)
    monkeypatch.setattr("torch.distributed.destroy_process_group", Mock())
    with joined(world, device):
        pass
    expected = None if mine is None else torch.device(mine)
    assert [call.args[0] for call in current.call_args_list] == ([] if mine is None else [expected])
    assert group.call_args.args == ("gloo" if mine is None else "cpu:gloo,cuda:nccl",)
    assert group.call_args.kwargs == {"device_id": expected, "timeout": timedelta(minutes=10)}


@pytest.mark.parametrize("rank", [0, 1])
def test_downloads_are_waited_for_without_the_gpu(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL would hold the waiting process until the end of its time, whatever became of the main one."""
    made, steps = Mock(), []
    monkeypatch.setattr("torch.distributed.new_group", made)
    monkeypatch.setattr("torch.distributed.destroy_process_group", lambda group: steps.append(("left", group)))
    monkeypatch.setattr("torch.distributed.barrier", lambda group: steps.append(("waited", group)))
    with World(rank, 2, rank, 2).main_first():
        steps.append(("worked", made.return_value))
    assert [step for step, _ in steps] == [*(["worked", "waited"] if rank == 0 else ["waited", "worked"]), "left"]
    assert {group for _, group in steps} == {made.return_value}
    assert made.call_args.kwargs == {"backend": "gloo", "timeout": timedelta(hours=1)}


@pytest.mark.parametrize(("cores", "processes", "most"), [(2, 100, 2), (1, 3, 2), (8, 9, 8)])
def test_fewer_cores_than_processes(cores: int, processes: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(distributed, "usable_cores", lambda: cores)
    check_local_devices(most, "cpu")
    with pytest.raises(FastViTError, match=f"{processes} processes for {cores} core") as caught:
        check_local_devices(processes, "cpu")
    assert f"--nproc-per-node {most}" in caught.value.hint


@pytest.mark.parametrize("words", [["train", "--data", "demo"], ["validate", "--ckpt", "none.safetensors"]])
def test_too_many_processes_are_refused_before_one_is_started(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", None)
    outcome = run(capsys, *words, "--nproc-per-node", 9999, "--device", "cpu")
    assert outcome.code == 2
    assert "There are 9999 processes" in outcome.err


def test_the_processes_share_the_cores_that_this_one_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", lambda *_: lambda *_: None)
    assert launch(["train"], 3, "cpu") == 0
    assert os.environ["OMP_NUM_THREADS"] == "2"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
@pytest.mark.skipif(
    "signals_to_handle" not in inspect.signature(LaunchConfig).parameters,
    reason="older launchers have no such choice; tests/test_compat.py tests what takes its place",
)
@pytest.mark.parametrize("ignored", [True, False])
def test_the_launcher_leaves_a_hang_up_alone_under_nohup(ignored: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    handled: list[str] = []

    def elastic_launch(config: LaunchConfig, _: str) -> Callable[..., None]:
        handled.extend(config.signals_to_handle.split(","))
        return lambda *_: None

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", elastic_launch)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        assert launch(["train"], 2, "cpu") == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert ("SIGHUP" in handled) is not ignored
    assert "SIGTERM" in handled


def test_a_later_request_of_any_process_counts() -> None:
    """The numbers that processes agree on are places in an order: none of the requests is lost."""
    seen: list[int] = []

    def agree(number: int) -> int:
        seen.append(number)
        return 4

    with pytest.raises(Stopped) as caught:
        StopRequests(None, agree).check()
    assert caught.value.reason == Stop.TERMINATED
    assert seen == [0]


def test_synchronised_batchnorm_is_for_cuda(capsys: pytest.CaptureFixture[str], tiny_data: object) -> None:
    words = ["--data", tiny_data, "--img-size", 32, "--batch-size", 8, "--workers", 0, "--device", "cpu"]
    outcome = run(capsys, "train", *words, "--sync-bn", "--dry-run")
    assert outcome.code == 2
    assert "--sync-bn is for CUDA devices" in outcome.err


def test_apples_gpu_takes_one_process(monkeypatch: pytest.MonkeyPatch, tiny_data: object) -> None:
    from fastvit_cli.data.sources import choose_data
    from fastvit_cli.training import build

    monkeypatch.setattr(build, "use_device", lambda *_, **__: torch.device("mps"))
    with pytest.raises(FastViTError, match="cannot share Apple's GPU"):
        build.build_trainer(
            TrainConfig(world_size=2), choose_data(str(tiny_data)), None, lambda _: None, World(0, 2, 0, 2)
        )


def test_torchrun_has_started_the_processes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_data: object
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    outcome = run(capsys, "train", "--data", tiny_data, "--nproc-per-node", 2)
    assert outcome.code == 2
    assert "torchrun has started the processes" in outcome.err
