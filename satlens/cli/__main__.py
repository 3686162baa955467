"""``python -m satlens.cli``."""

import sys

from satlens.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
