"""Official models from their public Google Drive links."""

from __future__ import annotations

import tempfile
from pathlib import Path

from centertrack_ros.network import checkpoints
from centertrack_ros.network.zoo import ZOO


def fetch(name: str, output: Path) -> None:
    """Download a model of the zoo with a progress bar, check that it loads, and write it as safetensors to `output`.

    Raises KeyError for a name that is not in the zoo, ImportError without gdown, OSError when the download fails, and
    CheckpointError when what came is not that model; nothing is written then.
    """
    model = ZOO[name]
    try:
        import gdown
    except ImportError:
        raise ImportError("fetching official models needs gdown: pip install 'centertrack_ros[zoo]'") from None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.pth"
        try:
            arrived = gdown.download(id=model.drive_id, output=str(file), quiet=False)
        except Exception as error:  # gdown's own exceptions differ from version to version
            raise OSError(f"could not download {name}: {error}") from None
        if arrived is None or not file.is_file():
            raise OSError(f"could not download {name}: Google Drive gave no file")
        network, profile = checkpoints.load(file)
        checkpoints.save(output, network, profile)
