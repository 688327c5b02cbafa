# SPDX-License-Identifier: Apache-2.0
"""What the losses read of a network, and what its optimizer gets."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("lightning", reason="training needs Lightning")

from centertrack_ros.network.heads import gather_cells
from centertrack_ros.network.registry import build
from centertrack_ros.training.data_module import TrainingData
from centertrack_ros.training.initialization import initialize_network
from centertrack_ros.training.module import TrackingModule, outputs_at_objects, parameter_groups
from centertrack_ros.training.samples import Draw
from support.moving_square import PROFILE, make_recipe


def test_heads_read_at_the_objects_are_the_whole_maps_there():
    """Values and gradients, for both kinds of heads, at the border too."""
    torch.manual_seed(0)
    network = build(replace(PROFILE, heads={"hm": 2, "ltrb": 4, "tracking": 2, "rot": 8}))
    for head in network.heads.values():
        torch.nn.init.normal_(list(head.parameters())[-2], std=0.1)
    features = torch.randn(2, 128, 16, 24, requires_grad=True)
    index, mask = torch.tensor([[0, 23, 200, 0], [383, 5, 0, 0]]), torch.tensor([[1.0, 1, 1, 0], [1, 1, 0, 0]])
    sparse = outputs_at_objects(network, features, index, mask)
    for name in ("ltrb", "tracking", "rot"):
        whole = gather_cells(network.heads[name](features), index) * mask[..., None]
        torch.testing.assert_close(sparse[name], whole, rtol=1e-4, atol=1e-5)
        gradients = [torch.autograd.grad((v**2).sum(), features, retain_graph=True)[0] for v in (sparse[name], whole)]
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(sparse["hm"], network.heads["hm"](features))


def test_trained_parts_learn_in_proportion_to_their_size(tmp_path, video):
    made = make_recipe(video, relative_rates={"blocks.": 0.5, "hm": 0.1}, learning_rate=1e-3)
    network, _ = initialize_network(made)
    rates = {id(p): group["lr"] for group in parameter_groups(network, made) for p in group["params"]}
    assert set(rates) == {id(p) for p in network.parameters()}
    for name, parameter in network.named_parameters():
        factor = {"b": 0.5, "h": 0.1}.get(name[0] if name.startswith(("blocks.", "hm")) else "")
        size = max(float(parameter.detach().square().mean().sqrt()), 1e-3)
        expected = 1e-3 if factor is None else 1e-3 * factor * size
        assert 0.7 < rates[id(parameter)] / expected < 1.5
    with pytest.raises(ValueError, match="no_such"):
        parameter_groups(network, replace(made, relative_rates={"no_such": 0.1}))


@pytest.mark.parametrize(
    ("architecture", "options"), [("dla_34_conv", {}), ("mobilenetv3_centernet", {"head_conv": 16, "batch_norm": True})]
)
def test_all_that_learns_gets_a_gradient(tmp_path, video, architecture, options):
    """Several processes wait for the gradient of every weight that could have one."""
    profile = {**make_recipe(video).profile, "architecture": architecture, "head_options": options}
    made = make_recipe(video, profile=profile, loss_weights={"wh": 0.0}, sample_size="96x64")
    module = TrackingModule(*initialize_network(made), made)
    module.log = module.log_dict = lambda *args, **kwargs: None
    module._trainer = SimpleNamespace(global_step=0)
    data = TrainingData(made, module.profile)
    data.setup()
    batch = torch.utils.data.default_collate([data.train[Draw(k, (k,))] for k in (2, 3)])
    module.training_step(batch, 0).backward()
    without_gradient = [name for name, p in module.network.named_parameters() if p.requires_grad and p.grad is None]
    assert not without_gradient
    assert all(not p.requires_grad for name, p in module.network.named_parameters() if name.startswith("wh."))
