"""`python -m fastvit_cli` is the same program as `fastvit`."""

import sys

from fastvit_cli.app import main

if __name__ == "__main__":
    sys.exit(main())
