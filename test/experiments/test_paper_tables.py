# SPDX-License-Identifier: Apache-2.0
"""The paper's tables: the page follows from the figures, and the command that writes it runs."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from centertrack_ros.engine.loading import load_engine
from centertrack_ros.evaluation.tables import markdown_table
from centertrack_ros.geometry.boxes2d import iou
from experiments.paper_figures import document, missing_models
from experiments.paper_page import conclusion, interval, page, sentence
from experiments.paper_rows import ROWS, ClipOutcome, evaluate, track
from experiments.street_clips import FIRST_SEED, Clip, read_clip, street_config

ROOT = Path(__file__).resolve().parents[2]
FACTS = {
    "title": "Tables",
    "command": "make paper-tables-quick", "json": "tables.json", "model": "m", "model_file": "m.safetensors",
    "engine": "torch", "trained_tracking": True, "processes": 1,
    "association_point": "box",
    "missing": [{"row": "static", "text": "Left out: 'static'."}],
}  # fmt: skip
SHIPPED = [row for row in ROWS if row.model == "main"]


def read_tables(text: str) -> list[list[list[str]]]:
    """The cells of every Markdown table in a page, headings first; the inverse of `markdown_table`."""
    tables: list[list[list[str]]] = []
    inside = False
    for line in text.splitlines():
        is_row = line.startswith("|")
        if is_row and not inside:
            tables.append([])
        if is_row and not line.startswith("| ---"):
            tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        inside = is_row
    return tables


def _claim(*bounds: tuple[float, float], expected: str = "ahead") -> dict:
    differences = [
        {"rate": float(2 + i), "value": (low + high) / 2, "low": low, "high": high, "apart": low > 3}
        for i, (low, high) in enumerate(bounds)
    ]
    return {
        "table": "parts", "figure": "IDF1", "better": "full", "worse": "detection", "paper": "so", "expected": expected,
        "differences": differences,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        (_claim((1, 2), (4, 5)), "**Agrees** at every rate."),
        (_claim((1, 2), (-1, 1)), "**Agrees** at 2 Hz; undecided at the others."),
        (_claim((1, 2), (-3, -1)), "**Agrees** at 2 Hz; the other way round at 3 Hz."),
        (_claim((-1, 1), (-3, -1)), "**Does not agree**: the other way round at 3 Hz."),
        (_claim((-1, 1), (0, 2)), "**Undecided**: every interval holds 0."),
        (_claim((-1, 1), (0.1, 0.3), expected="equal"), "**Agrees**: no clear difference of a point or more."),
        (
            _claim((-1, 1), (1, 3), expected="equal"),
            "**Does not agree** at 3 Hz: a clear difference of a point or more.",
        ),
    ],
)
def test_a_conclusion_follows_from_the_intervals(claim, text) -> None:
    assert conclusion(claim) == text
    whole = sentence(claim, {"rows": {"full": "full", "detection": "detection only"}})
    assert text in whole and ("intervals apart" in whole) == any(
        low > 3 for low in [d["low"] for d in claim["differences"]]
    )


def test_what_is_written_into_a_table_can_be_read_from_it() -> None:
    cells = [["a", "1.0", "-"], ["b c", "2.5 (1.0 to 3.0)", "4"]]
    text = (
        "words\n\n"
        + markdown_table(["row", "2 Hz", "3 Hz"], cells)
        + "\n\nmore | words\n\n"
        + markdown_table(["x"], [])
    )
    assert read_tables(text) == [[["row", "2 Hz", "3 Hz"], *cells], [["x"]]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> list[ClipOutcome]:
    """Two rates of three streets, the truth as every row's results but of 'detection', whose ids are never the same."""
    pytest.importorskip("panda3d")
    pytest.importorskip("trackeval")
    folder = tmp_path_factory.mktemp("streets")
    found = []
    for rate in (2.0, 5.0):
        for seed in range(FIRST_SEED, FIRST_SEED + 3):
            truth = read_clip(Clip(seed, rate, 4, width=160, height=96), folder)
            changed = tuple(replace(f, tracks=replace(f.tracks, ids=f.tracks.ids + 10_000 * f.index)) for f in truth)
            rows = {
                row.key: evaluate(truth, replace(truth, frames=changed) if row.key == "detection" else truth, True)
                for row in SHIPPED
            }
            true = rows["full"]
            found.append(ClipOutcome(Clip(seed, rate, 4), true.paths, true.boxes, rows, 8, 4))
    return found


