# SPDX-License-Identifier: Apache-2.0
"""`python -m centertrack_ros.cli VERB …`, the same as the `centertrack` command."""

import sys

from centertrack_ros.cli.main import main

sys.exit(main())
