# SPDX-License-Identifier: Apache-2.0
"""Sphinx configuration: `make docs` builds these pages into out/docs, rosdoc2 builds them with rosdoc2.yaml."""

import importlib.util
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = next((folder for folder in DOCS.parents if (folder / "centertrack_ros" / "__init__.py").is_file()), DOCS.parent)
sys.path[:0] = [str(ROOT), str(DOCS / "_extensions")]

from sphinx.ext.autodoc.mock import _MockObject  # noqa: E402

from centertrack_ros import __version__  # noqa: E402

# Unions of two replaced message types (`Image | CompressedImage`) are evaluated when a module is imported.
_MockObject.__or__ = _MockObject.__ror__ = lambda self, other: self

project = "centertrack_ros"
author = "centertrack_ros maintainers"
copyright = author
release = version = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "myst_parser",
    "cli_reference",
    "message_reference",
    "plain_docstrings",
    "repository_links",
]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = ["_extensions", "_templates"]
templates_path = ["_templates"]
default_role = "code"  # single backticks in docstrings are code, as in Markdown

autosummary_generate = True
autosummary_generate_overwrite = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "ignore-module-all": True}
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_attr_annotations = True
napoleon_use_ivar = True

# ROS 2 and what only some parts import. They are always replaced, so that every machine builds the same pages.
autodoc_mock_imports = [
    "rclpy", "builtin_interfaces", "diagnostic_msgs", "geometry_msgs", "lifecycle_msgs",
    "rcl_interfaces", "rosgraph_msgs", "sensor_msgs", "std_msgs", "std_srvs", "tf2_msgs", "tf2_ros",
    "vision_msgs", "visualization_msgs", "unique_identifier_msgs", "rosidl_runtime_py", "ament_index_python",
    "launch", "launch_ros", "cv_bridge",
    "lightning", "panda3d", "direct", "ray", "onnx", "onnxruntime", "onnxscript", "openvino", "tensorrt",
    "trackeval", "nuscenes", "pycocotools", "motmetrics", "gdown", "tensorboard", "torchvision", "matplotlib",
]  # fmt: skip
# rosdoc2 runs where rosdep's packages are, without those of PyPI.
autodoc_mock_imports += [name for name in ("torch", "safetensors", "rosbags") if not importlib.util.find_spec(name)]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = f"centertrack_ros {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sphinx = False
html_theme_options = {"source_repository": "", "navigation_with_keys": False}
