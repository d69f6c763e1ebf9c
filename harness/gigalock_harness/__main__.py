# SPDX-License-Identifier: GPL-2.0-or-later
"""python3 -m gigalock_harness"""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
