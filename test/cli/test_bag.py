# SPDX-License-Identifier: Apache-2.0
"""`centertrack bag from-…`: pictures go into the bag, or it is said that they do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("rosbags")

from centertrack_ros.cli.main import main
from centertrack_ros.datasets.bag_tracks import read_tracks
from centertrack_ros.datasets.bag_writer import write_bag
from centertrack_ros.io.sources import open_source
from support.training_sets import WRITERS, truth


def _coco(folder: Path, names: list[str], **image: Any) -> Path:
    """A document of a video with an object in each image; nobody writes the images."""
    images = [{"id": n, "video_id": 1, "frame_id": n, "file_name": name} | image for n, name in enumerate(names, 1)]
    rows = [{"image_id": i["id"], "category_id": 1, "bbox": [1, 2, 3, 4], "track_id": 5} for i in images]
    document = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "car"}]}
    folder.mkdir(exist_ok=True)
    (folder / "a.json").write_text(json.dumps(document))
    return folder / "a.json"


def _picture(path: Path, height: int = 30, width: int = 40) -> None:
    cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))


def _bag(*command: object) -> int:
    return main(["bag", *map(str, command)])


def test_a_bag_without_any_picture_is_not_written(tmp_path: Path, capsys: Any) -> None:
    file = _coco(tmp_path, ["no/1.jpg", "no/2.jpg"])
    assert _bag("from-coco", file, tmp_path / "bag") == 1
    words = capsys.readouterr().err
    assert "no image was found" in words and "--images" in words and words.count("\n") == 1
    assert not (tmp_path / "bag").exists()


def test_pictures_that_are_missing_are_counted(tmp_path: Path, capsys: Any) -> None:
    file = _coco(tmp_path, ["1.jpg", "2.jpg", "3.jpg"])
    _picture(tmp_path / "1.JPG")
    assert _bag("from-coco", file, tmp_path / "bag", "--rate", "5") == 0
    assert "3 frames of camera; 2 of them have no image" in capsys.readouterr().out
    [recording] = read_tracks(tmp_path / "bag").values()
    assert [frame.stamp - recording.frames[0].stamp for frame in recording] == pytest.approx([0.0, 0.2, 0.4])


@pytest.mark.parametrize("form", ["from-mot", "from-kitti", "from-nuscenes"])
def test_every_form_writes_the_pictures_of_a_scene(tmp_path: Path, form: str) -> None:
    WRITERS[form.removeprefix("from-")](truth(tmp_path / "images"), tmp_path)
    source = {"from-mot": "MOT17-99", "from-kitti": ".", "from-nuscenes": "sample_info.json"}[form]
    others = ["--sequence", "0007"] if form == "from-kitti" else []
    assert _bag(form, tmp_path / source, tmp_path / "bag", *others) == 0
    assert len(list(open_source(tmp_path / "bag"))) == 3
    [recording] = read_tracks(tmp_path / "bag").values()
    assert [len(frame.tracks) for frame in recording] == [2, 2, 2]
    assert len({identity for frame in recording for identity in frame.tracks.ids.tolist()}) == 2


def test_a_rate_that_nobody_tells_is_said(tmp_path: Path, caplog: Any) -> None:
    file = _coco(tmp_path, ["1.jpg", "2.jpg"])
    for name in ("1.jpg", "2.jpg"):
        _picture(tmp_path / name)
    assert _bag("from-coco", file, tmp_path / "bag") == 0
    assert "no rate is told, so its frames are stamped at 10 frames/s" in caplog.text
    assert list(open_source(tmp_path / "bag"))[1].stamp % 1 == pytest.approx(0.1)
    with pytest.raises(SystemExit):
        _bag("from-coco", file, tmp_path / "other", "--rate", "0")


def test_of_several_videos_one_has_to_be_named(tmp_path: Path, capsys: Any) -> None:
    file = _coco(tmp_path, ["1.jpg", "2.jpg"])
    document = json.loads(file.read_text())
    document["images"][1]["video_id"] = 2
    file.write_text(json.dumps(document | {"videos": [{"id": 1, "file_name": "a"}, {"id": 2, "file_name": "b"}]}))
    _picture(tmp_path / "2.jpg")
    assert _bag("from-coco", file, tmp_path / "bag") == 1
    assert "2 videos (a, b): --video NAME says which" in capsys.readouterr().err
    assert _bag("from-coco", file, tmp_path / "bag", "--video", "c") == 1
    assert "no video 'c'; there is a, b" in capsys.readouterr().err
    assert _bag("from-coco", file, tmp_path / "bag", "--video", "b") == 0


@pytest.mark.parametrize("raw", [False, True])
def test_a_picture_is_turned_as_its_annotations_are(tmp_path: Path, raw: bool) -> None:
    """EXIF orientation 6: the stored 30x40 px are shown as 40x30."""
    file = _coco(tmp_path, ["1.jpg"], width=40, height=30)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 40), "red").save(tmp_path / "1.jpg", exif=exif)
    assert _bag("from-coco", file, tmp_path / "bag", *(["--raw"] if raw else [])) == 0
    [frame] = open_source(tmp_path / "bag")
    assert frame.image.shape == (30, 40, 3)


@pytest.mark.parametrize("raw", [False, True])
def test_a_picture_of_another_size_than_its_annotations_is_refused(tmp_path: Path, capsys: Any, raw: bool) -> None:
    file = _coco(tmp_path, ["1.jpg"], width=80, height=60)
    _picture(tmp_path / "1.jpg")
    assert _bag("from-coco", file, tmp_path / "bag", *(["--raw"] if raw else [])) == 1
    assert "1.jpg: has 40x30 px, its annotations are for 80x60" in capsys.readouterr().err


@pytest.mark.parametrize("raw", [False, True])
def test_pictures_that_cannot_be_read_are_counted_and_none_is_an_error(
    tmp_path: Path, capsys: Any, caplog: Any, raw: bool
) -> None:
    file, options = _coco(tmp_path, ["1.jpg", "2.jpg"]), ["--raw"] if raw else []
    (tmp_path / "1.jpg").write_bytes(b"\xff\xd8 no more")
    _picture(tmp_path / "2.jpg")
    assert _bag("from-coco", file, tmp_path / "bag", *options) == 0
    assert "2 frames of camera; 1 of them have no image" in capsys.readouterr().out
    assert "1 images cannot be read, the first is" in caplog.text and "1.jpg" in caplog.text
    assert len(list(open_source(tmp_path / "bag"))) == 1
    (tmp_path / "2.jpg").write_bytes(b"")
    assert _bag("from-coco", file, tmp_path / "other", *options) == 1
    assert "1.jpg" in capsys.readouterr().err and not (tmp_path / "other").exists()


def test_a_video_with_truth_by_frame_number(tmp_path: Path, caplog: Any, capsys: Any) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (64, 48))
    for shade in range(3):
        writer.write(np.full((48, 64, 3), 80 * shade, np.uint8))
    writer.release()
    (tmp_path / "gt.txt").write_text("2,7,1,1,9,9,1,1,1\n8,7,1,1,9,9,1,1,1\n")
    options = ["--truth", tmp_path / "gt.txt", "--focal", "50"]
    assert _bag("from-video", tmp_path / "v.avi", tmp_path / "bag", *options) == 0
    assert "1 frames of the truth are not in the video" in caplog.text
    [recording] = read_tracks(tmp_path / "bag").values()
    assert [len(frame.tracks) for frame in recording] == [0, 1, 0]
    (tmp_path / "gt.txt").write_text("0,7,1,1,9,9,1,1,1\n")
    assert _bag("from-video", tmp_path / "v.avi", tmp_path / "other", *options) == 1
    assert "a video's frames count from 1" in capsys.readouterr().err


def test_a_database_needs_a_scene(tmp_path: Path, capsys: Any) -> None:
    assert _bag("from-nuscenes", tmp_path, tmp_path / "bag") == 1
    assert "--scene NAME" in capsys.readouterr().err


def _mot_folder(folder: Path, numbers: list[int]) -> Path:
    (folder / "img1").mkdir(parents=True)
    (folder / "gt").mkdir()
    for number in numbers:
        _picture(folder / "img1" / f"{number:06d}.jpg")
    rows = "".join(f"{number},1,2,3,10,10,1,1,1\n" for number in numbers)
    (folder / "gt" / "gt.txt").write_text(rows)
    return folder


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("numbers", [[1, 2, 3], [1, 2, 6, 7], [8, 9, 12]])
def test_images_keep_their_numbers_in_a_bag(tmp_path: Path, numbers: list[int], storage: str) -> None:
    folder = _mot_folder(tmp_path / "a", numbers)
    assert _bag("from-mot", folder, tmp_path / "bag", "--rate", "10", "--storage", storage) == 0
    assert [frame.index for frame in open_source(tmp_path / "bag")] == numbers
    [recording] = read_tracks(tmp_path / "bag").values()
    assert [frame.index + 1 for frame in recording] == numbers


@pytest.mark.parametrize("raw", [[], ["--raw"]])
def test_a_file_that_is_no_image_is_counted_and_shifts_no_number(tmp_path: Path, caplog: Any, raw: list[str]) -> None:
    folder = _mot_folder(tmp_path / "a", [1, 2, 3, 4])
    (folder / "img1" / "000002.jpg").write_text("no image")
    assert _bag("from-mot", folder, tmp_path / "bag", "--rate", "10", *raw) == 0
    assert "1 images cannot be read, the first is" in caplog.text and "000002.jpg" in caplog.text
    assert [frame.index for frame in open_source(tmp_path / "bag")] == [1, 3, 4]


def test_times_as_names_of_images_are_said(tmp_path: Path, capsys: Any) -> None:
    folder = _mot_folder(tmp_path / "a", [1532402927647423000, 1532402927747423000])
    assert _bag("from-mot", folder, tmp_path / "bag", "--rate", "10") == 1
    words = capsys.readouterr().err
    assert "a time or date as name" in words and words.count("\n") == 1


def test_a_time_that_ros_cannot_tell_is_said(tmp_path: Path, capsys: Any) -> None:
    file = _coco(tmp_path, ["1.jpg", "2.jpg"])
    document = json.loads(file.read_text())
    document["images"][1]["frame_id"] = 10**17
    file.write_text(json.dumps(document))
    for name in ("1.jpg", "2.jpg"):
        _picture(tmp_path / name)
    assert _bag("from-coco", file, tmp_path / "bag", "--rate", "1") == 1
    words = capsys.readouterr().err
    assert "ROS counts times from 1970 to 2038" in words and words.count("\n") == 1
    assert not (tmp_path / "bag").exists()


def test_results_of_a_recording_are_annotations_and_a_scene_for_foxglove(tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("foxglove", reason="foxglove-sdk is not installed (the extra viewers)")
    reader = pytest.importorskip("mcap.reader", reason="mcap is not installed")
    decoder = pytest.importorskip("mcap_protobuf.decoder", reason="mcap-protobuf-support is not installed")
    from centertrack_ros.visualization.foxglove_log import ANNOTATIONS, IMAGE, SCENE

    known = truth(tmp_path / "images")
    write_bag(tmp_path / "bag", {"camera": known})
    file = tmp_path / "seen.mcap"
    assert _bag("to-foxglove", tmp_path / "bag", file, "--results-prefix", "/truth") == 0
    assert f"{file}: {len(known.frames)} images, {len(known.frames)} of them with results" in capsys.readouterr().out
    [results] = read_tracks(tmp_path / "bag").values()
    found: dict[str, list[Any]] = {IMAGE: [], ANNOTATIONS: [], SCENE: []}
    with file.open("rb") as stream:
        messages = reader.make_reader(stream, decoder_factories=[decoder.DecoderFactory()]).iter_decoded_messages()
        for _, channel, message, content in messages:
            found.setdefault(channel.topic, []).append((message.log_time, content))
    assert [len(found[topic]) for topic in (IMAGE, ANNOTATIONS, SCENE)] == [len(known.frames)] * 3
    for (time, drawn), (_, scene), frame in zip(found[ANNOTATIONS], found[SCENE], results, strict=True):
        assert abs(time - int(frame.token)) < 1000
        corners = [(one.points[0].x, one.points[0].y) for one in drawn.points if len(one.points) == 4]
        assert sorted(corners) == pytest.approx(sorted(map(tuple, frame.tracks.detections.boxes[:, :2].tolist())))
        assert {int(one.id) for one in scene.entities} <= set(frame.tracks.ids.tolist())
    assert any(scene.entities for _, scene in found[SCENE])
    assert _bag("to-foxglove", tmp_path / "bag", tmp_path / "none.mcap") == 1
    words = capsys.readouterr().err
    assert "no detections (Detection2DArray, Detection3DArray)" in words and words.count("\n") == 1
