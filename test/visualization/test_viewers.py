# SPDX-License-Identifier: Apache-2.0
"""Recordings for viewers: read back, they hold each frame's image, boxes, trails and heatmap at the frame's time."""

from __future__ import annotations

import builtins
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from centertrack_ros.cli._track_outputs import TrackOutputs
from centertrack_ros.cli.main import main
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.types import MOTION_MOVING, Detections, Frame, FrameResult, Tracks
from centertrack_ros.visualization.foxglove_log import ANNOTATIONS, CALIBRATION, IMAGE, PRIOR, SCENE, FoxgloveLog
from centertrack_ros.visualization.rerun_log import RerunLog
from centertrack_ros.visualization.views import View, ViewMaker

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("car", "person")
CAMERA = Camera.from_focal(320, 240, 300.0)
START = 1_700_000_000.0
COUNT = 8


def make_views(solid: bool = True, joints: bool = False) -> list[View]:
    """A car that crosses the image, a person who stands there and is gone in the last frame."""
    maker, views = ViewMaker(CLASSES), []
    for number in range(COUNT):
        boxes = np.array([[20.0 + 25 * number, 100, 80 + 25 * number, 140], [150, 60, 180, 150]], np.float32)
        detections = replace(Detections.from_boxes(boxes, np.array([0.9, 0.8]), np.array([0, 1])))
        if solid:
            detections = replace(
                detections,
                dimensions=np.array([[1.5, 1.8, 4.2], [1.7, 0.6, 0.6]], np.float32),
                locations=np.array([[-3.0 + number, 1.5, 14.0], [0.5, 1.5, 9.0]], np.float32),
                rotations_y=np.array([0.1, 0.0], np.float32),
            )
        if joints:
            detections = replace(detections, keypoints=np.full((2, 17, 2), 50.0, np.float32))
        hits = np.array([number + 1, 0 if number == COUNT - 1 else number + 1])
        motion = np.array([MOTION_MOVING, 0], np.uint8)
        tracks = Tracks(detections, np.array([4, 9]), np.ones(2, np.int64), hits, np.zeros(2), motion_states=motion)
        prior = np.zeros((0, 3), np.int64) if number == 0 else np.array([[30, 30, 6]])
        result = FrameResult(tracks, prior, (60, 80), np.eye(2, 3))
        image = np.full((240, 320, 3), 20 * number, np.uint8)
        views.append(maker.make(Frame(image, START + 0.1 * number, CAMERA, index=number + 1), result))
    return views


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of 100 kB; skips where none can be mounted."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("kind", ["rerun", "foxglove"])
def test_a_full_disk_is_one_sentence_and_leaves_no_file(tmp_path, kind) -> None:
    pytest.importorskip(kind, reason="the viewer's library is not installed")
    for number in range(1, 5):  # noise hardly compresses
        pixels = np.random.default_rng(number).integers(0, 256, (240, 320, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), pixels)
    (tmp_path / "det.txt").write_text("1,-1,10,20,30,40,0.9\n2,-1,12,20,30,40,0.9\n")
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-m", "centertrack_ros.cli.main", "track", str(tmp_path), "--weights", "none"]
    command += ["--detections", str(tmp_path / "det.txt"), f"--{kind}", str(tmp_path / "out" / "it.log")]
    with small_disk(tmp_path / "out"):
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        said = f"centertrack track: {tmp_path / 'out' / 'it.log'}: "
        assert any(line.startswith(said) for line in done.stderr.splitlines()), done.stderr
        assert not any((tmp_path / "out").iterdir())


