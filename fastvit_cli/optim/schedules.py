"""Schedules in closed form: a value is a function of the step alone, so nothing has to be stored."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class CosineSchedule:
    """Linear warm-up, then half a cosine, then the minimum for good (timm's `CosineLRScheduler` by steps).

    Attributes:
        peak: value after the warm-up.
        floor: value at the end.
        start: value of step 0 when there is a warm-up.
        warmup_steps, total_steps: in updates; the cosine runs over all steps, the warm-up hides its start.
    """

    peak: float
    floor: float
    start: float
    warmup_steps: int
    total_steps: int

    def at(self, step: int) -> float:
        """The value for the update number `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.start + (self.peak - self.start) * step / self.warmup_steps
        progress = min(1.0, step / max(1, self.total_steps))
        return self.floor + 0.5 * (self.peak - self.floor) * (1.0 + math.cos(math.pi * progress))
