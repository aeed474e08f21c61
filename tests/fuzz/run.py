"""Thousands of changed files, each opened by the program: what it refuses, takes as it was, or takes changed.

    python tests/fuzz/run.py                    all 4,450 cases, about a quarter of an hour on two cores
    python tests/fuzz/run.py --kind state       one kind
    python tests/fuzz/run.py --json out.json    the table as a document too
    python tests/fuzz/run.py --only 1234        one case again; its files stay, and their folder is printed

Needs the `dev` extra and Linux or macOS. A seed and a number name a case, on the same machine and with the same
program. Exit code 0 says that no code ran, nothing was taken with changed values while a checksum could have told,
and nothing went wrong inside: no other exception than the program's own, no crash, no hang, no hunger for memory.
Files that carry no checksum at all are a column of their own. The test suite runs 200 of them: test_fuzz.py.
"""

import sys
from pathlib import Path


def main() -> int:
    sys.path[:0] = [str(Path(__file__).resolve().parents[number]) for number in (1, 2)]  # tests/, and the program
    from fuzz.report import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
