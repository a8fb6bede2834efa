"""The command line that every project uses: `python -m projects.<name>.train VERB`.

Settings come from, each over the one before: signatures; `configs/default.yaml` of the project; for a trained
checkpoint the `config.yaml` of its run; each `-c FILE`; flags.
"""

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger

from common.callbacks import DataStats, EpochLines, GradientNorm, LinkLatest, ScoreTable, StopOnNonFinite
from common.checkpoints import AtomicCheckpointIO, checkpoint_callbacks, find_checkpoint, run_of
from common.errors import UserError
from common.reopen import run_settings
from common.run import open_run
from common.tracking import wandb_logger
from common.trainer import Trainer, load_weights

EVALUATIONS = ("validate", "test", "predict", "export")
"""Verbs that take a trained checkpoint."""


@dataclass(frozen=True)
class Project:
    """What the command line needs to know of a project.

    Attributes:
        name: of its folder and of its runs.
        module: its LightningModule.
        data: its LightningDataModule.
        folder: holds `configs/default.yaml`.
        links: fields of the model that the data module is told, by the name they have in both.
        shown: scores that people see, the leading one first: checkpoints and baselines are ranked by it.
        trainer: with the project's own verbs.
        callbacks: made for the folder that results go to.
        advice: what to do next, printed below the scores of a fit.
    """

    name: str
    module: type[LightningModule]
    data: type[LightningDataModule]
    folder: Path
    links: Sequence[str]
    shown: Sequence[str]
    trainer: type[Trainer] = Trainer
    callbacks: Callable[[Path], list[Callback]] = field(default=lambda folder: [])
    advice: str = ""


def run(project: Project, args: Sequence[str] | None = None) -> LightningCLI:
    """Parses the command line and does what it says; a user's mistake ends it with one message and status 2.

    Args:
        project: what to run.
        args: the words after the program's name; `sys.argv` by default.
    """
    words = list(sys.argv[1:] if args is None else args)
    _quieten()
    try:
        with _with_run_config(project, words) as full:
            return _cli_class(project)(
                project.module,
                project.data,
                trainer_class=project.trainer,
                save_config_callback=_SaveConfig,
                save_config_kwargs={"overwrite": True},
                seed_everything_default=0,
                auto_configure_optimizers=False,
                parser_kwargs={
                    verb: {"default_config_files": [str(project.folder / "configs" / "default.yaml")]}
                    for verb in Cli.subcommands()
                },
                args=full,
            )
    except UserError as error:
        message = str(error).rpartition("UserError: ")[2]  # a loader's process puts its traceback before it
        print(f"error: {message.strip()}", file=sys.stderr)
        raise SystemExit(2) from None


