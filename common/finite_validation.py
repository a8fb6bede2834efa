"""Says which validation batches gave something that is not finite."""

from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils._pytree import tree_leaves

from common.faults import SeenBatch, by_rank, listed
from common.ranks import gather_from_ranks, sum_over_ranks


class FiniteValidation(Callback):
    """After each validation, names the samples of those batches for which `validation_step` returned NaN or infinity.

    It stops nothing, not even before training, as no weight depends on it; what it may do to a score is in the log.
    Everything floating in what the step returns is looked at, without waiting for the device before the end.
    """

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forgets the validation before."""
        self._seen: list[tuple[SeenBatch, Any]] = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Sums up what was returned: NaN and infinities stay in a sum."""
        floats = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
        if not floats:
            return
        total = torch.stack([leaf.detach().sum(dtype=torch.float32) for leaf in floats]).sum()
        index = {"index": batch["index"]} if isinstance(batch, dict) and "index" in batch else {}
        loaders: Any = trainer.val_dataloaders
        loader = loaders[dataloader_idx] if isinstance(loaders, list | tuple) else loaders
        self._seen.append((SeenBatch(batch_idx, index, total), getattr(loader, "dataset", None)))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Names the batches, in one line for all ranks."""
        bad = [seen.samples(dataset) for seen, dataset in self._seen if not seen.finite]
        if not sum_over_ranks([len(bad)])[0]:
            return
        reports = by_rank(gather_from_ranks(listed(bad)))
        if trainer.is_global_zero:
            print(f"non-finite output in validation after step {trainer.global_step}: {reports}", flush=True)
