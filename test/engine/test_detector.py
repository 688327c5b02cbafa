# SPDX-License-Identifier: Apache-2.0
"""A detector of the user's own finds things where they are in the image, and a file that is none is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the detectors are written as ONNX files")
pytest.importorskip("onnxruntime", reason="the detectors run by onnxruntime")
from onnx import TensorProto

from centertrack_ros.engine.detector import Detector, load_detector
from centertrack_ros.engine.detector_input import CORNER, MIDDLE, STRETCH
from centertrack_ros.engine.detector_layouts import LAYOUTS
from centertrack_ros.engine.detector_limits import DetectorLimits
from centertrack_ros.engine.registry import is_installed
from support.detector_graphs import GraphBuilder, fixed_outputs, red_detector

ENGINES = [name for name in ("onnxruntime", "openvino") if is_installed(name)]
FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
RED_BOX = (60, 24, 132, 90)  # px, in an image that is wider than the inputs of 64x96
NAMES = ("car", "bus", "dog")
UNIT, BYTES = (0.98, 0.02), (250.0, 5.0)  # what red is above and blue below, in the units of an input
DETR_RED = ((0.98 - 0.485) / 0.229, (0.02 - 0.406) / 0.225)


def picture(height: int = 120, width: int = 220) -> np.ndarray:
    image = np.full((height, width, 3), 60, np.uint8)
    x1, y1, x2, y2 = RED_BOX
    image[y1:y2, x1:x2] = (0, 0, 255)  # BGR
    return image


def yolox(path: Path, raw: bool) -> Path:
    """The box is in the row of the cell in column 3 and row 2 of stride 8."""
    graph, (column, row, stride, place) = GraphBuilder(), (3, 2, 8, 2 * 12 + 3)
    box = graph.centred(graph.red_box(2, *BYTES))
    if raw:
        in_strides = graph.op("Div", box, graph.constant(float(stride)))
        centre, size = (graph.op("Gather", in_strides, graph.constant(np.array(part))) for part in ((0, 1), (2, 3)))
        centre = graph.op("Sub", centre, graph.constant([float(column), float(row)]))
        box = graph.op("Concat", centre, graph.op("Log", size), axis=0)
    line = graph.op("Concat", box, graph.constant([1.0, 0.1, 0.9, 0.2]), axis=0)
    table = graph.op("Reshape", line, graph.constant(np.array([1, 1, 8])))
    table = graph.op("Pad", table, graph.constant(np.array([0, place, 0, 0, 126 - place - 1, 0])))
    return graph.save(path, {"output": (table, FLOAT)})


def rtdetr(path: Path) -> Path:
    graph = GraphBuilder()
    sizes = graph.op("Cast", graph.add_input("orig_target_sizes", (1, 2)), to=FLOAT)
    parts = graph.op("Div", graph.red_box(0, *UNIT), graph.constant([96.0, 64.0, 96.0, 64.0]))
    boxes = graph.op("Mul", parts, graph.op("Concat", sizes, sizes, axis=1))
    boxes = graph.op("Reshape", boxes, graph.constant(np.array([1, 1, 4])))
    labels, scores = graph.fixed(np.array([[1]])), graph.fixed(np.array([[0.9]], np.float32))
    return graph.save(path, {"labels": (labels, INT), "boxes": (boxes, FLOAT), "scores": (scores, FLOAT)})


def detr(path: Path) -> Path:
    graph = GraphBuilder()
    parts = graph.op("Div", graph.centred(graph.red_box(0, *DETR_RED)), graph.constant([96.0, 64.0, 96.0, 64.0]))
    boxes = graph.op("Reshape", parts, graph.constant(np.array([1, 1, 4])))
    logits = graph.fixed(np.array([[[0.0, 9.0, 0.0, 0.0]]], np.float32))
    return graph.save(path, {"logits": (logits, FLOAT), "pred_boxes": (boxes, FLOAT)})


def torchvision(path: Path) -> Path:
    graph = GraphBuilder(("height", "width"), batch=False)
    boxes = graph.op("Reshape", graph.red_box(0, *UNIT), graph.constant(np.array([1, 4])))
    labels, scores = graph.fixed(np.array([1])), graph.fixed(np.array([0.9], np.float32))
    return graph.save(path, {"boxes": (boxes, FLOAT), "labels": (labels, INT), "scores": (scores, FLOAT)})


FILES: dict[str, Callable[[Path], Path]] = {
    "yolo-end-to-end": lambda path: red_detector(path, (64, 96)),
    "yolox": lambda path: yolox(path, raw=True),
    "yolox-decoded": lambda path: yolox(path, raw=False),
    "rtdetr": rtdetr,
    "detr": detr,
    "torchvision": torchvision,
}


def load(path: Path, layout: str = "", names: tuple[str, ...] = NAMES, engine: str = "onnxruntime") -> Detector:
    return load_detector(path, layout, names, engine=engine, threads=1)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("layout", FILES)
def test_the_box_lies_where_the_thing_is(tmp_path: Path, layout: str, engine: str) -> None:
    detector = load(FILES[layout](tmp_path / "detector.onnx"), layout, engine=engine)
    for image in (picture(), picture(240, 140), picture(64, 96)[:, :200]):
        found = detector.detect(image)
        assert found.class_names.tolist() == ["bus"] and found.scores[0] > 0.85
        expected = np.minimum(RED_BOX, np.tile(image.shape[1::-1], 2))
        pixel = max(image.shape[0] / 64, image.shape[1] / 96)  # of the input, in the image
        np.testing.assert_allclose(found.boxes[0], expected, atol=1.1 * pixel if layout != "torchvision" else 0.01)


def test_a_file_of_half_precision_takes_its_images_so(tmp_path: Path) -> None:
    found = load(red_detector(tmp_path / "half.onnx", (64, 96), "float16")).detect(picture())
    np.testing.assert_allclose(found.boxes[0], RED_BOX, atol=2.5)


def cells_on_red(path: Path, size: tuple[int | str, int | str]) -> Path:
    """YOLOv8's layout for any size of image: each cell with something red gives a box as large as the cell."""
    graph = GraphBuilder(size)
    mask, levels = graph.red(0, 0.5, 0.5), []
    for stride in (8, 16, 32):
        red = graph.op("MaxPool", mask, kernel_shape=[stride, stride], strides=[stride, stride])
        zeros = graph.op("Mul", red, graph.constant(0.0))
        ones, steps = graph.op("Add", zeros, graph.constant(1.0)), graph.constant(float(stride))
        centres = [
            graph.op("Mul", graph.op("Sub", graph.op("CumSum", ones, graph.constant(np.array(axis))),
                                     graph.constant(0.5)), steps)
            for axis in (3, 2)
        ]  # fmt: skip
        side = graph.op("Mul", ones, steps)
        table = graph.op("Concat", *centres, side, side, zeros, graph.op("Mul", red, graph.constant(0.8)), axis=1)
        levels.append(graph.op("Reshape", table, graph.constant(np.array([1, 6, -1]))))
    output = graph.op("Concat", *levels, axis=2)
    return graph.save(path, {"output0": (output, FLOAT)}, {"names": "{0: 'cat', 1: 'dog'}", "imgsz": "[320, 320]"})


