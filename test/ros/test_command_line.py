# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the node's command line is one sentence: an error with exit code 1, or a warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.ros_harness import START_S, TORCH, launch_node, start_node, stop_node, wait_until

FILES = {
    "broken": "/**: [1\n",
    "no_parameters": "tracker:\n  min_hits: 3\n",
    "empty_list": "/**:\n  ros__parameters:\n    cameras: []\n    tracker:\n      min_hits: []\n",
    "other_type": "/**:\n  ros__parameters:\n    tracker:\n      min_hits: many\n",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("parameters")
    for name, text in FILES.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--params-file", "/nowhere.yaml"], "'--params-file /nowhere.yaml'. Error: Error opening YAML file"),
        (["--params-file", "{files}/broken.yaml"], "broken.yaml'. Error: "),
        (["--params-file", "{files}/no_parameters.yaml"], "no_parameters.yaml'. Error: "),
        (["--params-file", "{files}/empty_list.yaml"], "tracker.min_hits cannot be an empty list"),
        (["--params-file", "{files}/other_type.yaml"], "tracker.min_hits"),
        (["-r", "__node:=front-left"], "'-r __node:=front-left'"),
        (["-r", "nonsense"], "'-r nonsense'"),
        (["-p", "cameras:=[front-left]"], "cameras: 'front-left' cannot be part of a topic's name"),
        (["-p", "cameras:=[3d]"], "cameras: '3d' cannot be part of a topic's name"),
        (["-p", "tracker.motion:=magic"], "tracker.motion must be one of"),
    ],
    ids=lambda value: Path(value[-1]).name if isinstance(value, list) else "",
)
def test_what_cannot_be_used_is_one_sentence(arguments: list[str], words: str, files, ros) -> None:
    process = launch_node(name="refused", more=[argument.format(files=files) for argument in arguments])
    wait_until(lambda: not process.alive, START_S, "the end")
    code, _ = process.end()
    assert code == 1 and not process.logged("Traceback"), "\n".join(process.lines)
    [line] = process.logged("centertrack_node: ")
    assert words in line and "/src/" not in line


def test_what_has_no_effect_is_a_warning(tmp_path: Path, ros) -> None:
    """Names that the node does not have, and files for other nodes; not files that are for this one too."""
    (tmp_path / "other.yaml").write_text("/front/detector:\n  ros__parameters:\n    tracker: {min_hits: 3}\n")
    (tmp_path / "both.yaml").write_text(
        "other: {ros__parameters: {a: 1}}\n/**/warned: {ros__parameters: {use_sim_time: false}}\n"
    )
    (tmp_path / "nested.yaml").write_text("robot:\n  warned:\n    ros__parameters: {tracker: {min_hits: 2}}\n")
    more = ["-r", "__ns:=/robot", "-p", "tracker.min_hit:=3", "-p", "qos_overrides./parameter_events.depth:=5"]
    for name in ("other", "both", "nested"):
        more += ["--params-file", str(tmp_path / f"{name}.yaml")]
    node = start_node(TORCH, name="warned", more=more)
    warnings = [line for line in node.logged("[WARN]") if "rmw" not in line and "not built" not in line]
    stop_node(node)
    assert len(warnings) == 2, "\n".join(node.lines)
    assert "parameter 'tracker.min_hit' has no effect" in warnings[0] and "'tracker.min_hits'" in warnings[0]
    assert "has nothing for this node, '/robot/warned': it is for '/front/detector'" in warnings[1]


def test_an_empty_list_stands_for_none(ros) -> None:
    stop_node(start_node(TORCH, name="listed", more=["-p", "cameras:=[]", "-p", "detector.classes:=[]"]))
