import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.errors import UserError
from common.reopen import find_run, run_data, run_settings, run_summary


@dataclass(frozen=True)
class Augment:
    flip: float = 0.5


class Data:
    def __init__(self, *, offsets: tuple[int, ...], root: str | None = None, augment: Augment = Augment()):
        self.offsets, self.root, self.augment = offsets, root, augment


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.ckpt").touch()
    (tmp_path / "config.yaml").write_text(
        "trainer: {max_epochs: 3}\nmodel: {offsets: [-1, 0, 1]}\ndata: {root: null, augment: {flip: 0.25}}\n"
    )
    return tmp_path


def test_a_link_is_followed_once(run: Path) -> None:
    link = run / "latest"
    link.symlink_to(run)
    assert find_run(link, project="ball") == run.resolve()


def test_no_run_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no trained run at .*absent.*python -m projects\.pose\.train fit"):
        find_run(tmp_path / "absent", project="pose")


def test_data_is_made_from_the_config_and_told_the_window(run: Path) -> None:
    data = run_data(run, Data, offsets=(-2, 0))
    assert (data.offsets, data.root, data.augment) == ((-2, 0), None, Augment(flip=0.25))


def test_settings_are_those_of_model_and_data(run: Path) -> None:
    assert run_settings(run).keys() == {"model", "data"}


def test_a_config_of_another_version_is_named(run: Path) -> None:
    (run / "config.yaml").write_text("data: {folder: x}\n")
    with pytest.raises(UserError, match=r"(?s)config\.yaml: .*folder"):
        run_data(run, Data, offsets=(0,))


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.yaml: no such file.*keep checkpoints in the folder of their run"):
        run_settings(tmp_path)


def test_the_summary_of_the_fit_comes_before_that_of_later_tests(run: Path) -> None:
    with pytest.raises(UserError, match=r"summary\.json: no such file.*best\.ckpt"):
        run_summary(run)
    for folder in ("validate", "test", ""):
        (run / folder).mkdir(exist_ok=True)
        (run / folder / "summary.json").write_text(json.dumps({"from": folder}))
        assert run_summary(run) == {"from": folder}