@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_for_any_size_gets_images_in_their_own_aspect(tmp_path: Path, engine: str) -> None:
    detector = load(cells_on_red(tmp_path / "any.onnx", ("height", "width")), names=(), engine=engine)
    assert detector.layout.name == "yolov8" and detector.class_names == ("cat", "dog")
    for image in (picture(), picture(300, 240), picture(240, 320)):
        found = detector.detect(image)
        fine = found.boxes[np.ptp(found.boxes[:, ::2], axis=1) < 8.5 / 320 * max(image.shape)]  # of stride 8
        assert set(found.class_names) == {"dog"}
        union = [*fine[:, :2].min(axis=0), *fine[:, 2:].max(axis=0)]
        np.testing.assert_allclose(union, RED_BOX, atol=9 / 320 * max(image.shape))


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_family_gets_the_colours_that_it_was_trained_with(name: str) -> None:
    form = LAYOUTS[name].form
    image = np.full((30, 90, 3), (200, 100, 50), np.uint8)  # BGR
    where = form.placement((30, 90), (64, 96), 0)
    planes = form.render(image, where, form.table())
    expected = {
        "yolox": (200, 100, 50),
        "yolox-decoded": (200, 100, 50),
        "nanodet": ((200 - 103.53) / 57.375, (100 - 116.28) / 57.12, (50 - 123.675) / 58.395),
        "detr": ((50 / 255 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224, (200 / 255 - 0.406) / 0.225),
    }
    colour = expected.get(name.replace("rf-detr", "detr"), (50 / 255, 100 / 255, 200 / 255))
    x, y = (where.offset[0] + 40, where.offset[1] + 10)
    np.testing.assert_allclose(planes[:, y, x], colour, rtol=1e-5)
    assert planes.shape == (3, 64, 96)
    if form.place == STRETCH:
        assert np.ptp(planes, axis=(1, 2)).max() == 0
    else:
        border = {"yolox": 114.0, "yolox-decoded": 114.0, "torchvision": 124 / 255}.get(name, 114 / 255)
        assert planes[0, -1, -1] == pytest.approx(border)
        assert bool(planes[0, 0, 0] == pytest.approx(border)) == (form.place == MIDDLE)
    assert form.place in (STRETCH, MIDDLE, CORNER)


@pytest.mark.parametrize(("name", "grey"), [("yolov8", 0.0), ("rtdetr", 64 / 255)])
def test_images_are_reduced_as_each_family_does_it(name: str, grey: float) -> None:
    """Every fourth column is white: PIL's filter gives their mean, OpenCV's looks at the two columns in the middle."""
    image = np.zeros((256, 384, 3), np.uint8)
    image[:, ::4] = 255
    form = LAYOUTS[name].form
    planes = form.render(image, form.placement((256, 384), (64, 96)), form.table())
    np.testing.assert_allclose(planes, grey, atol=0.003)


def test_class_names_come_from_the_file(tmp_path: Path) -> None:
    rows = np.array([[[1, 2, 30, 40, 0.9, 1]]], np.float32)
    stored = {"names": "{0: 'tram', 1: 'ferry'}", "task": "detect"}
    for engine in ENGINES:
        path = fixed_outputs(tmp_path / "named.onnx", {"output0": rows}, metadata=stored)
        assert load(path, names=(), engine=engine).detect(picture()).class_names.tolist() == ["ferry"]


def test_coco_numbers_its_categories_with_gaps(tmp_path: Path) -> None:
    arrays = {
        "boxes": np.array([[1, 2, 30, 40], [5, 5, 9, 9]], np.float32),
        "labels": np.array([90, 44]),
        "scores": np.array([0.9, 0.8], np.float32),
    }
    found = load(fixed_outputs(tmp_path / "coco.onnx", arrays), names=()).detect(picture())
    assert found.class_names.tolist() == ["toothbrush", "bottle"]


def test_weak_boxes_are_left_out(tmp_path: Path) -> None:
    rows = np.array([[[1, 2, 30, 40, score, 1] for score in (0.3, 0.9, 0.05, 0.0)]], np.float32)
    detector = load(fixed_outputs(tmp_path / "weak.onnx", {"output0": rows}))
    np.testing.assert_allclose(detector.detect(picture()).scores, [0.9, 0.3])
    np.testing.assert_allclose(detector.detect(picture(), DetectorLimits(min_score=0.5)).scores, [0.9])
    assert len(detector.detect(picture(), DetectorLimits(min_score=0.95))) == 0


# What cannot be used is refused in one sentence.


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 1, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("arrays", "names", "message"),
    [
        ({"probabilities": values(1, 1000)}, (), r"probabilities 1x1000: that is a classifier, expected a detector"),
        ({"output0": values(1, 7, 126)}, ("a", "b"), r"has 3 classes, but there are 2 class names"),
        ({"output0": values(1, 7, 126)}, (), r"has 3 classes and does not name them"),
        ({"output0": values(1, 5, 77)}, (), r"output0 1x5x77 for an input of 64x96 px, which is the layout of no kn"),
        (
            {"logits": values(1, 60, 7), "boxes": values(1, 60, 4)},
            (),
            r"can be rtdetr-raw with 7 classes or detr with 6 classes: say which one it is \(detector.layout\)",
        ),
    ],
)
def test_a_file_that_is_no_detector_says_what_it_is(
    tmp_path: Path, arrays: dict[str, np.ndarray], names: tuple[str, ...], message: str
) -> None:
    path = fixed_outputs(tmp_path / "other.onnx", arrays)
    with pytest.raises(ValueError, match=message) as error:
        load(path, names=names)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_what_was_named_must_fit(tmp_path: Path) -> None:
    path = fixed_outputs(tmp_path / "v8.onnx", {"output0": values(1, 7, 126)})
    assert load(path).layout.name == "yolov8"
    with pytest.raises(ValueError, match=r"gives output0 1x7x126, but layout yolov5 is one output 1 x \(3 \* cells\)"):
        load(path, "yolov5")
    with pytest.raises(ValueError, match=r"detector\.layout must be one of yolox, .*, got 'yolov99'"):
        load(path, "yolov99")


