# SPDX-License-Identifier: Apache-2.0
"""The TensorFlow.js reader and importer, on the published topology with drawn weights, on the real file if there."""

import base64
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from centertrack_ros.network import checkpoints
from centertrack_ros.network.mobilenetv3_shapes import SIXTH
from centertrack_ros.network.registry import weights_path
from tools.tfjs import import_centernet, main
from tools.tfjs_graph import GraphError, read_graph

TOPOLOGY = Path(__file__).parents[1] / "data" / "centernet_tfjs" / "topology.json.gz"
SCALARS = {"hard_swish/add/y": 3.0, "Conv_1/add/y": 3.0, "hard_swish/mul_1/y": SIXTH, "Conv_1/mul/y": SIXTH}


def topology() -> dict:
    return json.loads(gzip.decompress(TOPOLOGY.read_bytes()))


def write_model(folder: Path, model: dict, values: dict[str, np.ndarray]) -> Path:
    """A TensorFlow.js model with these weights, each stored as its manifest entry says."""
    entries = model["weightsManifest"][0]["weights"]
    stored = {"float32": "<f4", "float16": "<f2", "int32": "<i4"}
    parts = []
    for entry in entries:
        kind = (entry.get("quantization") or {}).get("dtype", entry["dtype"])
        parts.append(np.asarray(values[entry["name"]]).astype(stored[kind]).tobytes())
    (folder / "centernet.bin").write_bytes(b"".join(parts))
    path = folder / "centernet.json"
    path.write_text(json.dumps(model))
    return path


def drawn_weights(model: dict) -> dict[str, np.ndarray]:
    """Random float16 weights for every entry, and the graph's own scalars."""
    generator = np.random.default_rng(5)
    values = {}
    for entry in model["weightsManifest"][0]["weights"]:
        name, shape = entry["name"], entry["shape"]
        value = generator.normal(size=shape).astype(np.float16)
        if not shape:
            value = np.float16(next((v for end, v in SCALARS.items() if name.endswith(end)), 16.0))
        values[name] = value
    return values


def convolution(values: dict[str, np.ndarray], name: str, depthwise: bool) -> torch.Tensor:
    kernel = np.float32(values[name])
    return torch.from_numpy(kernel.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1)).copy())


