# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin that collects as launch_testing's does, which every ROS installation loads: for `-p`.

It imports each test file before pytest does, by its bare name, to see whether it defines `generate_test_description`.
What the import raises, a skip for example, reaches pytest outside of the file's own collection.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from _pytest.pathlib import import_path


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    """Looks into the file, then collects it in the usual way: no file of ours is a launch test for pytest."""
    print(f"imported by the plugin: {module_path.name}", file=sys.stderr)
    new = {} if pytest.version_tuple < (8, 1) else {"consider_namespace_packages": False}
    getattr(import_path(module_path, root=parent.config.rootpath, **new), "generate_test_description", None)
    return pytest.Module.from_parent(parent, path=module_path)
