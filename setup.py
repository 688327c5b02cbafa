# SPDX-License-Identifier: Apache-2.0
"""`pip install .`: the metadata is in pyproject.toml; this file has what pyproject.toml cannot express.

colcon does not read this file: CMakeLists.txt installs the same things there. Both put them where `ros2 run` and
`ros2 launch` look: the executables in lib/<package>, the rest in share/<package>, and a marker in the ament index.
"""

import gzip
import io
import os
import re
import tarfile
from pathlib import Path
from typing import Any

from setuptools import find_packages, setup
from setuptools.command.sdist import sdist

NAME = "centertrack_ros"
HERE = Path(__file__).resolve().parent


def version() -> str:
    """Reads the version from the package without importing it."""
    match = re.search(r'^__version__ = "(.+)"$', (HERE / NAME / "__init__.py").read_text(), re.MULTILINE)
    assert match is not None
    return match[1]


def share(folder: str) -> list[tuple[str, list[str]]]:
    """Lists where the files of a folder go: (share/<package>/<folder>…, files), one entry for each folder in it."""
    files: dict[Path, list[str]] = {}
    for path in sorted((HERE / folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            files.setdefault(path.parent.relative_to(HERE), []).append(str(path.relative_to(HERE)))
    return [(f"share/{NAME}/{place}", names) for place, names in files.items()]


def ament_marker() -> str:
    """Makes the empty file by which ROS tools find the package, and returns its path."""
    marker = HERE / "build" / "ament_marker" / NAME
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    return str(marker.relative_to(HERE))


class ReproducibleSdist(sdist):
    """With SOURCE_DATE_EPOCH set, the same sources give the same bytes, as setuptools has it for wheels only."""

    def make_archive(self, base_name: Any, format: str, *args: Any, **options: Any) -> str:
        """Makes the archive, and writes it again without what differs from build to build."""
        path = str(super().make_archive(base_name, format, *args, **options))
        epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
        if epoch and path.endswith(".tar.gz"):
            Path(path).write_bytes(normalized(Path(path), int(epoch)))
        return path


def normalized(path: Path, epoch: int) -> bytes:
    """The archive with sorted members of one time and one owner."""
    content = io.BytesIO()
    with (
        tarfile.open(path) as old,
        gzip.GzipFile("", "wb", 9, content, mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.pax_headers = {}
            member.mode = 0o755 if member.mode & 0o100 else 0o644
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    return content.getvalue()


setup(
    version=version(),
    cmdclass={"sdist": ReproducibleSdist},
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={
        NAME: ["**/*.safetensors", "**/*.md", "**/*.yaml", "**/*.json", "**/LICENSE*", "**/*.mcap", "py.typed"]
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [ament_marker()]),
        (f"share/{NAME}", ["package.xml", "LICENSE", "NOTICE"]),
        (f"lib/{NAME}", ["bin/centertrack", "bin/centertrack_node"]),
        *share("config"),
        *share("demo"),
        *share("deploy"),
        *share("launch"),
    ],
)