def named_parameters(values: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:  # noqa: C901 (one line per layer)
    """What every parameter of the detector must be, by the names that TensorFlow gave the weights."""
    expected: dict[str, torch.Tensor] = {}

    def put(target: str, weight: str, bias: str | None = None, depthwise: bool = False) -> None:
        expected[f"{target}.conv.weight"] = convolution(values, weight, depthwise)
        if bias is not None:
            expected[f"{target}.conv.bias"] = torch.from_numpy(np.float32(values[bias]))

    def put_folded(target: str, scope: str) -> None:
        put(target, f"tower_0/{scope}/Conv2D_weights", f"tower_0/{scope}/Conv2D_bn_offset")

    def put_separable(target: str, scope: str) -> None:
        put(f"{target}.depthwise", f"{scope}/depthwise_weights", depthwise=True)
        folded = f"tower_0/{scope}/separable_conv2d"
        put(f"{target}.pointwise", f"{folded}_weights", f"{folded}_bn_offset")

    put_folded("stem", "MobilenetV3/Conv")
    put_folded("last", "extern1")
    for index in range(15):
        scope = f"MobilenetV3/expanded_conv{f'_{index}' if index else ''}"
        if index:
            put_folded(f"blocks.{index}.expand", f"{scope}/expand")
        depthwise = f"tower_0/{scope}/depthwise/depthwise"
        put(f"blocks.{index}.depthwise", f"{depthwise}_weights", f"{depthwise}_bn_offset", depthwise=True)
        put_folded(f"blocks.{index}.project", f"{scope}/project")
        if f"{scope}/squeeze_excite/Conv/weights" in values:
            for part, layer in (("reduce", "Conv"), ("expand", "Conv_1")):
                squeeze = f"{scope}/squeeze_excite/{layer}"
                put(f"blocks.{index}.squeeze.{part}", f"{squeeze}/weights", f"{squeeze}/biases")
    for stage, stride in ((2, 4), (3, 8), (4, 16)):
        put_folded(f"neck.lateral{stride}.reduce", f"CenternetHead/c{stage}_reverse/1x1")
        put_separable(f"neck.lateral{stride}.spread", f"CenternetHead/c{stage}_reverse/3x3")
        for branch, letter in (("narrow", "x"), ("wide", "y")):
            scope = f"CenternetHead/c{stage + 1}_upsample/branch_{letter}_upsample_resize"
            put_separable(f"neck.up{2 * stride}.{branch}", scope)
    put_folded("neck.attention.reduce", "CenternetHead/conv1x1_se_a")
    put("neck.attention.expand", "CenternetHead/conv1x1_se_b/weights")
    for head, scope in (("hm", "CenternetHead/centernet_cls_output"), ("ltrb", "CenternetHead/centernet_wh_output")):
        put(f"{head}.depthwise", f"{scope}/depthwise_weights", depthwise=True)
        put(f"{head}.pointwise", f"{scope}/pointwise_weights", f"{scope}/biases")
    signed = (
        16.0 / 4.0 * torch.tensor([-1.0, -1.0, 1.0, 1.0])
    )  # input px -> output-grid px, to the left and top negative
    expected["ltrb.pointwise.conv.weight"] *= signed[:, None, None, None]
    expected["ltrb.pointwise.conv.bias"] *= signed
    return expected


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    model = topology()
    values = drawn_weights(model)
    return write_model(tmp_path_factory.mktemp("graph"), model, values), values


def test_every_weight_is_copied_to_the_layer_of_its_name(drawn):
    path, values = drawn
    network, profile = import_centernet(path)
    state = network.state_dict()
    expected = named_parameters(values)
    untrained = ("previous_stem.", "prior_stem.", "tracking.")
    assert {key for key in state if not key.startswith(untrained)} == set(expected)
    for key, value in expected.items():
        assert torch.equal(state[key], value), key
    assert profile.classes[0] == "person" and len(profile.classes) == 80 and not profile.trained_tracking


def test_two_imports_are_equal_and_leave_the_random_state_alone(drawn):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first, second = (import_centernet(drawn[0])[0].state_dict() for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_an_unfolded_batch_norm_is_folded(tmp_path):
    """The first convolution written as Conv2D and FusedBatchNormV3 gives the layer that it is as one."""
    model = topology()
    values = drawn_weights(model)
    nodes = model["modelTopology"]["node"]
    fused = next(node for node in nodes if node["name"] == "tower_0/MobilenetV3/Conv/BatchNorm/FusedBatchNorm")
    image, kernel, _offset = fused["input"]
    bare = {"name": "bare", "op": "Conv2D", "input": [image, kernel], "attr": dict(fused["attr"])}
    bare["attr"].pop("fused_ops")
    names = [f"norm/{part}" for part in ("gamma", "beta", "mean", "variance")]
    norm = {
        "name": fused["name"],
        "op": "FusedBatchNormV3",
        "input": ["bare", *names],
        "attr": {"epsilon": {"f": 0.001}},
    }
    nodes[nodes.index(fused)] = norm
    nodes.append(bare)
    generator = np.random.default_rng(1)
    for name in names:
        model["weightsManifest"][0]["weights"].append({"name": name, "shape": [16], "dtype": "float32"})
        values[name] = generator.uniform(0.5, 2, 16).astype(np.float32)
    layer = import_centernet(write_model(tmp_path, model, values))[0].stem.conv
    gamma, beta, mean, variance = (torch.from_numpy(values[name]) for name in names)
    plain = convolution(values, kernel, depthwise=False)
    images = torch.rand(1, 3, 9, 9)
    expected = torch.nn.functional.batch_norm(
        torch.nn.functional.conv2d(images, plain), mean, variance, gamma, beta, eps=0.001
    )
    ours = torch.nn.functional.conv2d(images, layer.weight, layer.bias)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_affine_quantised_weights_are_restored(tmp_path):
    values = np.array([[-1.5, 0.25], [3.0, 0.75]], np.float32)
    scale = float((values.max() - values.min()) / 255)
    stored = np.round((values - values.min()) / scale).astype(np.uint8)
    entry = {
        "name": "w", "shape": [2, 2], "dtype": "float32",
        "quantization": {"dtype": "uint8", "scale": scale, "min": float(values.min())},
    }  # fmt: skip
    manifest = [{"paths": ["a.bin", "b.bin"], "weights": [entry]}]
    (tmp_path / "a.bin").write_bytes(stored.tobytes()[:3])
    (tmp_path / "b.bin").write_bytes(stored.tobytes()[3:])
    path = tmp_path / "model.json"
    path.write_text(json.dumps({"modelTopology": {"node": []}, "weightsManifest": manifest}))
    np.testing.assert_allclose(read_graph(path).constants["w"], values, atol=scale)


def broken(tmp_path: Path, change) -> Path:
    model = topology()
    values = drawn_weights(model)
    change(model, values)
    return write_model(tmp_path, model, values)


def test_a_missing_weight_file_is_named(drawn, tmp_path):
    alone = tmp_path / "centernet.json"
    alone.write_bytes(drawn[0].read_bytes())
    with pytest.raises(FileNotFoundError, match=r"centernet\.bin"):
        import_centernet(alone)


@pytest.mark.parametrize(("change", "words"), [(-100, "truncated"), (7, "its weights take")])
def test_a_weight_file_of_the_wrong_length_is_an_error(drawn, tmp_path, change, words):
    data = drawn[0].with_name("centernet.bin").read_bytes()
    (tmp_path / "centernet.json").write_bytes(drawn[0].read_bytes())
    (tmp_path / "centernet.bin").write_bytes(data[:change] if change < 0 else data + bytes(change))
    with pytest.raises(GraphError, match=words):
        import_centernet(tmp_path / "centernet.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x80\x04pickle", "JSON"),
        (b"[]", "modelTopology"),
        (b'{"format": "layers-model", "modelTopology": {}, "weightsManifest": []}', "layers-model"),
        (b'{"modelTopology": {}, "weightsManifest": []}', "damaged"),
        (b'{"modelTopology": {"node": []}, "weightsManifest": []}', "Placeholder"),
        (
            b'{"modelTopology": {"node": []}, "weightsManifest": [{"paths": ["../x"], "weights": []}]}',
            "without a folder",
        ),
    ],
)
def test_a_file_that_is_no_graph_model_is_an_error(tmp_path, content, words):
    path = tmp_path / "model.json"
    path.write_bytes(content)
    with pytest.raises(GraphError, match=words):
        import_centernet(path)


