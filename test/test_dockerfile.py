# SPDX-License-Identifier: Apache-2.0
"""The image: who runs in it, what it brings, and that everything it copies is there.

`make lint` reads the file with hadolint; what is checked here is about this package.
"""

from __future__ import annotations

import os
import re
import shlex
import xml.etree.ElementTree as ElementTree
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.footprint import requirements

ROOT = Path(__file__).resolve().parents[1]
# What apt installs, by the rosdep keys of package.xml, of what pip would.
APT_KEYS = {
    "numpy": "python3-numpy",
    "opencv-python-headless": "python3-opencv",
    "pillow": "python3-pil",
    "pyyaml": "python3-yaml",
    "scipy": "python3-scipy",
    "tqdm": "python3-tqdm",
}


def instructions() -> list[tuple[str, str]]:
    """(instruction, its text on one line) of the Dockerfile."""
    lines = [line for line in (ROOT / "docker" / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split()[0], line.partition(" ")[2]) for line in text.splitlines() if line]


def of_kind(kind: str) -> list[str]:
    """The texts of all instructions of one kind."""
    return [text for name, text in instructions() if name == kind]


def test_the_base_is_one_distribution() -> None:
    (base,) = of_kind("FROM")
    tag = base.partition(":")[2]
    assert "${ROS_DISTRO}" in tag and "latest" not in tag
    assert "ROS_DISTRO=jazzy" in of_kind("ARG")


def test_the_last_user_is_a_number_and_not_root() -> None:
    assert int(of_kind("USER")[-1]) >= 1000
    names = [name for name, _ in instructions()]
    assert "RUN" not in names[names.index("USER") :]  # nothing is installed with fewer rights than it needs


def test_no_layer_keeps_lists_of_packages() -> None:
    updates = [text for text in of_kind("RUN") if "apt-get update" in text]
    assert updates and all(text.endswith("rm -rf /var/lib/apt/lists/*") for text in updates)
    assert all("--no-cache-dir" in text for text in of_kind("RUN") if "pip install" in text)


def test_everything_that_is_copied_is_there_and_not_ignored() -> None:
    ignored = (ROOT / "docker" / "Dockerfile.dockerignore").read_text().split("\n")[2:]
    for text in of_kind("COPY"):
        *sources, _ = shlex.split(text)
        for source in sources:
            assert (ROOT / source).exists(), source
            top = Path(source).parts[0] if source != "." else "package.xml"
            assert not any(fnmatch(top, pattern) for pattern in ignored if pattern), source
    (entry,) = of_kind("ENTRYPOINT")
    (copied,) = (text for text in of_kind("COPY") if text.endswith(entry.strip('[]"')))
    assert os.access(ROOT / copied.split()[0], os.X_OK)


def test_the_image_has_what_the_base_installation_has() -> None:
    (pip,) = (text for text in of_kind("RUN") if "pip install" in text)
    manifest = {str(entry.text) for entry in ElementTree.parse(ROOT / "package.xml").getroot()}
    for name in map(str.lower, requirements(())):
        assert name in pip.split() or APT_KEYS.get(name) in manifest, f"nothing brings {name}"
