# SPDX-License-Identifier: Apache-2.0
"""Without Lightning the modules of training can be imported, and a training run says what it needs."""

import subprocess
import sys


def test_without_lightning_an_object_of_its_classes_says_what_is_missing() -> None:
    code = (
        "import sys; sys.modules['lightning'] = None\n"
        "from centertrack_ros.training.module import TrackingModule\n"
        "TrackingModule(None, None, None)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: training needs Lightning 2.6 or later")