def test_a_view_shows_what_is_seen_with_its_name_trail_and_heatmap() -> None:
    first, *_, last = make_views()
    assert first.captions == ["car 4, moving", "person 9"] and last.captions == ["car 4, moving"]
    assert len(last.boxes) == 1 and len(last.trails[0]) > 2 and not len(first.trails[0])
    prior = cv2.imdecode(np.frombuffer(last.prior, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert prior.shape == (60, 80) and prior[30, 30] > 240 and prior[5, 70] < 10


def columns_of(path: Path) -> dict[str, list]:
    """Entity -> its chunks as tables, in a .rrd file."""
    chunk = pytest.importorskip("rerun.chunk", reason="rerun-sdk is not installed (the extra viewers)")
    found: dict[str, list] = {}
    for part in chunk.RrdReader(path).stream():
        found.setdefault(part.entity_path, []).append(part.to_record_batch())
    return found


def cells(batches: list, words: str) -> list:
    """The values of the columns whose names contain `words`, in all rows."""
    rows = []
    for batch in batches:
        [name] = [name for name in batch.schema.names if words in name]
        rows += batch.column(name).to_pylist()
    return rows


@pytest.mark.parametrize("solid", [True, False])
def test_a_rerun_recording_read_back_has_all_on_one_timeline(tmp_path: Path, solid: bool) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk is not installed (the extra viewers)")
    with RerunLog("clip", tmp_path / "clip.rrd") as log:
        for view in make_views(solid):
            log.add(view)
    found = columns_of(tmp_path / "clip.rrd")
    for entity in ("/camera/image", "/camera/image/boxes", "/camera/image/trails", "/prior_heatmap", "/objects"):
        assert sorted(cells(found[entity], "frame")) == list(range(1, COUNT + 1)), entity
    labels = [row for row in cells(found["/camera/image/boxes"], "Boxes2D:labels")]
    assert sorted(map(len, labels)) == [1] + [2] * (COUNT - 1)
    in_space = cells(found["/objects"], "Boxes3D:centers")
    assert sum(len(row or ()) for row in in_space) == (2 * COUNT - 1 if solid else 0)


def messages_of(path: Path) -> dict[str, list]:
    """Topic -> (time ns, message) in an MCAP with Foxglove's schemas."""
    reader = pytest.importorskip("mcap.reader", reason="mcap is not installed")
    decoder = pytest.importorskip("mcap_protobuf.decoder", reason="mcap-protobuf-support is not installed")
    found: dict[str, list] = {}
    with path.open("rb") as file:
        messages = reader.make_reader(file, decoder_factories=[decoder.DecoderFactory()]).iter_decoded_messages()
        for _, channel, message, content in messages:
            found.setdefault(channel.topic, []).append((message.log_time, content))
    return found


def test_a_foxglove_recording_read_back_has_annotations_and_a_scene(tmp_path: Path) -> None:
    pytest.importorskip("foxglove", reason="foxglove-sdk is not installed (the extra viewers)")
    views = make_views(joints=True)
    with FoxgloveLog(tmp_path / "clip.mcap") as log:
        for view in views:
            log.add(view)
    found = messages_of(tmp_path / "clip.mcap")
    times = [round(view.stamp * 1e9) for view in views]
    for topic in (IMAGE, ANNOTATIONS, SCENE, CALIBRATION):
        assert [time for time, _ in found[topic]] == times, topic
    assert [text.text for text in found[ANNOTATIONS][0][1].texts] == views[0].captions
    scenes = [scene for _, scene in found[SCENE]]
    assert [len(scene.entities) for scene in scenes] == [2] * (COUNT - 1) + [1]
    assert all(len(scene.deletions) == 1 for scene in scenes), "what is gone is deleted"
    [cube] = scenes[-1].entities[0].cubes
    assert scenes[-1].entities[0].id == "4" and cube.size.x == pytest.approx(4.2)
    assert cube.pose.position.y == pytest.approx(1.5 - 0.75)
    image = cv2.imdecode(np.frombuffer(found[IMAGE][3][1].data, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (240, 320, 3) and abs(int(image[10, 10, 0]) - 60) < 4


def topics_of(layout: str) -> set[str]:
    """The topics that a layout of config/foxglove names, without the fields of plots."""
    text = (ROOT / "config" / "foxglove" / layout).read_text()
    panels = json.loads(text)["configById"]
    assert set(re.findall(r'"(?:first|second)": "([^"]+)"', text)) == set(panels), "each panel has its place"
    return {name.split(".")[0] for name in re.findall(r'"(/[a-z_/]+(?:\.[a-z_]+)?)"', text)}


def test_the_layout_for_recordings_names_their_topics() -> None:
    assert topics_of("track.json") == {IMAGE, ANNOTATIONS, SCENE, CALIBRATION, PRIOR}


def test_the_layout_for_the_node_names_topics_that_it_documents() -> None:
    documented = (ROOT / "docs" / "ros.md").read_text()
    for topic in topics_of("node.json"):
        assert f"`{topic.replace('/centertrack/', '~/')}`" in documented, topic


@pytest.mark.parametrize(
    ("module", "make", "option"), [("rerun", RerunLog, "--rerun"), ("foxglove", FoxgloveLog, "--foxglove")]
)
def test_without_its_library_a_viewer_is_one_sentence(monkeypatch, capsys, tmp_path, module, make, option) -> None:
    real = builtins.__import__

    def refuse(name, *rest, **options):
        if name.split(".")[0] == module:
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    arguments = ("clip", tmp_path / "x") if module == "rerun" else (tmp_path / "x",)
    with pytest.raises(ImportError, match=rf"{option} needs the \w+ SDK: pip install 'centertrack_ros\[viewers\]'"):
        make(*arguments)
    clip = str(ROOT / "demo" / "pets09_s2l1")
    assert main(["track", clip, "--output", str(tmp_path), option, str(tmp_path / "x")]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"centertrack track: {option} needs the ") and not (tmp_path / "x").exists()


def test_both_recordings_come_from_one_run_and_are_named_at_its_end(tmp_path: Path, capsys) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk is not installed (the extra viewers)")
    pytest.importorskip("foxglove", reason="foxglove-sdk is not installed (the extra viewers)")
    files = tmp_path / "new" / "clip.rrd", tmp_path / "new" / "clip.mcap"
    frames = [Frame(np.zeros((60, 80, 3), np.uint8), 0.1 * i, index=i + 1) for i in range(3)]
    nothing = FrameResult(Tracks.empty(), np.zeros((0, 3), np.int64), (32, 32), np.eye(2, 3), {"network": 1.0})
    with TrackOutputs("clip", CLASSES, tmp_path, rerun=files[0], foxglove=files[1]) as outputs:
        for frame in frames:
            outputs.add(frame, nothing)
    outputs.report("torch")
    assert capsys.readouterr().out.splitlines()[-2:] == [str(file) for file in files]
    assert len(columns_of(files[0])["/camera/image"]) >= 1
    assert {topic: len(found) for topic, found in messages_of(files[1]).items()} == {IMAGE: 3, PRIOR: 3, ANNOTATIONS: 3}


def test_a_recording_that_cannot_be_written_is_an_error_of_the_system(tmp_path: Path) -> None:
    for module, make in (("rerun", lambda path: RerunLog("clip", path)), ("foxglove", FoxgloveLog)):
        pytest.importorskip(module, reason="the extra viewers is not installed")
        with pytest.raises(IsADirectoryError):
            make(tmp_path)
