# SPDX-License-Identifier: Apache-2.0
"""The report: one page that needs nothing else, and shows what happened."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from centertrack_ros.cli.main import main
from centertrack_ros.datasets import mot
from centertrack_ros.evaluation.frame_errors import frame_errors, trajectories, worst_frames
from centertrack_ros.evaluation.trackeval_metrics import SequencePair, score_mot, summary

pytest.importorskip("trackeval")
pytest.importorskip("matplotlib")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FRAMES = 24


def _files(folder: Path) -> Path:
    """Two people; the first one's track changes in frame 13, the second is missed from 18 on; a false box in 5."""
    (folder / "truth" / "walk" / "img1").mkdir(parents=True)
    (folder / "results").mkdir()
    truth, results = [], []
    for frame in range(1, FRAMES + 1):
        image = np.full((120, 320, 3), 90 + frame, np.uint8)
        cv2.imwrite(str(folder / "truth" / "walk" / "img1" / f"{frame:06d}.png"), image)
        for identity in (1, 2):
            place = f"{5 * frame + 100 * (identity - 1)},30,30,60"
            truth.append(f"{frame},{identity},{place},1,1,1\n")
            if identity == 1 or frame < 18:
                results.append(
                    f"{frame},{identity + (2 if identity == 1 and frame > 12 else 0)},{place},0.{40 + frame}\n"
                )
    results.append("5,9,250,10,20,20,0.3\n")
    (folder / "truth" / "walk" / "gt.txt").write_text("".join(truth))
    (folder / "results" / "walk.txt").write_text("".join(results))
    return folder


def _report(folder: Path, name: str = "report.html") -> Path:
    command = ["evaluate", "mot", "--results", str(folder / "results"), "--truth", str(folder / "truth")]
    assert main([*command, "--report", str(folder / name), "--pictures", str(folder / "truth")]) == 0
    return folder / name


class _Page(HTMLParser):
    """Counts elements, checks that they are closed, and keeps where they point."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.sources: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        self.sources += [value for key, value in attrs if key in ("src", "href", "xlink:href") and value]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in ("meta", "img"):
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def test_frame_errors_have_misses_false_positives_and_switches(tmp_path):
    folder = _files(tmp_path)
    pair = SequencePair(
        mot.read_truth(folder / "truth/walk/gt.txt", "walk"), mot.read_results(folder / "results/walk.txt", "walk")
    )
    seen = frame_errors(pair)
    assert sum(len(frame.missed) for frame in seen) == FRAMES - 17
    assert [frame.truth.index for frame in seen if frame.false_positives] == [5]
    assert [frame.truth.index for frame in seen if frame.switched] == [13]
    known = trajectories(seen)
    assert known[1].switches == [13] and known[2].switches == [] and known[2].tracks[-1] == -1
    assert [frame.truth.index for frame in worst_frames(seen, 3, apart=5)] == [13, 5, 18]
    perfect = SequencePair(pair.truth, pair.truth)
    assert worst_frames(frame_errors(perfect), 3) == []


def test_switches_are_those_that_trackeval_counts(tmp_path):
    """Two people who cross, with tracks that swap, get lost and come back, over many random recordings."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        truth, results = [], []
        for frame in range(1, 31):
            for identity in (1, 2, 3):
                left = 20 * identity + (3 - 2 * identity) * frame
                truth.append(f"{frame},{identity},{left},30,30,60,1,1,1\n")
                if rng.random() < 0.8:
                    track = identity if rng.random() < 0.8 else 4 + identity
                    results.append(f"{frame},{track},{left + rng.normal(0, 4):.2f},30,30,60,0.9\n")
        (tmp_path / "gt.txt").write_text("".join(truth))
        (tmp_path / "walk.txt").write_text("".join(results))
        pair = SequencePair(
            mot.read_truth(tmp_path / "gt.txt", "walk"), mot.read_results(tmp_path / "walk.txt", "walk")
        )
        official = summary(score_mot([pair], "MOT15").combined["pedestrian"])["IDSW"]
        assert sum(len(track.switches) for track in trajectories(frame_errors(pair)).values()) == official > 0


