# SPDX-License-Identifier: Apache-2.0
"""Environments of processes that tests start."""

import os


def unmeasured_environment() -> dict[str, str]:
    """This process's environment for one that coverage does not measure.

    Coverage writes a file at the end of a process, which fails where a test limits the size of files.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
