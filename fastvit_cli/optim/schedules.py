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
        cooldown_steps: last steps of the total, less than all of them; the cosine ends before and they stay at
            the floor.
    """

    peak: float
    floor: float
    start: float
    warmup_steps: int
    total_steps: int
    cooldown_steps: int = 0

    def at(self, step: int) -> float:
        """The value for the update number `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.start + (self.peak - self.start) * step / self.warmup_steps
        progress = min(1.0, step / max(1, self.total_steps - self.cooldown_steps))
        return self.floor + 0.5 * (self.peak - self.floor) * (1.0 + math.cos(math.pi * progress))


def cosine_weight_decay(initial: float, final: float, total_steps: int) -> CosineSchedule:
    """Weight decay from `initial` to `final` by half a cosine over `total_steps` updates.

    The reference's `CosineWDSchedule`, whose recurrence gives the same values but for rounding. Undecayed groups are
    none of its business: `set_rates` leaves them at 0.
    """
    return CosineSchedule(peak=initial, floor=final, start=initial, warmup_steps=0, total_steps=total_steps)
