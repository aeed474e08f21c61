"""How long a run will take."""

_STEPS_BEFORE_ESTIMATE = 10  # the first ones warm caches and start the workers
_VALIDATION_COST = 0.3  # of a training image: no backward pass; only until the first epoch was timed


class TimeLeft:
    """Seconds from the measured speed.

    Args:
        steps: steps an epoch.
        epochs: in all.
        validation_share: validation images over training images.
    """

    def __init__(self, steps: int, epochs: int, validation_share: float) -> None:
        self._steps = steps
        self._epochs = epochs
        self._validation_share = validation_share
        self._step_seconds = 0.0
        self._epoch_seconds: float | None = None
        self._measured_steps = 0
        self._told = False

    def steps_took(self, steps: int, seconds: float) -> None:
        """`steps` steps of the current epoch took `seconds`."""
        self._step_seconds = seconds / steps
        self._measured_steps = steps

    def epoch_took(self, seconds: float) -> None:
        """A whole epoch took `seconds`, its validation included."""
        self._epoch_seconds = seconds

    @property
    def _one_epoch(self) -> float:
        guessed = self._step_seconds * self._steps * (1.0 + _VALIDATION_COST * self._validation_share)
        return guessed if self._epoch_seconds is None else self._epoch_seconds

    def after(self, epoch: int, steps_done: int) -> float:
        """Seconds left after `steps_done` steps of `epoch` (counted from 0)."""
        return self._one_epoch * (self._epochs - epoch - steps_done / self._steps)

    def estimate_once(self) -> float | None:
        """Seconds of a whole run of these epochs, the first time they can be told; else None."""
        enough = min(_STEPS_BEFORE_ESTIMATE, self._steps)
        if self._told or self._measured_steps < enough:
            return None
        self._told = True
        return self._one_epoch * self._epochs
