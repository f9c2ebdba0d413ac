# SPDX-License-Identifier: MIT
"""``python -m fastsock`` is the command ``fastsock``."""

import sys

from fastsock.cli import main

if __name__ == "__main__":
    sys.exit(main())
