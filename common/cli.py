"""The command line that every project uses: `python -m projects.<name>.train VERB`.

Settings come from, each over the one before: signatures; `configs/default.yaml` of the project; for a trained
checkpoint the `config.yaml` of its run; each `-c FILE`; flags.
"""

import errno
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning import LightningDataModule, LightningModule
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, RichProgressBar, Timer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import Logger

from common.callbacks import DataStats, EpochLines, GradientNorm, ScoreTable
from common.checkpoints import RunCheckpointIO, best, damage, newest, run_of
from common.errors import UserError
from common.finite_validation import FiniteValidation
from common.guard import NonFiniteGuard
from common.keeper import MINE, RunKeeper, Saving
from common.rows import RowLogger
from common.run import SUMMARY, is_lead, open_dry_run, open_run
from common.settings import flat, refuse_changes
from common.signals import UNFINISHED, Stopped, StopRequest, ignore_signals, stopping_on_signals
from common.tracking import wandb_logger
from common.trainer import Trainer, load_weights
from common.trusted import allowed_by_user, local_file, only_from
from common.watch.callback import Watch, watched
from common.words import EVALUATIONS, completed, option

REMEDIES = {
    errno.ENOSPC: "free some, then start again",
    errno.EDQUOT: "free some, then start again",
    errno.EROFS: "choose a folder that you may write to",
    errno.EACCES: "choose a folder that you may write to, or files that you may read",
    errno.EPERM: "choose a folder that you may write to",
    errno.EEXIST: "a file is where a folder is needed; choose another name",
    errno.ENOTDIR: "a file is where a folder is needed; choose another name",
    errno.EISDIR: "a folder is where a file is needed; choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""What helps against errors of the file system that a user can mend."""


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
        verbs: of its trainer, besides those of every project.
        evaluations: those of its trainer that take a trained checkpoint, likewise.
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
    verbs: Sequence[str] = ()
    evaluations: Sequence[str] = ()

    @property
    def all_evaluations(self) -> tuple[str, ...]:
        """Verbs that take a trained checkpoint."""
        return (*EVALUATIONS, *self.evaluations)


def run(project: Project, args: Sequence[str] | None = None) -> LightningCLI:
    """Parses the command line and does what it says.

    Exit status: 0 done; 2 a user's mistake, with one message; 85 stopped before the end, to be started again.

    Args:
        project: what to run.
        args: the words after the program's name; `sys.argv` by default.
    """
    words, allowed = allowed_by_user(sys.argv[1:] if args is None else args)
    _quieten()
    try:
        with (
            watched(),
            stopping_on_signals() as request,
            only_from(allowed),
            completed(words, project.name, project.all_evaluations) as full,
        ):
            cli = _cli_class(project, request, full[0] if full else "")
            return cli(
                project.module,
                project.data,
                trainer_class=project.trainer,
                save_config_callback=_SaveConfig,
                save_config_kwargs={"overwrite": True},
                seed_everything_default=0,
                auto_configure_optimizers=False,
                parser_kwargs={
                    verb: {"default_config_files": [str(project.folder / "configs" / "default.yaml")]}
                    for verb in cli.subcommands()
                },
                args=full,
            )
    except Stopped as stopped:
        if is_lead():
            again = "the same command goes on from here" if words[:1] == ["fit"] else "start it again"
            print(f"stopped by {stopped.reason}: {again} (exit status {UNFINISHED})", file=sys.stderr, flush=True)
        if args is None:
            ignore_signals()  # a late one would change the status
        raise
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        place = error.filename or option(words, "--runs") or "runs"
        said = os.strerror(error.errno).lower()
        print(f"error: {place}: {said}; {REMEDIES[error.errno]}", file=sys.stderr)
        raise SystemExit(2) from None
    except UserError as error:
        message = str(error).rpartition("UserError: ")[2]  # a loader's process puts its traceback before it
        print(f"error: {message.strip()}", file=sys.stderr)
        raise SystemExit(2) from None


class Cli(LightningCLI):
    """LightningCLI with run folders, two more verbs, and the score printed at the end."""

    project: Project
    request: StopRequest
    verb: str
    output: Path
    dry: bool
    resume: str | None
    settings: dict[str, Any]

    @classmethod
    def subcommands(cls) -> dict[str, set[str]]:
        """The verb, or else all, and which arguments come from elsewhere: each parser takes a tenth of a second."""
        given = {
            "model",
            "datamodule",
            "dataloaders",
            "train_dataloaders",
            "val_dataloaders",
            "verbose",
            "weights_only",
        }
        verbs = ("prepare", "check", *cls.project.verbs, "fit", *cls.project.all_evaluations)
        return dict.fromkeys([cls.verb] if cls.verb in verbs else verbs, given)

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser whose errors become `UserError`s; see `only_from`."""
        return super().init_parser(**kwargs | {"exit_on_error": False})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The options of a run."""
        parser.add_argument(
            "--run",
            type=str | None,
            default=None,
            help="Name of the run; if it is there, it goes on. Default: the "
            "cluster job's, or that of an unfinished run with the same settings, or the time.",
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
        parser.add_argument("--sweep", type=str | None, default=None, help="W&B-style sweep file, read offline.")
        parser.add_argument("--point", type=int | None, default=None, help="Number of a point of the sweep, from 0.")
        parser.add_class_arguments(Saving, "save")
        parser.add_class_arguments(NonFiniteGuard, "guard", skip={"delayed"})
        parser.add_class_arguments(Watch, "watch")
        for name in self.project.links:
            parser.link_arguments(f"model.{name}", f"data.{name}")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses the words that `run` completed; Lightning's would warn of them."""
        self.config = parser.parse_args(args)

    def before_instantiate_classes(self) -> None:
        """Finds the run's folder, what it goes on from, and what its trainer lacks."""
        config, trainer = self.config[self.subcommand], self.config[self.subcommand].trainer
        runs = Path(config.runs) / self.project.name
        self.dry, self.resume = bool(trainer.fast_dev_run), None
        trainer.use_distributed_sampler = False  # the data module shards exactly
        if trainer.precision is None:
            on_gpu = torch.cuda.is_available() and trainer.accelerator != "cpu"
            trainer.precision = "16-mixed" if on_gpu else "32-true"
        if self.subcommand == "fit":
            self._limit_time(trainer)
            self.settings = flat(yaml.safe_load(self._parser(self.subcommand).dump(config, skip_none=False)))
            self.output = open_dry_run(runs) if self.dry else self._open(runs, config)
            self.resume = None if self.dry else self._resume(config.ckpt_path)
        elif self.subcommand in self.project.all_evaluations:
            self.output = run_of(Path(config.ckpt_path)) / self.subcommand
        else:
            self.output = runs
        trainer.default_root_dir = str(self.output)

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """The trainer with the callbacks, the logger and the checkpoint writer of every run."""
        given = self._get(self.config_init, "trainer")
        plugins = given["plugins"] or []
        kwargs |= {
            "plugins": [
                *(plugins if isinstance(plugins, list) else [plugins]),
                RunCheckpointIO(self._check_settings),
                *_environment(),
            ],
            "callbacks": [*(given["callbacks"] or []), *self._callbacks()],
            "enable_checkpointing": self.subcommand == "fit" and not self.dry,
            "enable_progress_bar": given["enable_progress_bar"] is not False and sys.stdout.isatty(),
            "enable_model_summary": bool(given["enable_model_summary"]),
            "logger": self._loggers()
            if given["logger"] is None and self.subcommand == "fit"
            else given["logger"] or False,
        }
        trainer = super().instantiate_trainer(**kwargs)
        self._get(self.config_init, "watch").attach(trainer)
        return trainer

    def before_fit(self) -> None:
        """Starts from another run's weights, if asked to and not on its way already."""
        start = self._get(self.config, "start_from")
        if start and self.resume is None:
            load_weights(self.model, str(local_file(start, "--start_from")))

    def after_fit(self) -> None:
        """Scores the best checkpoint on the test split, or on the validation split where there is none."""
        trainer: Any = self.trainer
        if self.dry:
            return
        folder = self.output / "checkpoints"
        whole = [one.path for one in best(folder) if damage(one.path) is None]
        chosen = whole[0] if whole else newest(folder)
        if chosen is None:
            return
        tested = len(self.datamodule.datasets["test"])
        if not tested and trainer.is_global_zero:
            print("no test split: the scores below are of the validation split, by which the checkpoint was chosen")
        verb = trainer.test if tested else trainer.validate
        verb(self.model, datamodule=self.datamodule, ckpt_path=str(chosen), verbose=False, weights_only=True)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        if subcommand in ("validate", "test"):
            kwargs |= {"verbose": False, "weights_only": True}
        return kwargs | ({"weights_only": True, "ckpt_path": self.resume} if subcommand == "fit" else {})

    def _parse_ckpt_path(self) -> None:
        """Nothing: hyperparameters inside a checkpoint never beat the command line."""

    def _limit_time(self, trainer: Any) -> None:
        """`max_time` is this process's: Lightning's would count the time before a restart too, and end at once."""
        if trainer.max_time is not None:
            try:
                self.request.set_time_limit(float(Timer(trainer.max_time).time_remaining() or 0))
            except MisconfigurationException:
                raise UserError(
                    f"trainer.max_time: found {trainer.max_time!r}; expected DD:HH:MM:SS, such as 00:07:50:00"
                ) from None
            trainer.max_time = None

    def _open(self, runs: Path, config: Any) -> Path:
        return open_run(runs, config.run, self.settings, start=(config.start_from, config.ckpt_path))

    def _resume(self, given: str | None) -> str | None:
        """The checkpoint to go on from: the run's newest, else the one given."""
        found = newest(self.output / "checkpoints")
        if given and found is not None and is_lead():
            print(f"--ckpt_path {given}: not used, as the run has checkpoints of its own")
        if found is None and given:
            found = local_file(given, "--ckpt_path")
        if found is not None and is_lead():
            print(f"going on from {found}", flush=True)
            if (self.output / SUMMARY).is_file():
                print(
                    "finished before: it is scored again; --trainer.max_epochs with more epochs trains on", flush=True
                )
        return None if found is None else str(found)

    def _check_settings(self, path: Path, checkpoint: Mapping[str, Any]) -> None:
        """Refuses to train on from a checkpoint of other settings; says what changed and may."""
        if self.trainer.state.fn != "fit":
            return
        if MINE not in checkpoint:
            raise UserError(
                f"{path}: no checkpoint to go on from, as it has no settings; --start_from takes its weights"
            )
        lines = refuse_changes(checkpoint[MINE]["settings"], self.settings, where=str(path))
        if lines and self.trainer.is_global_zero:
            print("\n".join(lines), flush=True)

    def _callbacks(self) -> list[Callback]:
        leading, shown = self.project.shown[0], list(self.project.shown)
        advice = self.project.advice if self.subcommand == "fit" else ""
        table = ScoreTable(shown=shown, leading=leading, path=self.output / SUMMARY, advice=advice)
        callbacks: list[Callback] = [table, *self.project.callbacks(self.output)]
        if self.subcommand == "fit":
            every = self._get(self.config, "trainer").log_every_n_steps or 50
            lines = ["train/loss_epoch", "val/loss", f"val/{leading}", "data/hit_ratio", "data/waited"]
            callbacks += [DataStats(), EpochLines(lines), GradientNorm(every)]  # the norm, then the guard
            callbacks += [self._get(self.config_init, "guard"), FiniteValidation()]
            callbacks += [] if self.dry else [LearningRateMonitor(), self._keeper()]
        return callbacks + ([RichProgressBar()] if sys.stdout.isatty() else [])

    def _keeper(self) -> RunKeeper:
        return RunKeeper(
            self.output / "checkpoints",
            self._get(self.config_init, "save"),
            latest=Path(self._get(self.config, "runs")) / self.project.name / "latest",
            monitor=f"val/{self.project.shown[0]}",
            settings=self.settings,
            seed=int(self._get(self.config, "seed_everything") or 0),
        )

    def _loggers(self) -> list[Logger]:
        loggers: list[Logger] = [RowLogger(self.output)]
        if self._get(self.config, "wandb"):
            loggers.append(wandb_logger(self.project.name, self.output))
        return loggers


class _SaveConfig(SaveConfigCallback):
    """Saves the full configuration of a fit, and of nothing else, in the run's folder."""

    def setup(self, trainer: Any, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero:
            path = Path(trainer.default_root_dir) / "config.yaml"
            self.parser.save(self.config, str(path), skip_none=False, overwrite=True, multifile=False)


def _cli_class(project: Project, request: StopRequest, verb: str) -> type[Cli]:
    return type("Cli", (Cli,), {"project": project, "request": request, "verb": verb})


def _environment() -> list[Any]:
    """How processes of a cluster job find each other; a job's own shell, without srun, is a workstation."""
    if "SLURM_JOB_ID" not in os.environ:
        return []
    return [SLURMEnvironment(auto_requeue=False) if "SLURM_STEP_ID" in os.environ else LightningEnvironment()]


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