def test_truth_as_results_is_perfect_in_every_row_and_the_page_has_the_figures_of_the_document(outcomes) -> None:
    found = document(outcomes, SHIPPED, FACTS, draws=50)
    for cell in found["cells"]:
        for name, figure in cell["figures"].items():
            is_perfect = figure["value"] == pytest.approx(0 if name == "IDSW" else 100)
            assert is_perfect == (cell["row"] != "detection")
    everything = next(one for one in found["boxes"] if one["name"] == "all")
    assert everything["objects"] > 0
    for name in ("translation", "yaw", "velocity", "filtered_velocity", "size"):
        assert everything[name]["value"] == pytest.approx(0, abs=1e-4)
    claim = next(c for c in found["claims"] if c["worse"] == "detection" and c["figure"] == "IDF1")
    assert conclusion(claim) == "**Agrees** at every rate."
    text = page(found)
    assert "Left out: 'static'." in text
    assert "untrained" not in text and "untrained" in page({**found, "trained_tracking": False})
    shown = {}
    for table in read_tables(text):
        for row in table[1:]:
            shown[table[0][0], row[0]] = row[1:]
    for cell in found["cells"]:
        for name, figure in cell["figures"].items():
            column = found["rates"].index(cell["rate"])
            wanted = interval(figure, 0 if name == "IDSW" else 1)
            assert shown[name, found["rows"][cell["row"]]][column] == wanted
    assert json.loads(json.dumps(found)) == found


def test_rates_must_be_of_the_same_streets(outcomes) -> None:
    with pytest.raises(ValueError, match="the same seeds"):
        document(outcomes[1:], SHIPPED, FACTS, draws=5)


def test_a_rate_may_have_more_streets_than_another(outcomes) -> None:
    both, fewer = (document(some, SHIPPED, FACTS, draws=20) for some in (outcomes, outcomes[:-1]))
    assert fewer["streets"] == {"2": 3, "5": 2} and fewer["seeds"] == both["seeds"]
    assert [c for c in fewer["cells"] if c["rate"] == 2] == [c for c in both["cells"] if c["rate"] == 2]
    alone = document([o for o in outcomes[:-1] if o.clip.rate == 5], SHIPPED, FACTS, draws=20)
    assert [c for c in fewer["cells"] if c["rate"] == 5] == alone["cells"]
    objects = {one["name"]: one["objects"] for one in fewer["boxes"]}
    assert objects["all"] == objects["all, 2 Hz"] + objects["all, 5 Hz"]
    assert "the first 3, 2 of 3 streets" in page(fewer) and "3 streets" in page(both)


def test_the_committed_page_of_the_claim_agrees_with_the_paper_at_every_rate() -> None:
    """Every figure and both margins, read from the page's differences."""
    text = (ROOT / "docs" / "paper_claim.md").read_text()
    claims = re.findall(r"^- (.*), \*(.*)\* minus \*(.*)\*: (.*)\. The paper:", text, re.MULTILINE)
    assert {figure for figure, *_ in claims} == {"IDF1", "AMOTA", "AMOTA 2D"} and len(claims) == 6
    for *_, differences in claims:
        bounds = re.findall(r"\(([+-][\d.]+) to [+-][\d.]+\) at (\d+) Hz, intervals apart", differences)
        assert [rate for _, rate in bounds] == ["2", "3", "5"]
        assert all(float(low) > 0 for low, _ in bounds)


def test_tables_without_rows_are_not_on_the_page(outcomes) -> None:
    rows = [row for row in SHIPPED if row.key in ("detection", "kalman", "full")]
    text = page(document(outcomes, rows, {**FACTS, "missing": []}, draws=5))
    assert "## Motion models" in text and "## What the parts" in text
    assert "Association" not in text and "How it was trained" not in text


