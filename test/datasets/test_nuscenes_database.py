# SPDX-License-Identifier: Apache-2.0
"""The nuScenes database, in small: the devkit reads it, recordings come out of it, submissions are judged by it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("nuscenes")
pytest.importorskip("motmetrics")

from centertrack_ros.cli.main import main
from centertrack_ros.datasets import nuscenes
from centertrack_ros.datasets.bag_tracks import read_tracks
from centertrack_ros.io.errors import DataError

SAMPLES, STEP = 4, 500_000  # µs
FRONT = [0.5, -0.5, 0.5, -0.5]  # w x y z: optical axes of a camera that looks along the vehicle's x
NONE = [1.0, 0.0, 0.0, 0.0]


def _token(kind: str, number: int) -> str:
    return f"{kind}{number}"


def _write(folder: Path) -> Path:
    """A scene of four samples: the vehicle drives at 2 m/s along x, a car 20 m ahead at 4 m/s, a pedestrian stands."""
    tables: dict[str, list[dict]] = {name: [] for name in ("log", "attribute")}
    tables["map"] = [{"token": "m", "log_tokens": [], "category": "semantic_prior", "filename": "map.png"}]
    tables["category"] = [
        {"token": "c0", "name": "vehicle.car", "description": ""},
        {"token": "c1", "name": "human.pedestrian.adult", "description": ""},
    ]
    tables["visibility"] = [{"token": "4", "level": "v80-100", "description": ""}]
    tables["instance"] = [
        {"token": _token("i", n), "category_token": _token("c", n), "nbr_annotations": 4} for n in (0, 1)
    ]
    tables["sensor"] = [
        {"token": "s0", "channel": "LIDAR_TOP", "modality": "lidar"},
        {"token": "s1", "channel": "CAM_FRONT", "modality": "camera"},
    ]
    matrix = [[1200.0, 0.0, 800.0], [0.0, 1200.0, 450.0], [0.0, 0.0, 1.0]]
    tables["calibrated_sensor"] = [
        {"token": "k0", "sensor_token": "s0", "translation": [0, 0, 1.8], "rotation": NONE, "camera_intrinsic": []},
        {
            "token": "k1",
            "sensor_token": "s1",
            "translation": [1.5, 0, 1.5],
            "rotation": FRONT,
            "camera_intrinsic": matrix,
        },
    ]
    scene = {"token": "scene", "name": "scene-0103", "description": "", "log_token": "l", "nbr_samples": SAMPLES}
    tables["scene"] = [{**scene, "first_sample_token": "p0", "last_sample_token": _token("p", SAMPLES - 1)}]
    for name in ("sample", "sample_data", "ego_pose", "sample_annotation"):
        tables[name] = []
    for n in range(SAMPLES):
        _add_sample(tables, n)
    (folder / "v1.0-mini").mkdir(parents=True)
    (folder / "map.png").touch()  # must be there, is never read
    for name, rows in tables.items():
        (folder / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows))
    return folder


def _add_sample(tables: dict[str, list[dict]], n: int) -> None:
    around = {
        "prev": _token("p", n - 1) if n else "",
        "next": _token("p", n + 1) if n + 1 < SAMPLES else "",
    }
    time = 1_600_000_000_000_000 + n * STEP
    tables["sample"].append({"token": _token("p", n), "timestamp": time, "scene_token": "scene", **around})
    ego = {"token": _token("e", n), "timestamp": time, "rotation": NONE, "translation": [100.0 + n, 50.0, 0.0]}
    tables["ego_pose"].append(ego)
    for sensor, (size, kind) in enumerate((((0, 0), "pcd"), ((900, 1600), "jpg"))):
        tables["sample_data"].append(
            {
                "token": f"d{sensor}{n}",
                "sample_token": _token("p", n),
                "ego_pose_token": _token("e", n),
                "calibrated_sensor_token": _token("k", sensor),
                "timestamp": time,
                "fileformat": kind,
                "is_key_frame": True,
                "height": size[0],
                "width": size[1],
                "filename": f"samples/{sensor}{n}.{kind}",
                "prev": "",
                "next": "",
            }
        )
    places = ([120.0 + 2 * n, 51.0, 0.8], [112.0, 47.0, 0.9])
    sizes = ([1.9, 4.5, 1.6], [0.6, 0.7, 1.8])
    for number, (place, size) in enumerate(zip(places, sizes, strict=True)):
        tables["sample_annotation"].append(
            {
                "token": f"a{number}{n}",
                "sample_token": _token("p", n),
                "instance_token": _token("i", number),
                "visibility_token": "4",
                "attribute_tokens": [],
                "translation": place,
                "size": size,
                "rotation": NONE,
                "prev": f"a{number}{n - 1}" if n else "",
                "next": f"a{number}{n + 1}" if n + 1 < SAMPLES else "",
                "num_lidar_pts": 9,
                "num_radar_pts": 1,
            }
        )


@pytest.fixture
def database(tmp_path) -> Path:
    return _write(tmp_path / "nuscenes")


def test_a_recording_comes_out_in_the_cameras_frame(database):
    [sequence] = nuscenes.read_database(database, cameras=["CAM_FRONT"])
    assert sequence.name == "scene-0103/CAM_FRONT" and len(sequence.frames) == SAMPLES
    first = sequence.frames[0]
    found = first.tracks.detections
    assert [sequence.classes[kind] for kind in found.class_ids] == ["car", "pedestrian"]
    assert found.locations[0] == pytest.approx(
        [-1.0, 1.5, 18.5], abs=1e-9
    )  # bottom: on the road, 1.5 m below the camera
    assert found.dimensions[0] == pytest.approx([1.6, 1.9, 4.5])
    assert found.rotations_y[0] == pytest.approx(-np.pi / 2)
    assert found.velocities[0] == pytest.approx([0, 0, 4.0], abs=1e-6)
    centre = first.camera.project(found.locations - [[0, 0.8, 0], [0, 0.9, 0]])
    assert (centre > found.boxes[:, :2]).all() and (centre < found.boxes[:, 2:]).all()
    assert [frame.tracks.ids.tolist() for frame in sequence] == [[1, 2]] * SAMPLES


def test_the_ground_truth_scores_perfectly_and_a_lost_pedestrian_does_not(database, tmp_path, capsys):
    sequences = nuscenes.read_database(database, cameras=["CAM_FRONT"])
    results, out = tmp_path / "results.json", tmp_path / "out.json"
    nuscenes.write_results(results, sequences)
    command = ["evaluate", "nuscenes", "--results", str(results), "--dataroot", str(database), "--json", str(out)]
    assert main(command) == 0
    classes = json.loads(out.read_text())["classes"]
    for name in ("car", "pedestrian"):
        assert (classes[name]["amota"], classes[name]["ids"], classes[name]["fp"], classes[name]["fn"]) == (
            1.0,
            0,
            0,
            0,
        )
        assert classes[name]["amotp"] < 1e-6
    document = json.loads(results.read_text())
    for token in ("p2", "p3"):
        document["results"][token] = [b for b in document["results"][token] if b["tracking_name"] == "car"]
    results.write_text(json.dumps(document))
    assert main(command) == 0
    classes = json.loads(out.read_text())["classes"]
    assert classes["car"]["amota"] == 1.0 and classes["pedestrian"]["recall"] == 0.5
    del document["results"]["p3"]
    results.write_text(json.dumps(document))
    capsys.readouterr()
    assert main(command) == 1
    assert "the devkit rejects" in capsys.readouterr().err


def test_a_scene_becomes_a_bag(database, tmp_path):
    pytest.importorskip("rosbags")
    command = ["bag", "from-nuscenes", str(database), str(tmp_path / "bag"), "--scene", "scene-0103"]
    assert main(command) == 0
    assert [len(frame.tracks) for frame in read_tracks(tmp_path / "bag")["CAM_FRONT"]] == [2] * SAMPLES


def test_what_is_missing_is_named(database):
    with pytest.raises(DataError, match=r"v1\.0-mini has no scene 'scene-9999'"):
        nuscenes.read_database(database, scenes=["scene-9999"])
    (database / "v1.0-mini" / "sample_data.json").unlink()
    with pytest.raises(DataError, match="not a complete nuScenes database"):
        nuscenes.read_database(database)


def test_the_database_is_training_data(database):
    from centertrack_ros.training.recipe import DataEntry
    from centertrack_ros.training.sources import load

    (database / "samples").mkdir()
    for number in range(SAMPLES - 1):
        cv2.imwrite(str(database / "samples" / f"1{number}.jpg"), np.zeros((900, 1600, 3), np.uint8))
    found = load(DataEntry("nuscenes", folder=str(database), version="v1.0-mini"), ("car", "person", "boat"))
    assert found.problems == {"missing image": 1} and found.unlabelled.tolist() == [2]
    assert [image.class_ids.tolist() for image in found.images] == [[0, 1]] * (SAMPLES - 1)
    first = found.images[0]
    assert first.depths[0] == pytest.approx(18.5) and first.velocities[0] == pytest.approx([0, 0, 4.0], abs=1e-6)
    assert first.alphas[0] == pytest.approx(-np.pi / 2 + np.arctan2(1.0, 18.5), abs=1e-3)
    assert first.track_ids.tolist() == found.images[1].track_ids.tolist()


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("visibility", lambda rows: 5, r"visibility\.json: expected a list, got 5"),
        ("sample_data", lambda rows: [*rows, "abc"], r"sample_data\.json: \[\d+\]: expected an object"),
        ("sample", lambda rows: [{**row, "next": row["token"]} for row in rows], r"sample p0 follows on itself"),
        ("ego_pose", lambda rows: [{**row, "rotation": [0, 0, 0, 0]} for row in rows], "do not fit together"),
        ("sample_data", lambda rows: [{**row, "timestamp": 1e999} for row in rows], "has no finite time"),
    ],
)
def test_a_broken_table_is_named(database, table, change, message):
    file = database / "v1.0-mini" / f"{table}.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(DataError, match=message) as caught:
        nuscenes.read_database(database)
    assert str(database / "v1.0-mini") in str(caught.value) and "\n" not in str(caught.value)
