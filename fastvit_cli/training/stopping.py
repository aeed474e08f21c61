"""Ending a run between two steps: Ctrl-C, SIGTERM, SIGHUP, the time limit, an output that nobody reads any more."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from types import FrameType
from typing import TypeVar

from fastvit_cli.compat import hang_up_signal

T = TypeVar("T")


class Stop(StrEnum):
    """Why a run ended before its last epoch."""

    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"
    TIME_LIMIT = "time limit"
    OUTPUT_CLOSED = "output closed"
    PATIENCE = "patience"


# None of several processes' requests is lost: the later one here goes before the earlier.
_ORDER: tuple[Stop | None, ...] = (
    None,
    *(Stop.TIME_LIMIT, Stop.OUTPUT_CLOSED, Stop.INTERRUPTED, Stop.TERMINATED),
)


class Stopped(Exception):
    """Raised between two steps, to carry the reason out of the loops."""

    def __init__(self, reason: Stop) -> None:
        super().__init__(reason)
        self.reason = reason


class StopRequests:
    """What has been asked so far.

    Args:
        time_limit: minutes from now; None for no limit.
        agree: of the numbers that the processes of a run bring, the one that counts for all.
    """

    def __init__(self, time_limit: float | None, agree: Callable[[int], int] = lambda number: number) -> None:
        self._agree = agree
        self._deadline = None if time_limit is None else time.monotonic() + 60 * time_limit
        self._signalled: Stop | None = None
        self._output_closed = False

    def listening(self, listener: Callable[[T], None]) -> Callable[[T], None]:
        """The listener, but where the reader of its output is gone, as `| head` goes, that asks for the end."""

        def on_event(event: T) -> None:
            try:
                listener(event)
            except BrokenPipeError:
                self._output_closed = True

        return on_event

    def check(self) -> None:
        """To be called by all processes of a run after the same steps.

        Raises:
            Stopped: the run is to end now.
        """
        agreed = self._agree(_ORDER.index(self._wanted()))
        reason = _ORDER[agreed]
        if reason is not None:
            raise Stopped(reason)

    def _wanted(self) -> Stop | None:
        late = self._deadline is not None and time.monotonic() > self._deadline
        closed = Stop.OUTPUT_CLOSED if self._output_closed else None
        return self._signalled or closed or (Stop.TIME_LIMIT if late else None)

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Handler of SIGINT: the first one ends the run at the next check, the second at once."""
        if self._signalled is not None:
            signal.default_int_handler(number, frame)
        self._signalled = Stop.INTERRUPTED

    def terminate(self, _number: int, _frame: FrameType | None) -> None:
        """Handler of SIGTERM, and of SIGHUP, which a terminal that closes sends."""
        self._signalled = Stop.TERMINATED


@contextlib.contextmanager
def stop_requests(
    time_limit: float | None, agree: Callable[[int], int] = lambda number: number
) -> Iterator[StopRequests]:
    """Listen while the block runs. Signals are left alone outside the main thread, where Python takes no handlers."""
    requests = StopRequests(time_limit, agree)
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, requests.interrupt),
        signal.SIGTERM: signal.signal(signal.SIGTERM, requests.terminate),
    }
    hang_up = hang_up_signal()
    if hang_up is not None and signal.getsignal(hang_up) != signal.SIG_IGN:  # as under nohup
        before[hang_up] = signal.signal(hang_up, requests.terminate)
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