def test_rows_without_weights_are_left_out_with_a_note() -> None:
    rows, notes = missing_models(ROWS, {"main": Path("a"), "branch": Path("b"), "branch_static": Path("c")})
    assert {row.key for row in ROWS} - {row.key for row in rows} == {"noiseless"}
    assert len(notes) == 1 and "branch_noiseless" in notes[0]
    with pytest.raises(ValueError, match="no weights"):
        missing_models(ROWS, {"branch_static": Path("b")})


def test_held_out_streets_are_of_seeds_and_looks_that_no_recipe_uses() -> None:
    import yaml

    from centertrack_ros.synthetic import StreetConfig

    with pytest.raises(ValueError, match="seeds from"):
        Clip(FIRST_SEED - 1, 2.0, 4)
    look = street_config(Clip(FIRST_SEED, 2.0, 4), StreetConfig).look
    streets = []
    for path in [*(ROOT / "config" / "training").glob("*.yaml"), *(ROOT / "experiments" / "recipes").glob("*.yaml")]:
        recipe = yaml.safe_load(path.read_text())
        streets += [entry["street"] for part in ("train", "val") for entry in recipe.get(part, []) if "street" in entry]
    assert streets
    for street in streets:
        assert street.get("look") != look
        assert street.get("seed", 0) + street.get("sequences", 1) <= FIRST_SEED


def test_a_clip_is_rendered_once_and_knows_its_poses(tmp_path) -> None:
    pytest.importorskip("panda3d")
    clip = Clip(FIRST_SEED, 5.0, 2, width=160, height=96)
    first = read_clip(clip, tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again = read_clip(clip, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == stamps
    assert [frame.stamp for frame in again] == pytest.approx([0.0, 0.2])
    for one, other in zip(first, again, strict=True):
        assert one.pose == pytest.approx(other.pose) and one.pose.shape == (4, 4)
        assert np.linalg.det(one.pose[:3, :3]) == pytest.approx(1.0)
        assert one.image is not None and one.camera is not None


def test_a_row_with_true_motion_moves_detections_as_the_truth_did(tmp_path) -> None:
    pytest.importorskip("panda3d")
    truth = read_clip(Clip(FIRST_SEED, 2.0, 3), tmp_path)
    engine = load_engine("mobilenetv3-street-3d", engine="torch", threads=1)
    found = track(truth, engine, {}, true_motion=True)
    compared = 0
    for frame, before, result in zip(truth.frames[1:], truth.frames, found.frames[1:], strict=False):
        boxes, detections = frame.tracks.detections.boxes, result.tracks.detections
        center_of = dict(zip(before.tracks.ids.tolist(), before.tracks.detections.centers, strict=True))
        overlaps = iou(detections.boxes, boxes)
        for row, best in enumerate(overlaps.argmax(axis=1)):
            if overlaps[row, best] >= 0.5 and int(frame.tracks.ids[best]) in center_of:
                moved = center_of[int(frame.tracks.ids[best])] - frame.tracks.detections.centers[best]
                assert detections.displacements[row] == pytest.approx(moved, abs=1e-3)
                compared += 1
    assert compared >= 5


@pytest.mark.slow
def test_the_command_writes_the_page_from_the_embedded_weights(tmp_path) -> None:
    pytest.importorskip("panda3d")
    pytest.importorskip("trackeval")
    weights = ROOT / "centertrack_ros" / "weights" / "mobilenetv3-coco.safetensors"
    command = [sys.executable, "-m", "experiments.paper_tables", "--quick", "--weights", str(weights)]
    command += ["--streets", "2", "--frames", "6", "--rates", "2,5", "--processes", "2", "--engine", "torch"]
    command += ["--output", str(tmp_path / "out"), "--page", str(tmp_path / "page.md")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert {cell["row"] for cell in figures["cells"]} == {row.key for row in ROWS}
    found = json.loads((tmp_path / "out" / "tables.json").read_text())
    assert found["network_run"] < found["network_asked"]
    by_row = {(cell["row"], cell["rate"]): cell["figures"]["IDF1"]["value"] for cell in found["cells"]}
    assert all(0 < value < 100 for value in by_row.values())
    assert (tmp_path / "page.md").read_text() == page(found)
