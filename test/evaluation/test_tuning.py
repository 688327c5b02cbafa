# SPDX-License-Identifier: Apache-2.0
"""Parameters of the tracker are searched on some recordings and judged on others."""

from pathlib import Path

import cv2
import pytest
import yaml

from centertrack_ros.cli import tune as tune_verb
from centertrack_ros.datasets.registry import DatasetLocation, read_dataset
from centertrack_ros.evaluation.tuning import SPACE, Dimension, tune
from centertrack_ros.tracking.config import TrackerConfig
from support.rectangles import RectangleEngine, Thing, paint, profile

pytest.importorskip("optuna", reason="optuna is not installed (centertrack_ros[tune])")
pytest.importorskip("trackeval")
FRAMES = 8
THRESHOLD = (Dimension("tracker.new_threshold", 0.1, 0.8),)


BASE = TrackerConfig(birth="threshold")


def engine(name: str = "pedestrian") -> RectangleEngine:
    return RectangleEngine(profile(classes=(name,), heads={"hm": 1, "reg": 2, "wh": 2, "tracking": 2}))


def write_recording(folder: Path, name: str, score: float, noise: float) -> None:
    """Two people who walk, seen with one score, and a thing that is no person, seen with another."""
    place, rows = folder / name, []
    (place / "img1").mkdir(parents=True)
    (place / "gt").mkdir()
    for index in range(FRAMES):
        people = [(10 + 4 * index, 20, 30 + 4 * index, 60), (150 - 4 * index, 70, 170 - 4 * index, 110)]
        things = [Thing(n, box, score) for n, box in enumerate(people, start=1)]
        things.append(Thing(9, (90, 5, 110, 40), noise))
        cv2.imwrite(str(place / "img1" / f"{index + 1:06d}.png"), paint(things))
        rows += [
            f"{index + 1},{n},{x1 + 1},{y1 + 1},{x2 - x1},{y2 - y1},1,1,1"
            for n, (x1, y1, x2, y2) in enumerate(people, start=1)
        ]
    (place / "gt" / "gt.txt").write_text("\n".join(rows) + "\n")
    (place / "seqinfo.ini").write_text(
        f"[Sequence]\nname={name}\nimDir=img1\nframeRate=10\nseqLength={FRAMES}\nimWidth=192\nimHeight=128\nimExt=.png\n"
    )


def recordings(folder: Path, scores: dict[str, tuple[float, float]]):
    for name, (score, noise) in scores.items():
        write_recording(folder, name, score, noise)
    return read_dataset("mot", DatasetLocation(folder))


def test_a_threshold_is_found_between_people_and_noise_and_holds_on_recordings_left_out(tmp_path) -> None:
    found = tune(
        recordings(tmp_path, {"MOT17-01": (0.45, 0.35), "MOT17-02": (0.45, 0.35), "MOT17-03": (0.45, 0.35)}),
        engine(),
        base=BASE,
        space=THRESHOLD,
        trials=15,
    )
    assert 0.35 < found.values["new_threshold"] < 0.45
    assert [fold.left_out for fold in found.folds] == [("MOT17-01",), ("MOT17-02",), ("MOT17-03",)]
    assert found.after > found.before and found.gain > 10
    assert all(fold.after > 85 for fold in found.folds)


def test_a_recording_that_is_left_out_has_no_say_in_the_values_that_are_judged_on_it(tmp_path) -> None:
    scores = {"MOT17-01": (0.45, 0.35), "MOT17-02": (0.45, 0.35), "MOT17-03": (0.7, 0.47)}
    found = tune(recordings(tmp_path, scores), engine(), base=BASE, space=THRESHOLD, trials=15)
    last = next(fold for fold in found.folds if fold.left_out == ("MOT17-03",))
    assert 0.35 < last.values["new_threshold"] < 0.45 and last.after < last.before  # it sees the noise there


def test_defaults_that_nothing_beats_are_kept(tmp_path) -> None:
    found = tune(
        recordings(tmp_path, {"MOT17-01": (0.9, 0.02), "MOT17-02": (0.9, 0.02)}),
        engine(),
        base=BASE,
        space=THRESHOLD,
        trials=3,
        folds=5,
    )
    assert found.values == {} and found.gain == 0 and len(found.folds) == 2


def test_a_preset_names_the_nodes_parameters_within_their_ranges() -> None:
    pytest.importorskip("rcl_interfaces")
    from centertrack_ros.ros.parameter_specs import SPECS

    known = {spec.name: spec for spec in SPECS}
    for end in ("low", "high"):
        values = {one.field: one.within(getattr(one, end)) for one in SPACE}
        document = yaml.safe_load(tune_verb.preset(values, SPACE, "HOTA", 1.0))
        groups = document["/**"]["ros__parameters"]
        written = {f"{group}.{name}": value for group, names in groups.items() for name, value in names.items()}
        assert set(written) == {one.parameter for one in SPACE}
        for name, value in written.items():
            assert isinstance(value, type(known[name].default)), name
            assert known[name].low is None or known[name].low <= value <= known[name].high, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "beauty"}, "one of HOTA, MOTA, IDF1, AssA, got 'beauty'"),
        ({"folds": 1}, "at least 2 folds and 1 trial are needed, got 1 and 50"),
    ],
)
def test_what_cannot_be_searched_is_one_sentence(tmp_path, changes, message) -> None:
    data = recordings(tmp_path, {"MOT17-01": (0.9, 0.02), "MOT17-02": (0.9, 0.02)})
    with pytest.raises(ValueError, match=message):
        tune(data, engine(), base=BASE, space=THRESHOLD, **changes)
    with pytest.raises(ValueError, match="at least 2 recordings, got 1"):
        tune(data[:1], engine(), base=BASE, space=THRESHOLD)
    with pytest.raises(ValueError, match="the model has none of"):
        tune(data, engine("zebra"), base=BASE, space=THRESHOLD)


def test_recordings_without_images_are_named(tmp_path) -> None:
    data = recordings(tmp_path, {"MOT17-01": (0.9, 0.02), "MOT17-02": (0.9, 0.02)})
    for path in (tmp_path / "MOT17-02" / "img1").iterdir():
        path.unlink()
    data = read_dataset("mot", DatasetLocation(tmp_path))
    with pytest.raises(ValueError, match=r"MOT17-02.*has an image"):
        tune(data, engine(), base=BASE, space=THRESHOLD)


def test_an_unknown_parameter_is_refused(capsys) -> None:
    from centertrack_ros.cli.main import main

    assert main(["tune", "mot", "nowhere", "--output", "x.yaml", "--parameters", "tracker.colour"]) == 1
    assert "'tracker.colour' is not searched; expected some of tracker.new_threshold" in capsys.readouterr().err
