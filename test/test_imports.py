# SPDX-License-Identifier: Apache-2.0
"""Imports point one way, the core knows nothing of ROS, and it is imported without any optional package."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "centertrack_ros"

# The order of docs/architecture.md: a module imports its own part and the parts of the lines above it, nothing else.
# Parts of the same line do not import each other.
ARROWS: tuple[tuple[str, ...], ...] = (
    ("array_table", "typed_records"),
    ("geometry",),
    ("types",),
    ("network",),
    ("engine",),
    ("tracking",),
    ("visualization",),
    ("io",),
    ("datasets",),
    ("evaluation", "synthetic"),
    ("training",),  # a recipe names rendered streets among its sources
    ("ros",),
    ("replay",),
    ("cli",),
)
LEVELS = {part: level for level, parts in enumerate(ARROWS) for part in parts}
NEEDS_ROS = ("ros", "replay", "cli")
# They use the package. It never imports them.
OUTSIDE = {"benchmarks", "experiments", "support", "test", "tools"}
ROS_MODULES = {"rclpy", "launch", "launch_ros", "tf2_ros", "cv_bridge", "message_filters"}
OPTIONAL_MODULES = (
    "cv_bridge",
    "gdown",
    "lightning",
    "matplotlib",
    "nuscenes",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "panda3d",
    "pycocotools",
    "pytest",
    "pytorch_lightning",
    "ray",
    "rclpy",
    "tensorboard",
    "tensorrt",
    "trackeval",
)


def sources() -> list[tuple[str, Path]]:
    """Every module below the package's root with the part that it belongs to: a folder, or a module of its own."""
    paths = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
    return [(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path) for path in paths]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_by(path: Path) -> set[str]:
    """Dotted names of every module that a file imports, inside functions and under TYPE_CHECKING too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "centertrack_ros":
            names |= {f"centertrack_ros.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import of {node.module}: write the whole name"
            names.add(str(node.module))
    return names


def is_ros(name: str) -> bool:
    top = name.split(".")[0]
    return top in ROS_MODULES or top.endswith(("_msgs", "_srvs", "_interfaces"))


@pytest.mark.parametrize("part", LEVELS)
def test_every_import_follows_the_arrows(part: str) -> None:
    allowed = {other for other, level in LEVELS.items() if level < LEVELS[part]} | {part}
    wrong = []
    for own, path in sources():
        for name in imported_by(path) if own == part else ():
            parts = name.split(".")
            if parts[0] == "centertrack_ros" and len(parts) > 1 and parts[1] in LEVELS and parts[1] not in allowed:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(sorted(wrong))


def test_every_part_has_its_place_in_the_order() -> None:
    assert {part for part, _ in sources()} <= set(LEVELS)


def test_the_package_imports_nothing_that_stands_outside_of_it() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for _, path in sources()
        for name in imported_by(path)
        if name.split(".")[0] in OUTSIDE
    ]
    assert not wrong, "\n".join(wrong)


def test_the_core_imports_nothing_of_ros() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for part, path in sources()
        for name in imported_by(path)
        if part not in NEEDS_ROS and is_ros(name)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_hides_the_generated_messages() -> None:
    """A centertrack_ros.msg of our own would be found in place of the one that rosidl makes."""
    hiding = [path for name in ("msg", "srv", "action") for path in PACKAGE.rglob(f"{name}*") if path.stem == name]
    assert not hiding


def test_every_module_of_the_core_is_imported_without_ros_and_without_optional_packages() -> None:
    """One interpreter, in which none of those packages can be imported, imports all modules one after the other."""
    names = [module_name(path) for part, path in sources() if part not in NEEDS_ROS]
    code = (
        "import importlib, json, sys\n"
        f"for name in {OPTIONAL_MODULES!r}: sys.modules[name] = None\n"
        "failures = {}\n"
        f"for name in {names!r}:\n"
        "    try: importlib.import_module(name)\n"
        "    except ImportError as error: failures[name] = str(error)\n"
        "print(json.dumps([failures, sorted(name for name, module in sys.modules.items() if module is not None)]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr
    failures, loaded = json.loads(run.stdout.splitlines()[-1])
    assert not failures
    assert set(names) <= set(loaded)
    assert not [name for name in loaded if is_ros(name)]
