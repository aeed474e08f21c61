"""Options that may be typed without a value, which Typer does not know: the value is inserted before parsing."""

from collections.abc import Sequence

BARE_VALUES = {
    "--ckpt": "latest",
    "--resume": "latest",
    "--pretrained": "apple_dist_in1k",
    "--wandb": "fastvit",
}


def insert_bare_values(argv: Sequence[str]) -> list[str]:
    """Complete bare options.

    >>> insert_bare_values(["validate", "--ckpt", "--json"])
    ['validate', '--ckpt', 'latest', '--json']
    """
    complete: list[str] = []
    for position, word in enumerate(argv):
        complete.append(word)
        following = argv[position + 1] if position + 1 < len(argv) else None
        if word in BARE_VALUES and (following is None or following.startswith("-")):
            complete.append(BARE_VALUES[word])
    return complete