def test_the_page_needs_nothing_else_and_shows_all_parts(tmp_path):
    page = _Page(_report(_files(tmp_path)).read_text(encoding="utf-8"))
    assert page.open == []
    assert page.count["svg"] == 3 and page.count["img"] == 1
    outside = [source for source in page.sources if not source.startswith(("data:image/jpeg;base64,", "#"))]
    assert outside == []
    assert "frame 13: 0 missed (red), 0 false positives (orange), 1 id switches" in page.words
    document = json.loads((tmp_path / "report.json").read_text())
    assert f"{document['combined']['pedestrian']['HOTA']:.2f}" in page.words
    assert "(1 in total)" in page.words and document["combined"]["pedestrian"]["IDSW"] == 1


def test_the_same_evaluation_gives_the_same_page(tmp_path):
    folder = _files(tmp_path)
    assert _report(folder, "a.html").read_bytes() == _report(folder, "b.html").read_bytes()


def test_without_images_the_worst_frames_are_described_in_words(tmp_path):
    folder = _files(tmp_path)
    shutil.rmtree(folder / "truth" / "walk" / "img1")
    page = _Page(_report(folder).read_text(encoding="utf-8"))
    assert "img" not in page.count and "frame 13:" in page.words


def test_images_come_from_a_bag(tmp_path):
    """By stamps where the truth is from the bag, by their order where it is a text file."""
    pytest.importorskip("rosbags")
    from centertrack_ros.datasets.bag_writer import write_bag

    folder = _files(tmp_path)
    truth = mot.read_truth(folder / "truth" / "walk" / "gt.txt", "walk")
    files = {frame.index: folder / "truth" / "walk" / "img1" / f"{frame.index:06d}.png" for frame in truth}
    results = mot.read_results(folder / "results" / "walk.txt", "walk")
    with_images = replace(truth, frames=tuple(replace(f, image=files[f.index]) for f in truth))
    stamps = {frame.index: frame.stamp for frame in truth}
    predictions = replace(results, frames=tuple(replace(f, stamp=stamps[f.index]) for f in results))
    for name, recording in (("truth", with_images), ("results", predictions)):
        write_bag(tmp_path / f"{name}_bag", {"walk": recording})
    bags = ["--results", str(tmp_path / "results_bag"), "--truth", str(tmp_path / "truth_bag")]
    assert main(["evaluate", "bag", *bags, "--report", str(tmp_path / "page.html")]) == 0
    page = _Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert (
        page.count["img"] == 1 and "frame 12: 0 missed (red), 0 false positives (orange), 1 id switches" in page.words
    )
    command = ["evaluate", "mot", "--results", str(folder / "results"), "--truth", str(folder / "truth")]
    shutil.rmtree(folder / "truth" / "walk" / "img1")
    video = ["--report", str(tmp_path / "other.html"), "--pictures", str(tmp_path / "truth_bag")]
    assert main([*command, *video]) == 0
    assert _Page((tmp_path / "other.html").read_text(encoding="utf-8")).count["img"] == 1


def test_names_are_escaped(tmp_path):
    folder = _files(tmp_path)
    (folder / "truth" / "walk").rename(folder / "truth" / "<script>walk")
    (folder / "results" / "walk.txt").rename(folder / "results" / "<script>walk.txt")
    page = _Page(_report(folder).read_text(encoding="utf-8"))
    assert "script" not in page.count and "<script>walk" in page.words


def test_chromium_renders_the_page(tmp_path):
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip("needs Chromium")
    report, shot = _report(_files(tmp_path)), tmp_path / "shot.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1100,1600"]
    address = report.resolve().as_uri()
    command = [browser, *options, f"--user-data-dir={tmp_path / 'profile'}"]
    subprocess.run([*command, f"--screenshot={shot}", address], check=True, capture_output=True, timeout=120)
    image = cv2.imread(str(shot))
    assert image.shape == (1600, 1100, 3)
    colours = len(np.unique(image.reshape(-1, 3) // 32, axis=0))
    assert colours > 10 and (image < 128).any(axis=2).mean() > 0.005  # text, lines and images, not a blank page
    dumped = subprocess.run([*command, "--dump-dom", address], check=True, capture_output=True, timeout=120, text=True)
    assert len(re.findall("<svg", dumped.stdout)) == 3
