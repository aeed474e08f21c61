"""Values that nobody expects where a number, a name or a list should be."""

from __future__ import annotations

import random
from typing import Any

_ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    7,
    10**9,
    2**63,
    10**400,
    0.5,
    -0.0,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "0",
    "x",
    "x" * 10_000,
    "\x00",
    "\x1b[31m\n",
    "\u202e\ufeff\ud83d\ude00",
    "../../etc/passwd",
    [],
    [1],
    [[1, 2], [3]],
    {},
    {"a": {"b": [None]}},
    ["x"] * 1000,
)


def odd_json_value(rng: random.Random) -> Any:
    """One of them; integers of 400 digits, NaN and infinity are no strict JSON, but what Python reads and writes."""
    return rng.choice(_ODD)
