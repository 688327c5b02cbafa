# SPDX-License-Identifier: Apache-2.0
"""The node answers as a stranger's process: no home, nothing that can be written, 64 MB of shared memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from support.confinement import IMAGES, USER, refusal

pytestmark = [pytest.mark.ros, pytest.mark.slow]


def run_confined(*options: str) -> tuple[dict, list[str]]:
    """What `support.confinement` prints, and the node's log."""
    if reason := refusal():
        pytest.skip(f"a process cannot be confined here: {reason}")
    if "--tmp" in options and any(Path("/tmp") in Path(place).parents for place in (sys.prefix, __file__)):
        pytest.skip("an empty /tmp would hide this environment, which is in it")
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("FASTDDS_", "FASTRTPS_"))}
    command = ["unshare", "--mount", sys.executable, "-m", "support.confinement", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    facts = json.loads(done.stdout.splitlines()[-1])
    return facts, facts["log"]


@pytest.mark.parametrize("options", [(), ("--tmp",), ("--profile",)], ids=["nothing", "with /tmp", "large images"])
def test_the_node_answers(options: tuple[str, ...]) -> None:
    facts, log = run_confined(*options)
    assert facts["user"] == int(USER) and facts["home"] is None
    assert len(facts["boxes"]) == IMAGES and min(facts["boxes"]) > 0
    assert facts["code"] == 0 and not any("Traceback" in line for line in log)
    # One sentence each says where nothing is kept, and what to do about it.
    assert sum("ROS_LOG_DIR" in line for line in log) == ("--tmp" not in options)
    assert sum("XDG_CACHE_HOME" in line for line in log) == (find_spec("openvino") is not None)
    assert sum("--shm-size" in line for line in log) == ("--profile" in options)
