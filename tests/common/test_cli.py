from pathlib import Path
from typing import Any

import pytest
from lightning import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, Dataset

from common import cli
from common.errors import UserError


class Broken(Dataset[int]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise UserError("clip.mp4: frame 7 cannot be decoded")


def test_a_mistake_found_by_a_loader_process_is_printed_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        next(iter(DataLoader(Broken(), num_workers=1)))

    fail.subcommands = dict  # type: ignore[attr-defined]
    monkeypatch.setattr(cli, "_cli_class", lambda project, request, verb: fail)
    project = cli.Project("ball", LightningModule, LightningDataModule, Path(), links=(), shown=("f1",))
    with pytest.raises(SystemExit) as stop:
        cli.run(project, ["fit"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: clip.mp4: frame 7 cannot be decoded\n"
