# SPDX-License-Identifier: GPL-2.0-or-later
"""python3 -m gigalock_harness"""

import sys

from .cli import main

if __name__ == "__main__":
    if sys.argv[1:2] == ["shell"]:
        from . import shell

        sys.exit(shell.main(sys.argv[2:]))
    if sys.argv[1:2] == ["bench"]:
        from .benches import cli

        sys.exit(cli.main(sys.argv[2:]))
    sys.exit(main())
