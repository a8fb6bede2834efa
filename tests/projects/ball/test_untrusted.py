"""Checkpoints and run folders of somebody else, through the public command."""

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from common.trusted import only_from
from projects.ball.module import BallModule

Command = Callable[..., None]


class Bomb:
    """What a pickle that is loaded makes: a folder."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.made),)


@pytest.fixture
def run(runs: Path) -> Path:
    """A run of few steps, to be tampered with."""
    return runs / "whole"


def change(run: Path, **parts: Any) -> Path:
    """A checkpoint of the run in which some parts are others."""
    path = run / "checkpoints" / "changed.ckpt"
    torch.save(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) | parts, path)
    return path


def mistake(capsys: pytest.CaptureFixture[str], command: Command, *words: str) -> str:
    """The error of a command that must end with status 2 and one line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        command(*words)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    return line


VERBS = {
    "fit": ["fit", "--run", "new", "--trainer.accelerator", "cpu", "--ckpt_path"],
    "start": ["fit", "--run", "new", "--trainer.accelerator", "cpu", "--start_from"],
    "test": ["test", "--ckpt_path"],
    "export": ["export", "--ckpt_path"],
    "predict": ["predict", "--input", "none.mp4", "--ckpt_path"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_checkpoint_runs_nothing(
    verb: str, run: Path, tmp_path: Path, ball_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made"
    path = change(run, hyper_parameters={"net": Bomb(made)})
    assert str(path) in mistake(capsys, ball_command, *VERBS[verb], str(path))
    path.write_bytes(pickle.dumps({"state_dict": Bomb(made)}))
    assert str(path) in mistake(capsys, ball_command, *VERBS[verb], str(path))
    assert not made.exists()


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("fit", "http://127.0.0.1:1/a.ckpt"),
        ("fit", "registry:a"),
        ("start", "simplecache::memory://a.ckpt"),
        ("test", "simplecache::memory://a.ckpt"),
        ("test", "registry:a"),
        ("export", "http://127.0.0.1:1/a.ckpt"),
        ("predict", "registry:a"),
    ],
)
def test_a_checkpoint_is_not_fetched(
    verb: str, path: str, ball_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "expected a file on this machine" in mistake(capsys, ball_command, *VERBS[verb], path)


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mark that importing the module `evil` leaves."""
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\nclass Net: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "imported"


def test_what_a_checkpoint_says_of_itself_changes_nothing(
    run: Path, ball_command: Command, evil: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = {"class_path": "evil.Net"}
    path = change(
        run,
        hyper_parameters={"net": net, "threshold": 0.9, "_instantiator": "evil.Net", "_class_path": "evil.Net"},
        datamodule_hyper_parameters={"root": "/", "__class__": "evil.Net"},
        hparams_name="evil.Net",
        hparams_type="evil.Net",
        __class__="evil.Net",
    )
    capsys.readouterr()
    flags = ["--trainer.accelerator", "cpu", "--trainer.limit_test_batches", "1"]
    ball_command("test", "--ckpt_path", str(path), *flags)
    changed = capsys.readouterr().out
    ball_command("test", "--ckpt_path", str(run / "checkpoints" / "last.ckpt"), *flags)
    scores = [[line for line in text.splitlines() if "model" in line] for text in (changed, capsys.readouterr().out)]
    assert scores[0] == scores[1]
    assert not evil.exists()
    for parts in ({"_instantiator": "evil.Net"}, {"_instantiator": "lightning.pytorch.cli.instantiate_module"}):
        path = change(run, hyper_parameters={"net": net, "optimizer": net, **parts})
        with pytest.raises(Exception, match=r"evil|not allowed|instantiator"), only_from():
            BallModule.load_from_checkpoint(path, weights_only=True, map_location="cpu")
    assert not evil.exists()
    assert "evil" not in sys.modules


@pytest.mark.parametrize("verb", ["test", "export"])
def test_a_run_s_configuration_imports_nothing(
    verb: str, run: Path, ball_command: Command, evil: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, config = run / "checkpoints" / "last.ckpt", run / "config.yaml"
    settings = yaml.safe_load(config.read_text())
    for key in ("net", "optimizer"):
        named = settings | {"model": settings["model"] | {key: {"class_path": "evil.Net"}}}
        config.write_text(yaml.safe_dump(named))
        error = mistake(capsys, ball_command, verb, "--ckpt_path", str(checkpoint))
        assert f"model.{key}: evil.Net is not imported" in error
        assert "--allow evil" in error
    config.write_text(f"model: !!python/object/apply:os.mkdir [{evil}]\n")
    assert "config.yaml" in mistake(capsys, ball_command, verb, "--ckpt_path", str(checkpoint))
    assert not evil.exists()


def test_a_flag_imports_nothing(ball_command: Command, evil: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--model.optimizer", "--model.net.help", "--trainer.callbacks+", "--data.augment"):
        assert "evil.Net is not imported" in mistake(capsys, ball_command, "fit", f"{flag}=evil.Net")
    assert not evil.exists()
    with pytest.raises(SystemExit):  # imported, but no network
        ball_command("fit", "--allow", "evil", "--model.net", "evil.Net")
    assert evil.exists()
