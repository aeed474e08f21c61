"""A tensor that stands in a file and has not been read yet."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class StoredTensor:
    """What `read` gives.

    Attributes:
        identity: equal for two names of the same numbers.
        read: raises FastViTError where the file is damaged there, or holds no plain numbers.
    """

    identity: Hashable
    read: Callable[[], Tensor]


StateDicts = dict[tuple[str, ...], dict[str, StoredTensor]]
"""All tensors of a file: by the keys that lead to a dictionary of tensors, those in it by their names."""
