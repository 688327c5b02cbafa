"""Imports point one way, the core knows nothing of ROS, and importing it is cheap."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "centertrack_ros"

# Layer -> the layers that it may import. What is on top of the list is what everything stands on.
ARROWS = {
    "geometry": set(),
    "network": {"geometry"},
    "engine": {"geometry", "network"},
    "tracking": {"geometry", "network", "engine"},
    "visualization": {"geometry", "tracking"},
    "datasets": {"geometry", "tracking"},
    "ros": {"geometry", "network", "engine", "tracking", "visualization", "datasets"},
    # Replaying a bag is done by the node's own functions from frame to messages.
    "evaluation": {"geometry", "network", "engine", "tracking", "visualization", "datasets", "ros"},
    "training": {"geometry", "network", "engine", "tracking", "visualization", "datasets", "evaluation"},
    "cli": {"geometry", "network", "engine", "tracking", "visualization", "datasets", "evaluation", "training", "ros"},
    "weights": set(),
}
# Fields of an image or camera_info message to pixels and a camera: functions of anything with those fields, needed for
# messages from a bag as well as from DDS. They import nothing of ROS themselves.
SHARED_CONVERSIONS = {"centertrack_ros.io.image_decoding", "centertrack_ros.io.camera_info"}
ROS_FREE = {"geometry", "network", "engine", "tracking", "visualization", "training"}
ROS_MODULES = {"rclpy", "launch", "launch_ros", "tf2_ros", "cv_bridge", "message_filters", "rcl_interfaces"}


def modules() -> list[tuple[str, Path]]:
    return [(path.relative_to(PACKAGE).parts[0], path) for path in sorted(PACKAGE.glob("*/**/*.py"))]


def imported(tree: ast.AST) -> set[str]:
    """Dotted names of every module that is imported, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "centertrack_ros":
            found |= {f"centertrack_ros.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import of {node.module}: write the whole name"
            found.add(str(node.module))
    return found


def is_ros(name: str) -> bool:
    top = name.split(".")[0]
    return top in ROS_MODULES or top.endswith(("_msgs", "_srvs", "_interfaces"))


def test_every_import_follows_the_arrows() -> None:
    against = []
    for layer, path in modules():
        for name in imported(ast.parse(path.read_text(encoding="utf-8"))) - SHARED_CONVERSIONS:
            parts = name.split(".")
            target = parts[1] if parts[0] == "centertrack_ros" and len(parts) > 1 else layer
            if target in ARROWS and target != layer and target not in ARROWS[layer]:
                against.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not against, "\n".join(against)


def test_every_folder_has_its_place_in_the_picture() -> None:
    assert {layer for layer, _ in modules()} <= set(ARROWS)


def test_shared_conversions_and_the_core_import_nothing_of_ros() -> None:
    paths = [path for layer, path in modules() if layer in ROS_FREE]
    paths += [ROOT / f"{name.replace('.', '/')}.py" for name in SHARED_CONVERSIONS]
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if is_ros(name)
    ]
    assert not found, "\n".join(found)


def test_no_module_hides_the_generated_messages() -> None:
    """A centertrack_ros.msg of our own would be found in place of the one that rosidl makes."""
    hiding = [path for name in ("msg", "srv", "action") for path in PACKAGE.rglob(f"{name}*") if path.stem == name]
    assert not hiding


@pytest.mark.parametrize(
    "layer", ["geometry", "network", "engine", "tracking", "visualization", "datasets", "evaluation", "training"]
)
def test_a_layer_is_imported_without_ros_and_without_optional_packages(layer: str) -> None:
    optional = [
        "lightning",
        "onnx",
        "onnxruntime",
        "openvino",
        "gdown",
        "trackeval",
        "pycocotools",
        "matplotlib",
        "panda3d",
    ]
    code = (
        f"import json, sys\nfor name in {['rclpy', *optional]!r}: sys.modules[name] = None\n"
        f"import centertrack_ros.{layer}\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    loaded = json.loads(run.stdout)
    assert f"centertrack_ros.{layer}" in loaded
    assert not [name for name in loaded if is_ros(name) and name != "rclpy"]
