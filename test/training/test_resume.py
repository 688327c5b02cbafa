# SPDX-License-Identifier: Apache-2.0
"""A run that was stopped or killed continues to the same weights."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("lightning", reason="training needs Lightning")

from centertrack_ros.training.callbacks import AtomicCheckpointIO, CheckpointCallback
from centertrack_ros.training.initialization import initialize_network
from centertrack_ros.training.module import TrackingModule
from centertrack_ros.training.run import _log_name, train
from support.moving_square import make_recipe, weights


@pytest.mark.slow
def test_a_run_that_was_stopped_and_resumed_gives_the_same_weights_to_the_bit(tmp_path, video):
    whole = weights(train(make_recipe(video), tmp_path / "whole", progress=False))
    train(make_recipe(video), tmp_path / "parts", progress=False, stop_after=3)
    resumed = weights(train(make_recipe(video), tmp_path / "parts", progress=False))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    start = weights(train(make_recipe(video, steps=1), tmp_path / "short", progress=False))
    assert any(not torch.equal(whole[name], start[name]) for name in whole)
    assert (tmp_path / "whole" / "csv" / "from_step_0" / "metrics.csv").read_text().count("\n") > 3
    assert list((tmp_path / "whole" / "tensorboard").glob("events*"))


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 3, 5])
def test_a_killed_run_resumes_as_if_it_had_not_been_killed(tmp_path, video, monkeypatch, step):
    """From its last checkpoint: weights, their average, the best of the validations, frozen statistics."""
    made = make_recipe(video, freeze=["blocks."], learning_rate=1e-2)
    # Validations get worse and worse, so that the best is the one before the kill.
    log = TrackingModule.log

    def always_worse(self, name, value, *args, **kwargs):
        log(self, name, -float(self.global_step) if name == "val/score" else value, *args, **kwargs)

    monkeypatch.setattr(TrackingModule, "log", always_worse)
    whole = weights(train(made, tmp_path / "whole", progress=False))
    step_of_module = TrackingModule.training_step

    def killed(self, batch, index):
        if self.global_step == step:
            raise InterruptedError("killed")
        return step_of_module(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(TrackingModule, "training_step", killed)
        with pytest.raises(InterruptedError):
            train(made, tmp_path / "parts", progress=False)
    resumed = weights(train(made, tmp_path / "parts", progress=False))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    last = [torch.load(tmp_path / part / "last.ckpt", weights_only=False) for part in ("whole", "parts")]
    assert last[0]["global_step"] == last[1]["global_step"] == 6
    for state in ("state_dict", "current_model_state"):  # the average, and the weights in training
        assert all(torch.equal(value, last[1][state][name]) for name, value in last[0][state].items())
    best = [torch.load(tmp_path / part / "best.ckpt", weights_only=False)["global_step"] for part in ("whole", "parts")]
    assert best == [2, 2]


def test_a_restart_keeps_the_old_checkpoints_and_exports_no_other_runs_best(tmp_path, video):
    made = make_recipe(video, steps=2, ema=0.0)
    train(made, tmp_path / "run", progress=False)
    old = (tmp_path / "run" / "best.ckpt").read_bytes()
    again = train(replace(made, val=(), learning_rate=1e-2), tmp_path / "run", resume=False, progress=False)
    assert (tmp_path / "run" / "best.ckpt.old").read_bytes() == old and not (tmp_path / "run" / "best.ckpt").exists()
    last = torch.load(tmp_path / "run" / "last.ckpt", weights_only=False)["state_dict"]
    assert all(torch.equal(value, last[f"network.{name}"]) for name, value in weights(again).items())
    with pytest.raises(ValueError, match="learning_rate, relative_rates and freeze stay"):
        train(replace(made, val=(), learning_rate=1e-3, steps=4), tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match="step 1 or later"):
        train(made, tmp_path / "run", progress=False, stop_after=-1)


def test_a_full_disk_costs_the_new_checkpoint_not_the_old(tmp_path, monkeypatch):
    writer, target = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    writer.save_checkpoint({"step": 1}, target)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="untouched"):
        writer.save_checkpoint({"step": 2}, target)
    assert torch.load(target)["step"] == 1 and list(tmp_path.iterdir()) == [target]


@pytest.mark.slow
def test_what_is_exported_is_the_average_that_the_best_validation_saw(tmp_path, video):
    """By the schedule: after step n the average moves by 1 - min(ema, (1 + n) / (10 + n)) towards the weights."""
    made = make_recipe(video, steps=2, validate_every=1, batch=6)
    averages = []
    validate = TrackingModule.validation_step

    def observed(self, batch, index):
        averages.append({name: value.clone() for name, value in self.network.state_dict().items()})
        validate(self, batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrackingModule, "validation_step", observed)
        exported = weights(train(made, tmp_path / "run", progress=False))
    initial = initialize_network(made)[0].state_dict()
    last = torch.load(tmp_path / "run" / "last.ckpt", weights_only=False)
    best = torch.load(tmp_path / "run" / "best.ckpt", weights_only=False)
    first = train(replace(made, steps=1, ema=0.0), tmp_path / "first", progress=False)
    for name, value in weights(first).items():
        if value.dtype.is_floating_point:
            torch.testing.assert_close(averages[0][name], initial[name].lerp(value, 1 - 2 / 11), msg=name)
        current = last["current_model_state"][f"network.{name}"]
        if value.dtype.is_floating_point:
            torch.testing.assert_close(averages[1][name], averages[0][name].lerp(current, 1 - 3 / 12), msg=name)
        else:
            assert torch.equal(averages[1][name], current)
        assert torch.equal(exported[name], best["state_dict"][f"network.{name}"])


def test_a_run_whose_folder_has_moved_keeps_its_best_score(tmp_path):
    first = CheckpointCallback(tmp_path / "first", "val/score")
    path = str(tmp_path / "first" / "best.ckpt")
    first.best_k_models, first.best_model_path, first.kth_best_model_path = {path: torch.tensor(-3.0)}, path, path
    first.best_model_score = first.kth_value = torch.tensor(-3.0)
    moved = CheckpointCallback(tmp_path / "moved", "val/score")
    moved.load_state_dict(first.state_dict())
    assert moved.best_model_path == moved.kth_best_model_path == str(tmp_path / "moved" / "best.ckpt")
    assert not moved.check_monitor_top_k(SimpleNamespace(strategy=OneProcess), torch.tensor(-4.0))
    assert moved.check_monitor_top_k(SimpleNamespace(strategy=OneProcess), torch.tensor(-2.0))


class OneProcess:
    @staticmethod
    def reduce_boolean_decision(decision, all=True):
        return decision


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"\x80\x02}q\x00.", b"words"])
def test_a_damaged_checkpoint_is_named_before_the_run_goes_on(tmp_path, content):
    file = tmp_path / "last.ckpt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"^\S*last\.ckpt: not a .*checkpoint of a run.*; remove it$"):
        _log_name(file)
