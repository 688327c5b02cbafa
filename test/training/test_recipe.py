# SPDX-License-Identifier: Apache-2.0
"""Recipes: what is wrong in one is named, and the shipped ones are sound."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lightning", reason="training needs Lightning")

from centertrack_ros.cli.train import overrides
from centertrack_ros.network import checkpoints
from centertrack_ros.training.initialization import initialize_network
from centertrack_ros.training.module import freeze
from centertrack_ros.training.recipe import DataEntry, from_mapping, read_recipe
from centertrack_ros.training.streets import street_configs
from centertrack_ros.training.targets import GridObjects, make_targets


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("just words", "mapping"),
        ("{name: x, train: []}", "train"),
        ("{name: x, train: [{kind: coco_video, images: a}]}", "annotations"),
        ("{name: x, train: [{kind: tapes}]}", "tapes"),
        ("{name: x, colour: red, train: [{kind: street, folder: a}]}", "colour"),
        ("{name: x, batch: 0, train: [{kind: street, folder: a}]}", "batch"),
        ("{name: x, augmentation: {lost: 2}, train: [{kind: street, folder: a}]}", "lost"),
        ("{name: x, sample_size: 100x100, train: [{kind: street, folder: a}]}", "sample_size"),
        ("{name: x, relative_rates: {hm.: 0}, train: [{kind: street, folder: a}]}", "relative_rates"),
        ("{name: x, freeze: hm, train: [{kind: street, folder: a}]}", "freeze must be a list"),
        ("{name: x, loss_weights: {depth: 5}, train: [{kind: street, folder: a}]}", "no loss 'depth'"),
        ("{name: x, loss_weights: {dep: -1}, train: [{kind: street, folder: a}]}", "dep must not be negative"),
        ("{name: x, steps: 2.5, train: [{kind: street, folder: a}]}", "steps must be a whole number, got 2.5"),
        ("{name: x, static: 'no', train: [{kind: street, folder: a}]}", "static must be true or false"),
        ("{name: x, drop_at: 800, train: [{kind: street, folder: a}]}", "drop_at must be a list"),
        ("{name: x, learning_rate: fast, train: [{kind: street, folder: a}]}", "learning_rate must be a number"),
        ("{name: x, augmentation: {scales: [1]}, train: [{kind: street, folder: a}]}", "scales must be a list of 2"),
        ("{name: x, train: {kind: street}}", "train must be a list of data entries"),
        ("{name: x, train: [{kind: street, folder: a, labelled: car}]}", "labelled must be a list"),
        ("{name: x, train: [{kind: street, folder: a, repeat: 0.5}]}", "repeat must be a whole number"),
        ("{name: [", "YAML"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_reason(tmp_path, text, message):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_recipe(path)


def test_a_change_reaches_into_a_recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("{name: x, augmentation: {flip: 0.25, lost: 0.4}, train: [{kind: street, folder: a}]}")
    made = read_recipe(path, {"augmentation.lost": 0, "steps": 7, "loss_weights.hm": 2})
    assert (made.augmentation.lost, made.augmentation.flip, made.steps, made.loss_weights) == (0, 0.25, 7, {"hm": 2})
    assert read_recipe(path, {"learning_rate": "1e-3"}).learning_rate == 1e-3  # text in YAML 1.1
    with pytest.raises(ValueError, match="'name' has no keys inside"):
        read_recipe(path, {"name.first": "y"})


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ("start", "init_from", "mobilenetv3-coco"),
        ("fresh", "reinitialize", ["hm."]),
        ("remember", "cache_features", 9000),
        ("still", "static", True),
    ],
)
def test_a_key_of_an_earlier_version_works_and_its_new_name_is_logged(caplog, old, new, value):
    plain = {"name": "x", "train": [{"kind": "street", "folder": "a"}]}
    assert from_mapping({**plain, old: value}) == from_mapping({**plain, new: value})
    assert caplog.messages == [f"recipe: the key '{old}' is now called '{new}'"]
    with pytest.raises(ValueError, match=f"'{old}' is the old name of '{new}'"):
        from_mapping({**plain, old: value, new: value})
    assert from_mapping({**plain, "loss_weights": {"still": 2}}).loss_weights == {"static": 2}


def test_the_size_of_samples_is_width_x_height(tmp_path):
    plain = {"name": "x", "train": [{"kind": "street", "folder": "a"}]}
    assert from_mapping({**plain, "sample_size": "384x224"}).sample_width_height == (384, 224)
    with pytest.raises(ValueError, match="written as WIDTHxHEIGHT now: 384x224"):
        from_mapping({**plain, "sample_size": [224, 384]})
    with pytest.raises(ValueError, match="such as 384x224, got 'big'"):
        from_mapping({**plain, "sample_size": "big"})


ROOT = Path(__file__).resolve().parents[2]
RECIPES = [*(ROOT / "config" / "training").glob("*.yaml"), *(ROOT / "experiments" / "recipes").glob("*.yaml")]


def first_network(made, folder):
    """The initial network of a recipe; for one that continues another recipe's run, from that one's initial network."""
    if made.init_from.startswith("runs/"):
        previous = read_recipe(next(path for path in RECIPES if path.stem == Path(made.init_from).stem))
        assert made.init_from == f"runs/{previous.name}/{previous.name}.safetensors"
        checkpoints.save(folder / f"{previous.name}.safetensors", *first_network(previous, folder))
        made = replace(made, init_from=str(folder / f"{previous.name}.safetensors"))
    return initialize_network(made)


@pytest.mark.parametrize("path", sorted(RECIPES), ids=lambda p: p.stem)
def test_every_shipped_recipe_is_sound(path, tmp_path):
    """It reads, its network can be made, every head has targets, and its held-out streets share no seed or look."""
    made = read_recipe(path)
    network, profile = first_network(made, tmp_path)
    nothing = np.zeros((0, 4)), np.zeros(0, int), np.zeros((0, 2))
    make_targets(GridObjects(*nothing), profile.heads, (profile.input_height // 4, profile.input_width // 4))
    freeze(network, made.freeze)
    streets = [
        {c.look: c.seed for c in street_configs(e.street)} for e in (*made.train, *made.val) if e.kind == "street"
    ]
    assert len(streets) < 2 or set(streets[0]).isdisjoint(streets[-1])


@pytest.mark.parametrize("target", [3, ["a", "b", "c"], ["a", 2], {"a": "b"}])
def test_a_class_map_leads_to_classes(target):
    with pytest.raises(ValueError, match="class_map: Car must lead to a class, null, or a pair"):
        DataEntry("kitti", folder="x", class_map={"Car": target})


@pytest.mark.parametrize("names", [{0: "a", 2: "b"}, {"0": "a"}, {1: "a", "b": "c"}])
def test_names_of_yolo_are_numbered_without_gaps(names):
    entry = {"kind": "yolo", "images": "i", "labels": "l", "names": names}
    with pytest.raises(ValueError, match="names must have the numbers 0 to"):
        from_mapping({"name": "x", "train": [entry]})


@pytest.mark.parametrize("text", ["name: [", "a: 2020-13-45", "[" * 5000])
def test_what_is_not_yaml_is_named(tmp_path, text):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"r\.yaml: "):
        read_recipe(tmp_path / "r.yaml")
    if text == "name: [":
        with pytest.raises(ValueError, match=r"--set steps: '\[' is not YAML"):
            overrides(["steps=["])
