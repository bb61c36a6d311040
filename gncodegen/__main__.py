"""`python -m gncodegen`."""

from __future__ import annotations

import sys

from gncodegen.cli import main

if __name__ == "__main__":
    sys.exit(main())
