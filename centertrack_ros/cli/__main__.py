# SPDX-License-Identifier: Apache-2.0
"""`python -m centertrack_ros.cli VERB …`: the same as the command `centertrack`."""

import sys

from centertrack_ros.cli.main import main

if __name__ == "__main__":  # tools that import every module, such as Sphinx, run no command
    sys.exit(main())
