"""A training that was stopped anywhere and taken up again is the one that was never stopped, bit by bit."""

import random
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, GradientAccumulationScheduler, StochasticWeightAveraging
from torch import Tensor

from common.checkpoints import LAST, best, load, newest, step_path
from common.errors import UserError
from common.keeper import Saving
from common.signals import UNFINISHED, Stopped, request
from tests.common.resumable import StopAt, train, train_with_stops


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Where two checkpoints differ."""
    if isinstance(one, Tensor):
        if not torch.equal(one, other):
            yield path
    elif isinstance(one, dict):
        for key in one.keys() | other.keys():
            yield from differences(one.get(key), other.get(key), f"{path}/{key}")
    elif isinstance(one, list | tuple):
        if len(one) != len(other):
            yield path
        for number, (a, b) in enumerate(zip(one, other, strict=False)):
            yield from differences(a, b, f"{path}/{number}")
    elif one != other and not path.endswith("/seconds"):
        yield f"{path}: {one} {other}"


def final(run: Path) -> tuple[dict[str, Any], bytes, list[str]]:
    path = newest(run / "checkpoints")
    assert path is not None
    checkpoint = load(path)
    del checkpoint["loops"]  # counters of validation batches tell of the stops
    return checkpoint, (run / "metrics.csv").read_bytes(), [one.path.name for one in best(run / "checkpoints")]


CASES: dict[str, dict[str, Any]] = {  # epochs of 5 batches, validations of 1
    "schedule by step, two best": {"schedule": "cosine", "saving": Saving(best=2)},
    "schedule by epoch, threads": {"schedule": "epochs", "data": {"num_workers": 2}},
    "plateau, not all epochs validated": {"schedule": "plateau", "max_epochs": 4, "check_val_every_n_epoch": 2},
    "validation within epochs": {"val_check_interval": 2, "schedule": "plateau", "max_epochs": 2},
    "accumulated": {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5},
    "accumulated by schedule": {"callbacks": [GradientAccumulationScheduler({0: 1, 1: 3})]},
    "short epochs": {"limit_train_batches": 3},
    "stopped early": {"patience": 0, "max_epochs": 20, "data": {"train": 6, "val": 3}},
    "one batch an epoch": {"data": {"train": 3, "val": 2}, "max_epochs": 5},
    "steps end within an epoch": {"max_steps": 8, "max_epochs": 9},
    "steps end with an epoch": {"max_steps": 10, "max_epochs": -1},
    "steps end with a validation": {"max_steps": 9, "max_epochs": -1, "val_check_interval": 2},
    "averaged weights": {"callbacks": [EMAWeightAveraging(decay=0.9)], "data": {"train": 10, "val": 9}},
}


@pytest.mark.parametrize("case", CASES)
def test_stopped_anywhere_and_taken_up_is_the_same_training(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "whole", **deepcopy(CASES[case]))
    expected = final(tmp_path / "whole")
    draw = random.Random(case)
    stops = [draw.randrange(1, 5) for _ in range(9)]
    assert train_with_stops(tmp_path / "stopped", stops, monkeypatch, **deepcopy(CASES[case])) > 3
    got = final(tmp_path / "stopped")
    assert list(differences(expected[0], got[0])) == [], stops
    assert got[1:] == expected[1:], stops


def test_every_place_to_stop_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"max_epochs": 2, "data": {"train": 10, "val": 4}}
    train(tmp_path / "whole", **options)
    expected, ask = final(tmp_path / "whole"), 1
    while train_with_stops(tmp_path / str(ask), [ask], monkeypatch, **options):
        got = final(tmp_path / str(ask))
        assert list(differences(expected[0], got[0])) == [], ask
        assert got[1:] == expected[1:], ask
        ask += 1
    assert ask > 10  # batches of training, of validation, ends of epochs


def test_killed_between_saves_repeats_what_was_not_saved(tmp_path: Path) -> None:
    """As kill -9 would: what happened after the checkpoint is lost, its rows too, and comes again."""
    saving = Saving(every_steps=3)
    train(tmp_path / "whole", saving=saving)

    class KilledError(RuntimeError):
        pass

    from lightning.pytorch.callbacks import Callback

    class KillAt(Callback):
        def __init__(self, step: int) -> None:
            self.step = step

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == self.step:
                raise KilledError

    for step in (2, 5, 8, 14):
        with pytest.raises(KilledError):
            train(tmp_path / "killed", saving=saving, callbacks=[KillAt(step)])
        found = newest(tmp_path / "killed" / "checkpoints")
        saved = 0 if found is None else int(found.stem.split("-")[1])
        assert step - saved <= 3
    train(tmp_path / "killed", saving=saving)
    whole, killed = final(tmp_path / "whole"), final(tmp_path / "killed")
    assert list(differences(whole[0], killed[0])) == []
    assert whole[1:] == killed[1:]


def test_a_stop_is_status_85_and_leaves_a_checkpoint_of_that_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StopAt(4).install(monkeypatch)
    with pytest.raises(Stopped) as stopped:
        train(tmp_path / "run", num_sanity_val_steps=0)
    assert stopped.value.code == UNFINISHED == 85
    folder = tmp_path / "run" / "checkpoints"
    assert (folder / LAST).resolve() == step_path(folder, 4).resolve()
    assert load(folder / LAST)["global_step"] == 4
    assert (tmp_path / "latest").resolve() == (tmp_path / "run").resolve()


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "whole", saving=Saving(every_steps=2))
    StopAt(11).install(monkeypatch)
    with pytest.raises(Stopped):
        train(tmp_path / "run", saving=Saving(every_steps=2))
    monkeypatch.undo()
    folder = tmp_path / "run" / "checkpoints"
    path = (folder / LAST).resolve()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)
    train(tmp_path / "run", saving=Saving(every_steps=2))
    said = capsys.readouterr().out
    assert f"{path.name}: damaged checkpoint (wrong checksum of" in said
    assert list(differences(final(tmp_path / "whole")[0], final(tmp_path / "run")[0])) == []


def test_other_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    StopAt(9).install(monkeypatch)
    with pytest.raises(Stopped):
        train(tmp_path)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"trained on \{'train': 16.*now there are \{'train': 19"):
        train(tmp_path, data={"train": 19})


def test_what_cannot_be_loaded_again_as_data_is_refused_before_training(tmp_path: Path) -> None:
    from lightning.pytorch.callbacks import Callback

    class Careless(Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"where": tmp_path}  # a Path is an object, which only a trusting load makes

    with pytest.raises(UserError, match="its entry 'callbacks' could not be loaded again as data"):
        train(tmp_path, callbacks=[Careless()])
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_request_takes_effect_at_once_when_no_loop_runs() -> None:
    request.reset()
    with pytest.raises(Stopped):
        request.handle(15, None)


@pytest.mark.parametrize("saving", [{"best": 0}, {"every_steps": 0}, {"every_minutes": -1.0}])
def test_impossible_saving_is_refused(saving: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="save: found"):
        Saving(**saving)


def test_a_validation_inside_an_accumulated_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"val_check_interval: a validation every 3 batches .* step of 2 batches"):
        train(tmp_path, accumulate_grad_batches=2, val_check_interval=3)


def test_callbacks_that_cannot_go_on_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="StochasticWeightAveraging keeps a state that no checkpoint holds"):
        train(tmp_path, callbacks=[StochasticWeightAveraging(0.01)])
