# SPDX-License-Identifier: Apache-2.0
"""The base installation has no torch: the embedded models track without it, and what needs it says so.

Each test is a process of its own in which torch cannot be imported.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openvino")

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "demo" / "pets09_s2l1"
BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {modules}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def python(code: str, *arguments: str, cwd: Path, blocked: tuple[str, ...] = ("torch",)) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", BLOCKER.format(modules=set(blocked)) + code, *arguments]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}", "XDG_CACHE_HOME": str(cwd)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def centertrack(*arguments: str, cwd: Path, blocked: tuple[str, ...] = ("torch",)) -> subprocess.CompletedProcess:
    code = "from centertrack_ros.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    return python(code, *arguments, cwd=cwd, blocked=blocked)


def tracks(folder: Path, engine: str, blocked: tuple[str, ...]) -> np.ndarray:
    """Frame, id, box of every line that `centertrack track` writes for a few frames of the demo clip."""
    folder.mkdir()
    options = ["--frames", "6", "--save-txt", "--output", str(folder), "--engine", engine]
    done = centertrack("track", str(CLIP), *options, cwd=folder, blocked=blocked)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.txt")
    return np.loadtxt(path, delimiter=",", ndmin=2)[:, :6]


def test_tracks_are_the_same_with_and_without_torch(tmp_path: Path) -> None:
    without, with_torch = tracks(tmp_path / "1", "auto", ("torch",)), tracks(tmp_path / "2", "torch", ())
    assert len(without) > 20
    np.testing.assert_allclose(without, with_torch, atol=0.05)


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "mobilenetv3-coco"),
        ("track", str(CLIP), "--device", "cuda"),
        ("weights", "info", "mobilenetv3-coco"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_needs_torch_ends_with_one_sentence(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = centertrack(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert "pip install 'centertrack_ros[torch]'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_another_engine_is_replaced_with_one_line(tmp_path: Path) -> None:
    done = centertrack("track", str(CLIP), "--frames", "1", "--engine", "onnxruntime", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "engine onnxruntime needs torch, which is not installed; openvino is used instead" in done.stderr


def test_neither_torch_nor_openvino_is_one_sentence(tmp_path: Path) -> None:
    done = centertrack("track", str(CLIP), "--frames", "1", cwd=tmp_path, blocked=("torch", "openvino"))
    assert done.returncode == 1
    assert "neither openvino nor torch is installed" in done.stderr and "Traceback" not in done.stderr


IMPORTS = """
import importlib, pkgutil, warnings, centertrack_ros
warnings.filterwarnings("error", category=DeprecationWarning, module=r"centertrack_ros(\\.|$)")
warnings.filterwarnings("error", category=PendingDeprecationWarning, module=r"centertrack_ros(\\.|$)")
for module in pkgutil.walk_packages(centertrack_ros.__path__, "centertrack_ros."):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        print(module.name, error.name or error)
from centertrack_ros.cli.main import main
sys.exit(main(["track", sys.argv[1], "--frames", "2", "--output", "."]))
"""


def test_nothing_deprecated_is_imported_or_used_in_a_short_track(tmp_path: Path) -> None:
    """What Python 3.14 has removed was deprecated before; warnings of other packages' own code do not count."""
    done = python(IMPORTS, str(CLIP), cwd=tmp_path, blocked=())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "DeprecationWarning" not in done.stderr, done.stderr


def test_only_parts_that_train_or_hold_networks_need_torch(tmp_path: Path) -> None:
    done = python(IMPORTS, str(CLIP), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    needing = {line.split()[0].split(".")[1] for line in done.stdout.splitlines() if line.endswith(" torch")}
    assert needing <= {"network", "engine", "training"}, done.stdout
