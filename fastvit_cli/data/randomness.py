"""Randomness as a function of what it is for: no state to store, the same whatever process draws it."""

import contextlib
import hashlib
import random
import struct
from collections.abc import Iterator

import numpy as np
import torch

_SAMPLE, _BATCH = 0, 1


def seed_everything(seed: int) -> None:
    """Seed every generator that data and training draw from: Python's, numpy's, torch's on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def seed_batch(seed: int, epoch: int, batch: int) -> None:
    """Seed everything for one training step: mixing, erasing and drop path follow from these three numbers."""
    seed_everything(_derive(_BATCH, seed, epoch, batch))


def seed_sample(seed: int, epoch: int, sample: int) -> None:
    """Seed everything that draws on the CPU for one training image."""
    derived = _derive(_SAMPLE, seed, epoch, sample)
    random.seed(derived)
    np.random.seed(derived)
    torch.default_generator.manual_seed(derived)


@contextlib.contextmanager
def kept_randomness() -> Iterator[None]:
    """Leave the process's generators as they were."""
    saved = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(saved[0])
        np.random.set_state(saved[1])
        torch.set_rng_state(saved[2])


def _derive(*key: int) -> int:
    """32 bits that depend on every bit of the four numbers; numpy's SeedSequence takes 30 times as long."""
    digest = hashlib.blake2b(struct.pack("<4q", *key), digest_size=4).digest()
    return int.from_bytes(digest, "little")
