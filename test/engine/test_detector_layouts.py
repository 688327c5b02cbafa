# SPDX-License-Identifier: Apache-2.0
"""Layouts of detectors: recognised, and decoded as a second decoder, written cell by cell, does it.

No weights of any of these detectors are here: the graphs give random numbers in their layouts.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the detectors are written as ONNX files")
pytest.importorskip("onnxruntime", reason="the detectors run by onnxruntime")

from centertrack_ros.engine.detector import load_detector
from centertrack_ros.engine.detector_layouts import LAYOUTS
from centertrack_ros.engine.detector_limits import DetectorLimits
from support.detector_graphs import fixed_outputs

SIZE = (64, 96)
IMAGE = np.full((*SIZE, 3), 90, np.uint8)  # as large as the input: boxes are in px of both
ALL = DetectorLimits(min_score=0.0, iou=1.0)
NAMES = ("car", "bus", "dog")
Box = tuple[float, float, float, float, float, int]  # corners, score, class


def cells(strides: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """Column, row and stride of each cell, as the outputs order them."""
    for stride in strides:
        for row in range(math.ceil(SIZE[0] / stride)):
            for column in range(math.ceil(SIZE[1] / stride)):
                yield column, row, stride


def best(scores: np.ndarray) -> tuple[float, int]:
    number = max(range(len(scores)), key=lambda i: scores[i])
    return float(scores[number]), number


def around(x: float, y: float, width: float, height: float, score: float, number: int) -> Box:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2, score, number


def centred_rows(random: np.random.Generator, count: int) -> np.ndarray:
    """(count, 4) centres all over the input, and sizes, px."""
    return np.stack([random.uniform(low, high, count) for low, high in ((0, 96), (0, 64), (4, 40), (4, 40))], axis=1)


def yolox(random: np.random.Generator) -> tuple[dict[str, np.ndarray], list[Box]]:
    places = list(cells((8, 16, 32)))
    rows = np.concatenate([random.normal(0.5, 0.5, (len(places), 4)), random.uniform(0, 1, (len(places), 4))], axis=1)
    boxes = []
    for (column, row, stride), values in zip(places, rows, strict=True):
        score, number = best(values[5:])
        x, y = stride * (column + values[0]), stride * (row + values[1])
        width, height = (stride * math.e**value for value in values[2:4])
        boxes.append(around(x, y, width, height, score * values[4], number))
    return {"output": rows[None]}, boxes


def decoded(
    random: np.random.Generator, places: list[tuple[int, int, int]], objectness: float | None = None
) -> tuple[dict[str, np.ndarray], list[Box]]:
    near = np.array([((c + random.uniform(0, 1)) * s, (r + random.uniform(0, 1)) * s) for c, r, s in places])
    sizes, scores = random.uniform(4, 40, (len(places), 2)), random.uniform(0, 1, (len(places), 4))
    rows = np.concatenate([near, sizes, scores], axis=1)
    if objectness is not None:
        rows[:, 4] = objectness
    return {"output": rows[None]}, [around(*row[:4], best(row[5:])[0] * row[4], best(row[5:])[1]) for row in rows]


def yolox_decoded(random: np.random.Generator) -> tuple[dict[str, np.ndarray], list[Box]]:
    return decoded(random, list(cells((8, 16, 32))))


def yolov6(random: np.random.Generator) -> tuple[dict[str, np.ndarray], list[Box]]:
    return decoded(random, list(cells((8, 16, 32))), objectness=1.0)


def yolov5(random: np.random.Generator) -> tuple[dict[str, np.ndarray], list[Box]]:
    return decoded(random, [place for stride in (8, 16, 32) for _ in range(3) for place in cells((stride,))])


def yolov8(random: np.random.Generator) -> tuple[dict[str, np.ndarray], list[Box]]:
    count = len(list(cells((8, 16, 32))))
    columns = np.concatenate([centred_rows(random, count).T, random.uniform(0, 1, (3, count))])
    return {"output0": columns[None]}, [around(*columns[:4, i], *best(columns[4:, i])) for i in range(count)]


def end_to_end(random: np.random.Generator) -> tuple[dict[str, np.ndarray], list[Box]]:
    rows = []
    for x, y, width, height in centred_rows(random, 50):
        rows.append([x, y, x + width, y + height, random.uniform(), random.integers(3)])
    return {"output0": np.array([rows])}, [(*row[:5], int(row[5])) for row in rows]  # type: ignore[misc]


def rtdetr_end_to_end(random: np.random.Generator) -> tuple[dict[str, np.ndarray], list[Box]]:
    outputs, boxes = end_to_end(random)
    rows = outputs["output0"]
    x1, y1, x2, y2 = np.moveaxis(rows[..., :4], 2, 0)
    centred = np.stack([(x1 + x2) / 192, (y1 + y2) / 128, (x2 - x1) / 96, (y2 - y1) / 64], axis=2)
    return {"output0": np.concatenate([centred, rows[..., 4:]], axis=2)}, boxes


def nanodet(
    random: np.random.Generator, strides: tuple[int, ...] = (8, 16, 32, 64)
) -> tuple[dict[str, np.ndarray], list[Box]]:
    offset = 0.0 if 64 in strides else 0.5
    places = list(cells(strides))
    rows = np.concatenate([random.uniform(0, 1, (len(places), 3)), random.normal(0, 3, (len(places), 32))], axis=1)
    boxes = []
    for (column, row, stride), values in zip(places, rows, strict=True):
        sides = []
        for side in range(4):
            powers = [math.e ** values[3 + 8 * side + step] for step in range(8)]
            sides.append(stride * sum(step * power for step, power in enumerate(powers)) / sum(powers))
        x, y = (column + offset) * stride, (row + offset) * stride
        boxes.append((x - sides[0], y - sides[1], x + sides[2], y + sides[3], *best(values[:3])))
    return {"output": rows[None]}, boxes


def first_nanodet(random: np.random.Generator) -> tuple[dict[str, np.ndarray], list[Box]]:
    return nanodet(random, (8, 16, 32))


def labelled(random: np.random.Generator) -> tuple[dict[str, np.ndarray], list[Box]]:
    outputs, boxes = end_to_end(random)
    rows = outputs["output0"]
    return {"labels": rows[..., 5].astype(np.int64), "boxes": rows[..., :4], "scores": rows[..., 4]}, boxes


def torchvision(random: np.random.Generator) -> tuple[dict[str, np.ndarray], list[Box]]:
    outputs, boxes = labelled(random)
    return {name: outputs[name][0] for name in ("boxes", "labels", "scores")}, boxes


def queries(random: np.random.Generator, classes: int) -> tuple[np.ndarray, np.ndarray]:
    return centred_rows(random, 60) / (96, 64, 96, 64), random.normal(0, 2, (60, classes))


def rtdetr_raw(random: np.random.Generator) -> tuple[dict[str, np.ndarray], list[Box]]:
    boxes, logits = queries(random, 80)
    found = []
    for (x, y, width, height), row in zip(boxes, logits, strict=True):
        score, number = best(row)
        found.append(around(x * 96, y * 64, width * 96, height * 64, (1 + math.tanh(score / 2)) / 2, number))
    return {"pred_logits": logits[None], "pred_boxes": boxes[None]}, found


def rf_detr(random: np.random.Generator) -> tuple[dict[str, np.ndarray], list[Box]]:
    outputs, found = rtdetr_raw(random)
    return {"dets": outputs["pred_boxes"], "labels": outputs["pred_logits"]}, found


def detr(random: np.random.Generator) -> tuple[dict[str, np.ndarray], list[Box]]:
    boxes, logits = queries(random, 92)
    found = []
    for (x, y, width, height), row in zip(boxes, logits, strict=True):
        score, number = best(row[:-1])
        probability = 1 / sum(math.e ** (other - score) for other in row)
        found.append(around(x * 96, y * 64, width * 96, height * 64, probability, number))
    return {"logits": logits[None], "pred_boxes": boxes[None]}, found


def rtdetr_ultralytics(random: np.random.Generator) -> tuple[dict[str, np.ndarray], list[Box]]:
    boxes, _ = queries(random, 1)
    scores = random.uniform(0, 1, (60, 3))
    pixels = boxes * (96, 64, 96, 64)
    found = [around(*box, *best(row)) for box, row in zip(pixels, scores, strict=True)]
    return {"output0": np.concatenate([boxes, scores], axis=1)[None]}, found


CASES = {
    "yolox": yolox,
    "yolox-decoded": yolox_decoded,
    "yolov6": yolov6,
    "yolov5": yolov5,
    "yolov8": yolov8,
    "yolo-end-to-end": end_to_end,
    "nanodet": nanodet,
    "first-nanodet": first_nanodet,
    "rtdetr": labelled,
    "rtdetr-raw": rtdetr_raw,
    "rtdetr-ultralytics": rtdetr_ultralytics,
    "rtdetr-end-to-end": rtdetr_end_to_end,
    "rf-detr": rf_detr,
    "detr": detr,
    "torchvision": torchvision,
}


def names_of(case: str) -> tuple[str, ...]:
    return {"rtdetr-raw": (), "rf-detr": tuple(f"c{i}" for i in range(80)), "detr": ()}.get(case, NAMES)


def make(case: str, folder: Path) -> tuple[Path, list[Box]]:
    arrays, boxes = CASES[case](np.random.default_rng(0))
    single = {name: array.astype(np.float32 if array.dtype.kind == "f" else np.int64) for name, array in arrays.items()}
    return fixed_outputs(folder / "detector.onnx", single, SIZE, asks_size=case == "rtdetr"), boxes


def test_there_is_a_case_for_each_layout() -> None:
    assert {case.removeprefix("first-") for case in CASES} == set(LAYOUTS)


@pytest.mark.parametrize("named", [False, True], ids=["recognised", "named"])
@pytest.mark.parametrize("case", CASES)
def test_boxes_equal_those_of_a_second_decoder(tmp_path: Path, case: str, named: bool) -> None:
    path, expected = make(case, tmp_path)
    layout = case.removeprefix("first-")
    detector = load_detector(path, layout if named else "", names_of(case), engine="onnxruntime", threads=1)
    assert detector.layout.name == layout
    found = detector.detect(IMAGE, ALL)
    order = sorted((box for box in expected if box[4] > 1e-5), key=lambda box: -box[4])
    assert len(found) == len(order) > 20
    np.testing.assert_allclose(found.scores, [box[4] for box in order], atol=1e-5)
    np.testing.assert_allclose(found.boxes, [box[:4] for box in order], rtol=1e-4, atol=1e-3)
    assert found.class_names.tolist() == [detector.class_names[box[5]] for box in order]


@pytest.mark.parametrize("case", ["yolox", "yolov8", "nanodet"])
def test_one_object_keeps_one_box_of_each_class(tmp_path: Path, case: str) -> None:
    path, expected = make(case, tmp_path)
    detector = load_detector(path, class_names=NAMES, engine="onnxruntime", threads=1)
    found = detector.detect(IMAGE, DetectorLimits(min_score=0.3, iou=0.4))
    strong = sorted((box for box in expected if box[4] >= 0.3), key=lambda box: -box[4])
    kept: list[Box] = []
    for box in strong:
        if all(box[5] != other[5] or overlap(box, other) <= 0.4 for other in kept):
            kept.append(box)
    assert 5 < len(kept) < len(strong)
    np.testing.assert_allclose(found.boxes, [box[:4] for box in kept], rtol=1e-4, atol=1e-3)


def overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return common / (sum(areas) - common)


@pytest.mark.parametrize("engine", ["auto", "onnxruntime", "openvino"])
def test_every_engine_gives_the_same_boxes(tmp_path: Path, engine: str) -> None:
    if engine != "auto":
        pytest.importorskip(engine)
    path, expected = make("yolov5", tmp_path)
    detector = load_detector(path, class_names=NAMES, engine=engine, threads=1)
    found = detector.detect(IMAGE, ALL)
    assert engine in ("auto", detector.name.rpartition(" ")[2])
    np.testing.assert_allclose(found.boxes[0], max(expected, key=lambda box: box[4])[:4], rtol=1e-4)
