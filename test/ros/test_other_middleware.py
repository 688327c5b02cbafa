# SPDX-License-Identifier: Apache-2.0
"""Another DDS on the wire: Cyclone DDS feeds the node, which runs on Fast DDS, and reads its answers."""

import json
import os
import subprocess
import sys
from importlib import metadata

import pytest

from support.ros_harness import launch_node


def has_invalid_types() -> bool:
    """Kilted's Fast DDS 3 from wheels: Cyclone 11 logs 'invalid type object' and matches no topic."""
    try:
        return metadata.version("ros-fastdds").startswith("3.")
    except metadata.PackageNotFoundError:
        return False


WAYS = {
    "raw, reliable": [],
    # Of a raw image of a megabyte, best effort loses most fragments over UDP, whatever the DDS (docs/deployment.md has
    # the remedy). A small one fits into a socket's usual buffer.
    "raw, best effort": ["--best-effort", "--scale", "0.25"],
    "jpeg, reliable": ["--compressed"],
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_cyclone_feeds_the_node_and_reads_its_detections(ros, way: list[str], capsys) -> None:
    pytest.importorskip("cyclonedds", reason="cyclonedds is not installed: pip install cyclonedds")
    if has_invalid_types():
        pytest.skip("this Fast DDS describes the types of messages in a way that Cyclone DDS refuses")
    domain = os.environ["ROS_DOMAIN_ID"]
    # Only UDP on the loopback interface is common to both: no shared memory, no profile of Fast DDS.
    plain = {"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4", "FASTRTPS_DEFAULT_PROFILES_FILE": ""}
    plain["FASTDDS_DEFAULT_PROFILES_FILE"] = ""
    reliability = "best_effort" if "--best-effort" in way else "reliable"
    process = launch_node(f"camera.reliability:={reliability}", name="wire", **plain)
    try:
        command = [sys.executable, "-m", "support.cyclone_peer", "--node", "wire", "--domain", domain, *way]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    finally:
        process.end()
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    with capsys.disabled():
        print(f"\nCyclone DDS {' '.join(way) or 'raw'}: {found}")
    assert found["answered"] >= (found["sent"] // 2 if "--best-effort" in way else found["sent"])
    assert found["boxes"] > found["answered"]
