"""Files among the images that are not read: counted by what their names end in, and told of where worth a word."""

from collections import Counter
from collections.abc import Mapping

from fastvit_cli.data.image_formats import HEIC_REMEDY, HEIC_SUFFIXES

HIDDEN, UNKNOWN, LOOSE = "hidden", "no known suffix", "beside the class folders"
_LONGEST_SUFFIX = 7  # letters and the dot; what is longer is part of a name
_NAMED = 4
_NO_PICTURES = frozenset(
    (
        *(HIDDEN, ".db", ".ini", ".lnk", ".url", ".log", ".bak", ".tmp", ".aae", ".xmp", ".thm"),
        *(".txt", ".md", ".rst", ".html", ".htm", ".py", ".ipynb", ".sh", ".md5", ".sha256"),
        *(".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".toml", ".cfg", ".parquet"),
    )
)


def kind_of(name: str) -> str:
    """Under which word a file that is passed over is counted.

    >>> kind_of("clip.MOV"), kind_of("1.2.840.113619"), kind_of(".DS_Store")
    ('.mov', 'no known suffix', 'hidden')
    """
    if name.startswith("."):
        return HIDDEN
    suffix = name[name.rfind(".") :].lower()
    is_one = "." in suffix and suffix[1:].isalnum() and not suffix[1:].isdecimal() and len(suffix) <= _LONGEST_SUFFIX
    return suffix if is_one else UNKNOWN


def passed_over_words(*counts: Mapping[str, int]) -> str | None:
    """What to say of such files in all places together, and the way to have them read; None of none worth a word.

    Args:
        counts: files by `kind_of`, a place each.
    """
    total: Counter[str] = Counter()
    for place in counts:
        total.update({kind: count for kind, count in place.items() if kind not in _NO_PICTURES})
    if not total:
        return None
    most = total.most_common()
    parts = [_counted(kind, count) for kind, count in most[:_NAMED]]
    others = sum(count for _, count in most[_NAMED:])
    parts += [f"{others:,} of other kinds"] if others else []
    *first, last = parts
    listed = f"{', '.join(first)} and {last}" if first else last
    return f"Passed over, as no images: {listed}. {_remedy(total)}"


def _counted(kind: str, count: int) -> str:
    files = "file" if count == 1 else "files"
    if kind == LOOSE:
        return f"{count:,} {'image' if count == 1 else 'images'} {LOOSE}"
    return f"{count:,} {files} without a known suffix" if kind == UNKNOWN else f"{count:,} {kind} {files}"


def _remedy(kinds: Mapping[str, int]) -> str:
    heic = HEIC_SUFFIXES & kinds.keys()
    remedies = [f"To read {' and '.join(sorted(heic))}: {HEIC_REMEDY}."] if heic else []
    remedies += ["Loose images belong in a class folder."] if LOOSE in kinds else []
    if kinds.keys() - heic - {LOOSE}:
        remedies.append(f"Convert {'the others' if remedies else 'them'} to JPEG or PNG if they are pictures.")
    return " ".join(remedies)
