"""`pip install .`: metadata is in pyproject.toml; here is what it cannot say.

colcon does not read this file: CMakeLists.txt installs the same things there. Both put them where `ros2 run` and
`ros2 launch` look: the executables in lib/<package>, the rest in share/<package>, and a marker in the ament index.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

NAME = "centertrack_ros"
HERE = Path(__file__).resolve().parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / NAME / "__init__.py").read_text(), re.MULTILINE)[1]


def share(folder):
    """Where the files of a folder go: [(share/<package>/<folder>…, files)], one entry for each folder in it."""
    found = {}
    for path in sorted((HERE / folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            found.setdefault(path.parent.relative_to(HERE), []).append(str(path.relative_to(HERE)))
    return [(f"share/{NAME}/{place}", files) for place, files in found.items()]


def ament_marker():
    """The empty file by which ROS tools find the package; made here, for an empty file is no source."""
    marker = HERE / "build" / "ament_marker" / NAME
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    return str(marker.relative_to(HERE))


setup(
    version=VERSION,
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
