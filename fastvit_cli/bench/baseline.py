"""Which row the ratio of another row is to."""

from collections.abc import Sequence

from fastvit_cli.bench.events import BenchRow
from fastvit_cli.errors import FastViTError, closest


def baseline_rows(rows: Sequence[BenchRow], word: str | None) -> list[int]:
    """For each row the index of its baseline, which may be the row itself.

    Among the rows that `word` means, the one that is most like it: of the same part, batch and image size, then of
    the same variant, and so on. Without a word the peer's rows are meant, else the first row of each batch and size.

    Raises:
        FastViTError: no row has such a word.
    """
    if word is not None:
        meant = [index for index, row in enumerate(rows) if word.strip().lower() in _names(row)]
        meant = meant or [index for index, row in enumerate(rows) if word.strip().lower() in row.label.lower()]
        if not meant:
            names = sorted({name for row in rows for name in _names(row)})
            raise FastViTError(
                f"--baseline '{word}' is no word of any row.",
                f"{closest(word, names)}Pass one of: {', '.join(names)}.",
            )
    else:
        meant = [index for index, row in enumerate(rows) if row.peer is not None] or _first_of_each_block(rows)
    return [max(meant, key=lambda index: (_likeness(row, rows[index]), -index)) for row in rows]


def _names(row: BenchRow) -> set[str]:
    return {name.lower() for name in (*row.words, row.part, row.variant, row.peer) if name}


def _first_of_each_block(rows: Sequence[BenchRow]) -> list[int]:
    seen: dict[tuple[object, ...], int] = {}
    for index, row in enumerate(rows):
        seen.setdefault((row.part, row.batch_size, row.img_size), index)
    return list(seen.values())


def _likeness(row: BenchRow, other: BenchRow) -> tuple[bool, ...]:
    fields = ("part", "batch_size", "img_size", "variant", "dtype", "engine", "fuse", "peer", "compute_units", "name")
    return tuple(getattr(row, name) == getattr(other, name) for name in fields)
