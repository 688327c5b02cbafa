# SPDX-License-Identifier: Apache-2.0
"""The service's unit: systemd can read it, and it lets the node do little beside its work."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parents[1] / "deploy" / "centertrack.service"


def test_the_unit_is_hardened() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True)
    exposure = re.search(r"exposure level.*?: ([0-9.]+)", done.stdout + done.stderr)
    if exposure is None:
        pytest.skip(f"systemd-analyze security does not run here: {done.stderr.strip()[:200]}")
    assert float(exposure[1]) < 3.0, done.stdout


def test_the_network_can_still_be_compiled_and_images_shared() -> None:
    """OpenVINO writes code and runs it; Fast DDS shares memory with other nodes."""
    text = UNIT.read_text()
    for forbidden in ("MemoryDenyWriteExecute=true", "PrivateIPC=true", "PrivateNetwork=true"):
        assert forbidden not in text
