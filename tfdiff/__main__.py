"""`python -m tfdiff`."""

from __future__ import annotations

import sys

from tfdiff.cli import main

if __name__ == "__main__":
    sys.exit(main())
