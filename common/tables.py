"""Tables with pictures in their cells, for loggers that take them, such as W&B's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger


def log_table(loggers: Sequence[Logger], key: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Logs a table to each logger that has a `log_table`; the others are passed over.

    Args:
        loggers: of the trainer.
        key: name of the table.
        rows: values by the name of their column, the same names in each: text, numbers, or pictures as RGB uint8 arrays
            (height, width, 3).
    """
    for logger in loggers:
        if rows and hasattr(logger, "log_table"):
            logger.log_table(
                key, columns=list(rows[0]), data=[[_cell(value) for value in row.values()] for row in rows]
            )


def _cell(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    import wandb  # noqa: PLC0415 - a second of import time that only its users pay

    return wandb.Image(value)
