# SPDX-License-Identifier: Apache-2.0
"""The network that a run starts with."""

from dataclasses import replace

import pytest
import torch

pytest.importorskip("lightning", reason="training needs Lightning")

from centertrack_ros.network import checkpoints
from centertrack_ros.network.registry import build, weights_path
from centertrack_ros.training.initialization import initialize_network
from centertrack_ros.training.run import train
from support.moving_square import make_recipe


@pytest.mark.parametrize("wider", [{}, {"hidden": {"tracking": [40]}}])
def test_a_head_with_more_inputs_starts_with_the_values_of_before(tmp_path, video, wider):
    made = make_recipe(video, steps=1, val=[])
    start = train(made, tmp_path / "start", progress=False)
    options = {"head_conv": 16, "batch_norm": True, "motion": True, **wider}
    more, _ = initialize_network(replace(made, init_from=str(start), profile={**made.profile, "head_options": options}))
    image = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        before, after = checkpoints.load(start)[0].eval()(image), more.eval()(image, image, torch.rand(1, 1, 64, 96))
    for name in before:
        torch.testing.assert_close(after[name], before[name])


def test_a_head_with_other_layers_is_reinitialized(tmp_path, video):
    made = make_recipe(video, steps=1, val=[])
    start = train(made, tmp_path / "start", progress=False)
    options = {"head_conv": 16, "batch_norm": True, "hidden": {"tracking": [32, 32]}}
    changed = replace(made, init_from=str(start), profile={**made.profile, "head_options": options})
    deeper, random = initialize_network(changed)[0].state_dict(), build(initialize_network(changed)[1]).state_dict()
    assert deeper["tracking.0.weight"].std() == pytest.approx(float(random["tracking.0.weight"].std()), rel=0.1)
    assert not deeper["tracking.4.weight"].any()  # the last layer, as of every added head
    trained = checkpoints.load(start)[0].state_dict()["tracking.0.weight"]
    assert not torch.equal(deeper["tracking.0.weight"][: len(trained)], trained)


def test_reinitialized_parts_do_not_take_the_weights_of_init_from(tmp_path, video):
    made = make_recipe(video, init_from="mobilenetv3-coco", profile={}, reinitialize=["hm.", "last."])
    network, _ = initialize_network(made)
    known, _ = checkpoints.load(weights_path("mobilenetv3-coco"))
    same = {name: torch.equal(value, known.state_dict()[name]) for name, value in network.state_dict().items()}
    assert not same["hm.pointwise.conv.weight"] and not same["last.conv.weight"]
    assert all(equal for name, equal in same.items() if not name.startswith(("hm.", "last.")))
    with pytest.raises(ValueError, match="reinitialize: no parameter's name begins with 'nothing'"):
        initialize_network(replace(made, reinitialize=("nothing",)))