class Cli(LightningCLI):
    """LightningCLI with run folders, two more verbs, and the score printed at the end."""

    project: Project
    output: Path

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Verbs, and which of their arguments come from elsewhere."""
        given = {
            "model",
            "datamodule",
            "dataloaders",
            "train_dataloaders",
            "val_dataloaders",
            "verbose",
            "weights_only",
        }
        return dict.fromkeys(("prepare", "fit", *EVALUATIONS), given)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The options of a run."""
        parser.add_argument(
            "--run", type=str | None, default=None, help="Name of the run; job and task, or the time, by default."
        )
        parser.add_argument("--runs", type=str, default="runs", help="Folder of the runs of all projects.")
        parser.add_argument(
            "--wandb", type=bool, default=False, help="Log to Weights & Biases too; offline without a login."
        )
        parser.add_argument(
            "--start_from",
            type=str | None,
            default=None,
            help="Checkpoint whose weights a fit starts from; to go on with a run instead, give --ckpt_path.",
        )
        for name in self.project.links:
            parser.link_arguments(f"model.{name}", f"data.{name}")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses the words that `run` completed; Lightning's would warn of them."""
        self.config = parser.parse_args(args)

    def before_instantiate_classes(self) -> None:
        """Finds the run's folder and what its trainer lacks."""
        config = self.config[self.subcommand]
        runs = Path(config.runs) / self.project.name
        if self.subcommand == "fit":
            self.output = open_run(runs, config.run)
        elif self.subcommand in EVALUATIONS:
            self.output = run_of(Path(config.ckpt_path)) / self.subcommand
        else:
            self.output = runs
        config.trainer.default_root_dir = str(self.output)
        config.trainer.use_distributed_sampler = False  # the data module shards exactly
        if config.trainer.precision is None:
            on_gpu = torch.cuda.is_available() and config.trainer.accelerator != "cpu"
            config.trainer.precision = "16-mixed" if on_gpu else "32-true"

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """The trainer with the callbacks, the logger and the checkpoint writer of every run."""
        given = self._get(self.config_init, "trainer")
        kwargs |= {
            "plugins": [*(given["plugins"] or []), AtomicCheckpointIO()],
            "callbacks": [*(given["callbacks"] or []), *self._callbacks(bool(given["fast_dev_run"]))],
            "enable_progress_bar": given["enable_progress_bar"] is not False and sys.stdout.isatty(),
            "enable_model_summary": bool(given["enable_model_summary"]),
            "logger": self._loggers()
            if given["logger"] is None and self.subcommand == "fit"
            else given["logger"] or False,
        }
        return super().instantiate_trainer(**kwargs)

    def before_fit(self) -> None:
        """Starts from another run's weights, if asked to."""
        if self._get(self.config, "start_from"):
            load_weights(self.model, self._get(self.config, "start_from"))

    def after_fit(self) -> None:
        """Scores the best checkpoint on the test split, or on the validation split where there is none."""
        trainer: Any = self.trainer
        best = self.output / "checkpoints" / "best.ckpt"
        if trainer.fast_dev_run or trainer.interrupted or not best.is_file():
            return
        tested = len(self.datamodule.datasets["test"])
        if not tested and trainer.is_global_zero:
            print("no test split: the scores below are of the validation split, by which the checkpoint was chosen")
        verb = trainer.test if tested else trainer.validate
        verb(self.model, datamodule=self.datamodule, ckpt_path=str(best), verbose=False, weights_only=True)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        if subcommand in ("validate", "test"):
            kwargs |= {"verbose": False, "weights_only": True}
        return kwargs | ({"weights_only": True} if subcommand == "fit" else {})

    def _parse_ckpt_path(self) -> None:
        """Nothing: hyperparameters inside a checkpoint never beat the command line."""

    def _callbacks(self, dry: bool) -> list[Callback]:
        leading, shown = self.project.shown[0], list(self.project.shown)
        advice = self.project.advice if self.subcommand == "fit" else ""
        table = ScoreTable(shown=shown, leading=leading, path=self.output / "summary.json", advice=advice)
        callbacks: list[Callback] = [table, *self.project.callbacks(self.output)]
        if self.subcommand == "fit":
            every = self._get(self.config, "trainer").log_every_n_steps or 50
            lines = ["train/loss_epoch", "val/loss", f"val/{leading}", "data/hit_ratio", "data/waited"]
            callbacks += [DataStats(), EpochLines(lines), GradientNorm(every), StopOnNonFinite()]
            if not dry:
                folder = self.output / "checkpoints"
                callbacks += [
                    LearningRateMonitor(),
                    LinkLatest(),
                    *checkpoint_callbacks(folder, monitor=f"val/{leading}", mode="max"),
                ]
        return callbacks + ([RichProgressBar()] if sys.stdout.isatty() else [])

    def _loggers(self) -> list[Logger]:
        loggers: list[Logger] = [CSVLogger(self.output, name="", version="")]
        if self._get(self.config, "wandb"):
            loggers.append(wandb_logger(self.project.name, self.output))
        return loggers


class _SaveConfig(SaveConfigCallback):
    """Saves the full configuration of a fit, and of nothing else, in the run's folder."""

    def setup(self, trainer: Any, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero:
            path = Path(trainer.default_root_dir) / "config.yaml"
            self.parser.save(self.config, str(path), skip_none=False, overwrite=True, multifile=False)


def _cli_class(project: Project) -> type[Cli]:
    return type("Cli", (Cli,), {"project": project})


@contextmanager
def _with_run_config(project: Project, words: list[str]) -> Iterator[list[str]]:
    """The command line with the configuration of the checkpoint's run inserted, for verbs that take a checkpoint.

    Only the model's and the data's settings are taken. Yields the words to parse.
    """
    if not words or words[0] not in EVALUATIONS or {"-h", "--help"} & set(words):
        yield words
        return
    checkpoint = _option(words, "--ckpt_path")
    if checkpoint is None:
        checkpoint = str(find_checkpoint(Path(_option(words, "--runs") or "runs") / project.name))
        print(f"checkpoint: {checkpoint}")
        words = [*words, "--ckpt_path", checkpoint]
    if not Path(checkpoint).is_file():
        raise UserError(f"--ckpt_path: no file {checkpoint}")
    settings = run_settings(run_of(Path(checkpoint)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.yaml"
        path.write_text(yaml.safe_dump(settings))
        yield [words[0], "--config", str(path), *words[1:]]


def _option(words: Sequence[str], name: str) -> str | None:
    """The value of an option as `--name value` or `--name=value`; the last one counts."""
    found = None
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word == name:
            found = following
        elif word.startswith(f"{name}="):
            found = word.removeprefix(f"{name}=")
    return found


def _quieten() -> None:
    """Drops advertisements and warnings that no user of this program can act on."""
    os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning:torch")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(
            lambda record: "Tip" not in record.getMessage() and "litlogger" not in record.getMessage()
        )
    for message in (
        ".*LeafSpec.*",
        ".*sync_dist=True.*",
        ".*when using .ckpt_path.*",
        ".*dirpath has changed.*",
        ".*does not have many workers.*",
        ".*srun.*",
        ".*exists and is not empty.*",
        ".*isinstance.treespec.*",
    ):
        warnings.filterwarnings("ignore", message=message)
