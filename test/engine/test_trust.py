# SPDX-License-Identifier: Apache-2.0
"""What a runtime has compiled is run as code: it is only loaded where nobody else could have written it."""

import json
import logging
import os
from pathlib import Path

import pytest

from centertrack_ros.engine import export_cache
from centertrack_ros.engine.trust import distrust
from centertrack_ros.network.registry import weights_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "cache"
    (made / "compiled").mkdir(parents=True, mode=0o755)
    (made / "compiled" / "1.blob").write_bytes(b"code")
    for path in (made, *made.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return made


def test_what_only_this_user_can_write_is_trusted(folder: Path) -> None:
    assert distrust(folder) == ""
    (folder / "compiled" / "1.blob").chmod(0o664)  # the user's own group
    assert distrust(folder) == ""


@pytest.mark.parametrize("place", ["", "compiled", "compiled/1.blob"])
def test_what_everybody_can_write_is_not(folder: Path, place: str) -> None:
    path = folder / place
    path.chmod(path.stat().st_mode | 0o002)
    assert distrust(folder) == f"{path.name} can be written by every user: chmod o-w"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("place", ["", "compiled", "compiled/1.blob"])
def test_what_belongs_to_somebody_else_is_not(folder: Path, place: str) -> None:
    os.chown(folder / place, 12345, -1)
    assert distrust(folder).endswith("belongs to another user (12345)")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_another_group_can_write_is_not(folder: Path) -> None:
    os.chown(folder / "compiled", -1, 12345)
    assert distrust(folder) == ""
    (folder / "compiled").chmod(0o775)
    assert distrust(folder) == "compiled can be written by another group (12345): chmod g-w"


def test_a_link_is_not(folder: Path, tmp_path: Path) -> None:
    (folder / "2.blob").symlink_to(tmp_path / "elsewhere")
    assert distrust(folder) == "2.blob is a link"


def copied_weights(tmp_path: Path) -> Path:
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(weights_path("mobilenetv3-coco").read_bytes())
    return weights


def test_an_export_that_others_can_write_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    weights = copied_weights(tmp_path)
    key = export_cache.cache_key(weights)
    with export_cache.writing(weights, key) as made:
        export_cache.write_manifest(made, key, {})
    cached, warnings = export_cache.find(weights)
    assert cached is not None and not warnings
    cached.folder.chmod(0o777)
    cached, warnings = export_cache.find(weights)
    assert cached is None
    (warning,) = warnings
    assert "is not used" in warning and "can be written by every user" in warning


def test_a_manifest_is_not_even_read_there(tmp_path: Path) -> None:
    made = tmp_path / "x"
    made.mkdir(mode=0o755)
    (made / export_cache.MANIFEST).write_text(json.dumps({"facts": {}, "files": {}}))
    made.chmod(0o777)
    with pytest.raises(export_cache.StaleEntryError, match="can be written by every user"):
        export_cache.read(made, {})


def test_compiled_networks_go_where_nobody_else_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    weights = copied_weights(tmp_path)
    beside = export_cache.compiled_folder(weights)
    assert beside is not None and beside.parent == tmp_path / "w.engines"
    beside.chmod(0o777)
    with caplog.at_level(logging.WARNING):
        other = export_cache.compiled_folder(weights)
    assert other is not None and other.parent == tmp_path / "cache" / "centertrack_ros"
    assert "every user" in caplog.text