def find_node(model: dict, name: str) -> dict:
    return next(node for node in model["modelTopology"]["node"] if node["name"] == name)


def wider_kernel(model, values):
    name = "tower_0/MobilenetV3/expanded_conv_4/project/Conv2D_weights"
    entry = next(entry for entry in model["weightsManifest"][0]["weights"] if entry["name"] == name)
    entry["shape"] = [1, 1, 96, 40]
    values[name] = np.zeros(entry["shape"], np.float16)


def other_stride(model, values):
    node = find_node(model, "tower_0/MobilenetV3/expanded_conv_6/depthwise/depthwise")
    node["attr"]["strides"]["list"]["i"] = ["1", "1", "1", "1"]


def valid_padding(model, values):
    node = find_node(model, "tower_0/MobilenetV3/Conv/BatchNorm/FusedBatchNorm")
    node["attr"]["padding"]["s"] = base64.b64encode(b"VALID").decode()


def half_pixel_centers(model, values):
    find_node(model, "tower_0/CenternetHead/c4_upsample/up_sampling2d_1/ResizeBilinear")["attr"][
        "half_pixel_centers"
    ] = {"b": True}


def swish_constant(model, values):
    values["tower_0/MobilenetV3/expanded_conv_8/expand/hard_swish/mul_1/y"] = np.float16(0.2)


def swapped_join(model, values):
    inputs = find_node(model, "tower_0/CenternetHead/concat_1")["input"]
    inputs[0], inputs[1] = inputs[1], inputs[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (wider_kernel, "block 4 project.*kernel"),
        (other_stride, "block 6 depthwise.*stride"),
        (valid_padding, "stem.*SAME"),
        (half_pixel_centers, "stride 8.*half_pixel_centers"),
        (swish_constant, "expanded_conv_8.*multiplies by 0.19"),
        (swapped_join, "stride 8.*joins"),
    ],
)
def test_another_graph_is_an_error_that_names_the_first_difference(tmp_path, change, words):
    with pytest.raises(GraphError) as caught:
        import_centernet(broken(tmp_path, change))
    assert re.search(words, str(caught.value)), str(caught.value)


def test_the_command_writes_weights_with_the_stated_profile(drawn, tmp_path, capsys):
    output = tmp_path / "mine.safetensors"
    options = ["--name", "mine", "--licence", "MIT", "--thresholds", "track=0.5", "--half"]
    assert main([str(drawn[0]), str(output), *options]) == 0
    _, profile = checkpoints.load(output)
    assert (profile.name, profile.licence, profile.thresholds.track) == ("mine", "MIT", 0.5)
    assert capsys.readouterr().out.startswith(f"{output}: mine, mobilenetv3_centernet, 80 classes")


def test_the_command_reports_an_error_in_one_line(tmp_path, capsys):
    (tmp_path / "text.json").write_text("no json")
    assert main([str(tmp_path / "text.json"), str(tmp_path / "out.safetensors")]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "not a TensorFlow.js model" in captured.err
    assert not (tmp_path / "out.safetensors").exists()


def test_the_embedded_weights_are_the_published_ones_bit_by_bit(shared_data):
    network, profile = import_centernet(shared_data / "centernet_coco_mobilenetv3" / "centernet.json")
    embedded, embedded_profile = checkpoints.load(weights_path("mobilenetv3-coco"))
    assert embedded_profile.classes == profile.classes and embedded_profile.heads == profile.heads
    imported = network.state_dict()
    for key, value in embedded.state_dict().items():
        if key.startswith(("previous_stem", "prior_stem", "tracking")):  # random, rounded to float16 in the file
            torch.testing.assert_close(value, imported[key], rtol=1e-3, atol=1e-6)
        else:
            assert torch.equal(value, imported[key]), key
