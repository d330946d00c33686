"""`python -m filar` is the `filar` command."""

import sys

from filar.cli import main

if __name__ == "__main__":
    sys.exit(main())