@pytest.mark.parametrize("engine", ["auto", *ENGINES])
def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path, engine: str) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("this is a text")
    with pytest.raises(ValueError, match=r"cannot (run|read) .*text\.onnx") as error:
        load(path, engine=engine)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"text\.pt: expected a detector as an ONNX file"):
        load(path.rename(tmp_path / "text.pt"), engine=engine)
    with pytest.raises(FileNotFoundError, match=r"missing\.onnx: no such file"):
        load(tmp_path / "missing.onnx", engine=engine)


def test_a_tilted_box_is_none(tmp_path: Path) -> None:
    path = fixed_outputs(tmp_path / "obb.onnx", {"output0": values(1, 8, 126)}, metadata={"task": "obb"})
    with pytest.raises(ValueError, match="made for the task 'obb', expected a detector of upright boxes"):
        load(path)


def test_inputs_of_another_form_are_refused(tmp_path: Path) -> None:
    for size, message in (((64, 96, 3), "one input for images"), ((3,), "one input for images")):
        path = fixed_outputs(tmp_path / "form.onnx", {"output0": values(1, 7, 126)}, size)
        with pytest.raises(ValueError, match=message):
            load(path)


def test_numbers_that_are_none_cost_one_frame(tmp_path: Path) -> None:
    """Where something is red a score is not a number."""
    graph = GraphBuilder()
    red = graph.op("ReduceMax", graph.red(0, *UNIT), keepdims=0)
    score = graph.op("Add", graph.constant([0.5]), graph.op("Mul", red, graph.constant([float("nan")])))
    one = graph.op("Equal", red, graph.constant(1.0))
    score = graph.op("Where", one, score, graph.constant([0.5]))
    row = graph.op("Concat", graph.constant([1.0, 2.0, 30.0, 40.0]), score, graph.constant([0.0]), axis=0)
    table = graph.op("Reshape", row, graph.constant(np.array([1, 1, 6])))
    detector = load(graph.save(tmp_path / "nan.onnx", {"output0": (table, FLOAT)}))
    grey = np.full((64, 96, 3), 60, np.uint8)
    assert len(detector.detect(grey)) == 1
    with pytest.raises(ValueError, match=r"nan\.onnx gave scores that are not numbers"):
        detector.detect(picture())
    assert len(detector.detect(grey)) == 1


def test_a_class_without_a_name_is_told(tmp_path: Path) -> None:
    rows = np.array([[[1, 2, 30, 40, 0.9, 5]]], np.float32)
    detector = load(fixed_outputs(tmp_path / "five.onnx", {"output0": rows}))
    with pytest.raises(ValueError, match="found class 5, but there are 3 class names"):
        detector.detect(picture())


def test_limits_are_probabilities() -> None:
    with pytest.raises(ValueError, match=r"detector\.min_score must be between 0 and 1, got 2"):
        DetectorLimits(min_score=2)
