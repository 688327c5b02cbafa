# SPDX-License-Identifier: Apache-2.0
"""When weights may run in a lower precision."""

import json

import pytest

from centertrack_ros.network.profile import ModelProfile
from experiments import verify_precision

EXACT = {"AP at 512x512": 0.319, "AP at 576x448": 0.330, "MOTA of PETS, 1/1": 68.0, "IDF1 of PETS, 1/1": 70.0}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize(
    ("changes", "passes"),
    [
        ({}, True),
        ({"AP at 512x512": -0.005, "AP at 576x448": 0.004}, True),  # rounding: one up, one down
        ({"AP at 512x512": -0.005, "AP at 576x448": -0.003}, False),
        ({"MOTA of PETS, 1/1": -0.8}, True),
        ({"IDF1 of PETS, 1/1": -1.2}, False),
        ({"IDF1 of PETS, 1/1": 3.0, "MOTA of PETS, 1/1": -1.2}, False),  # a gain elsewhere is no excuse
    ],
)
def test_the_means_decide_and_what_passes_is_a_profile_field(
    monkeypatch, tmp_path, capsys, changes, passes, precision
) -> None:
    lower = {name: value + changes.get(name, 0.0) for name, value in EXACT.items()}
    for folder in ("coco", "pets09_s2l1"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(
        verify_precision,
        "measure",
        lambda data, weights, engine, threads, device: ("m", EXACT if engine in ("openvino", "torch") else lower),
    )
    assert verify_precision.main([str(tmp_path), "--precision", precision]) == (0 if passes else 1)
    out = capsys.readouterr().out
    assert (f"{precision} passes" in out) == passes and ("does not pass" in out) != passes
    if passes:
        field = json.loads(out.split("verified_precisions='")[1].split("'")[0])
        fields = {"name": "n", "architecture": "dla_34", "classes": ["car"], "heads": {"hm": 1}}
        profile = ModelProfile.from_json(json.dumps({**fields, "verified_precisions": field}))
        assert profile.verified_precisions[precision].figures["AP, mean of 2"][0] == pytest.approx(0.3245, abs=1e-3)


def test_without_the_data_it_says_what_is_missing(tmp_path) -> None:
    with pytest.raises(SystemExit, match="no coco and no pets09_s2l1 in"):
        verify_precision.main([str(tmp_path)])
