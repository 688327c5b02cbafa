"""From the name of a weights file to an engine that runs it."""

from __future__ import annotations

from pathlib import Path

from centertrack_ros.engine.base import Engine

ENGINES = ("auto", "torch")
EMBEDDED = Path(__file__).resolve().parent.parent / "weights" / "mobilenetv3-coco.safetensors"


def weights_path(weights: str | Path | None) -> Path:
    """None, '' and 'default' mean the model inside this package."""
    return EMBEDDED if weights is None or str(weights) in ("", "default") else Path(weights).expanduser()


def load_engine(
    weights: str | Path | None = None,
    engine: str = "auto",
    device: str = "auto",
    flip_test: bool = False,
    dense: bool = False,
    threads: int | None = None,
) -> Engine:
    """An engine with these weights, ready to run.

    weights  a .safetensors file of this project or an official checkpoint; None: the embedded model
    engine   'auto' or one of `ENGINES`
    device   'auto' (CUDA if there is one), 'cpu', 'cuda', 'cuda:1', …
    others   as in `TorchEngine`

    Raises CheckpointError (a ValueError) for unusable weights, ValueError for an unknown engine or an absent device,
    FileNotFoundError when there is no such file.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got '{engine}'")
    path = weights_path(weights)
    if not path.is_file():
        raise FileNotFoundError(f"no weights file at {path}")

    from centertrack_ros.engine.torch_engine import TorchEngine
    from centertrack_ros.network import checkpoints

    network, profile = checkpoints.load(path)
    return TorchEngine(network, profile, _device(device), flip_test=flip_test, dense=dense, threads=threads)


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda[:number]', got '{name}'") from None
    if kind.type == "cuda" and (not torch.cuda.is_available() or (kind.index or 0) >= torch.cuda.device_count()):
        raise ValueError(f"device '{name}' is not there: this machine has {torch.cuda.device_count()} CUDA devices")
    return name
