# SPDX-License-Identifier: Apache-2.0
"""Heads that learn from cached features."""

import csv
from dataclasses import replace
from functools import partial

import pytest
import torch

pytest.importorskip("lightning", reason="training needs Lightning")

from centertrack_ros.training.data_module import TrainingData
from centertrack_ros.training.feature_cache import CachedFeatures, pad_batch
from centertrack_ros.training.initialization import initialize_network
from centertrack_ros.training.module import TrackingModule, features_of
from centertrack_ros.training.run import train
from centertrack_ros.training.samples import Draw
from support.moving_square import make_recipe, weights


def test_heads_learn_from_cached_features_what_they_learn_from_images(tmp_path, video):
    """Values from patches equal those from images, and nothing but the heads changes."""
    frozen = ["stem.", "blocks.", "last.", "neck.", "hm", "reg", "previous_stem", "prior_stem"]
    made = make_recipe(video, freeze=frozen, cache_features=6, max_objects=3, steps=60, validate_every=20, val=[])
    made = replace(made, learning_rate=1e-2, drop_at=())
    module = TrackingModule(*initialize_network(made), made)
    for head in ("wh", "tracking"):
        torch.nn.init.normal_(module.network.heads[head][-1].weight)
    data = TrainingData(made, module.profile)
    data.setup()
    batch = torch.utils.data.default_collate([data.train[Draw(k, (k,))] for k in (2, 3, 4)])
    module.network.eval()
    whole = module.outputs(batch)
    compute = partial(features_of, module.network, module.profile)
    kept = CachedFeatures(module.network, compute, ("wh", "tracking"), 3, [batch])
    count = int((batch["mask"].sum(dim=1) > 0).sum())
    assert len(kept) == count > 0
    small = pad_batch([kept[Draw(k, ())] for k in range(count)])
    from_patches = module.outputs_from_patches(small)
    assert set(from_patches) == {"wh", "tracking"}
    present = batch["mask"] > 0
    for head, values in from_patches.items():
        torch.testing.assert_close(values[small["mask"] > 0], whole[head][present], rtol=1e-2, atol=1e-2)  # float16
        assert torch.equal(small[head][small["mask"] > 0], batch[head][present])
    before = weights(train(replace(made, steps=1, learning_rate=1e-12), tmp_path / "a", progress=False))
    after = weights(train(made, tmp_path / "b", progress=False))
    assert {n.partition(".")[0] for n in before if not torch.equal(before[n], after[n])} == {"wh", "tracking"}
    rows = list(csv.DictReader((tmp_path / "b" / "csv" / "from_step_0" / "metrics.csv").open()))
    first, last = (float([row["train/wh"] for row in rows if row["train/wh"]][k]) for k in (0, -1))
    assert last < 0.7 * first
    with pytest.raises(ValueError, match="freeze all but heads"):
        train(replace(made, freeze=("stem.", "blocks.", "last.")), tmp_path / "c", progress=False)
