# SPDX-License-Identifier: Apache-2.0
"""Lightning's base classes; stand-ins without it, so that every module can be imported and only a run needs it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import lightning.pytorch as pl
    from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
    from lightning.pytorch.plugins.io import TorchCheckpointIO
else:
    try:
        import lightning.pytorch as pl
        from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
        from lightning.pytorch.plugins.io import TorchCheckpointIO
    except ImportError:

        class _Missing:
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                raise ModuleNotFoundError("training needs Lightning 2.6 or later: pip install 'centertrack_ros[train]'")

        pl = SimpleNamespace(LightningModule=_Missing, LightningDataModule=_Missing)
        ModelCheckpoint = WeightAveraging = TorchCheckpointIO = _Missing

__all__ = ["ModelCheckpoint", "TorchCheckpointIO", "WeightAveraging", "pl"]
