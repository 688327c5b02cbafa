# SPDX-License-Identifier: Apache-2.0
"""Lightning's classes that training uses or extends.

Lightning is optional. Without it the modules of training can still be imported, for documentation and for their
functions that do not need it; making an object of one of these classes then raises ModuleNotFoundError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
    from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
    from lightning.pytorch.plugins.io import TorchCheckpointIO
    from lightning.pytorch.utilities import rank_zero_only
else:
    try:
        from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
        from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
        from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
        from lightning.pytorch.plugins.io import TorchCheckpointIO
        from lightning.pytorch.utilities import rank_zero_only
    except ModuleNotFoundError as error:
        _REASON = f"training needs Lightning (pip install lightning): {error}"

        class _Missing:
            def __init__(self, *_: Any, **__: Any) -> None:
                raise ModuleNotFoundError(_REASON)

        LightningDataModule = LightningModule = Trainer = seed_everything = _Missing
        Callback = ModelCheckpoint = WeightAveraging = TorchCheckpointIO = _Missing
        CSVLogger = TensorBoardLogger = rank_zero_only = _Missing

__all__ = [
    "CSVLogger",
    "Callback",
    "LightningDataModule",
    "LightningModule",
    "ModelCheckpoint",
    "TensorBoardLogger",
    "TorchCheckpointIO",
    "Trainer",
    "WeightAveraging",
    "rank_zero_only",
    "seed_everything",
]
