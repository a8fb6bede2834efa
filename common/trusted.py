"""What a configuration may name and where a checkpoint may come from: a file of somebody else runs no code here.

jsonargparse imports every dotted path that a configuration or a flag gives for a class or a callable, and importing
runs code. Its own policy decides before the import, and again by the place where the object is defined:
`torch.os.system` is `posix.system`. It is set here to refuse what is not listed.
"""

import os
import re
from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jsonargparse import set_parsing_settings
from lightning.pytorch import cli as _cli  # noqa: F401 - its import lets configurations come from the net: undone below

from common.errors import UserError

ALLOW = "--allow"
ENVIRONMENT = "DENSE_ALLOW"

ALLOWED = (
    "common", "projects",
    "torch.nn", "torch.optim", "torch.utils.data", "torch.distributed.algorithms", "torch.distributed.fsdp",
    "torch.distributed.optim", "torchvision.ops", "torchvision.transforms", "torchmetrics",
    "lightning.pytorch.accelerators", "lightning.pytorch.callbacks", "lightning.pytorch.loggers",
    "lightning.pytorch.plugins", "lightning.pytorch.profilers", "lightning.pytorch.strategies",
    "lightning.pytorch.cli.ReduceLROnPlateau", "lightning.fabric.accelerators", "lightning.fabric.plugins",
    "lightning.fabric.strategies", "timm.layers", "timm.loss", "timm.optim", "timm.scheduler",
    "segmentation_models_pytorch", "kornia.augmentation", "kornia.color", "kornia.enhance", "kornia.filters",
    "kornia.geometry", "kornia.losses", "kornia.metrics", "kornia.morphology",
)  # fmt: skip
"""Packages, modules and classes that a configuration may name, with what they hold."""

_BEHIND = ("torch._C._nn", "torch._VariableFunctionsClass")
"""Where functions of `torch.nn.functional` are defined."""

REFUSED = (
    "torch._classes", "torch._dynamo", "torch._inductor", "torch._ops", "torch.classes", "torch.export", "torch.fx",
    "torch.hub", "torch.jit", "torch.multiprocessing", "torch.nn.attention", "torch.nn.utils._deprecation_utils",
    "torch.ops", "torch.package", "torch.serialization", "torch.testing", "torch.utils.cpp_extension",
    "torch.utils.data.datapipes", "torch.utils.model_zoo", "torchmetrics.audio", "torchmetrics.functional.audio",
    "torchmetrics.functional.multimodal", "torchmetrics.functional.text", "torchmetrics.multimodal",
    "torchmetrics.text", "lightning.fabric.accelerators.registry", "lightning.fabric.plugins.precision.utils",
    "lightning.fabric.strategies.launchers", "lightning.pytorch.strategies.launchers", "timm.models",
    "timm.optim._optim_factory", "segmentation_models_pytorch.base.hub_mixin",
    "segmentation_models_pytorch.datasets", "segmentation_models_pytorch.encoders", "kornia.filters.dissolving",
)  # fmt: skip
"""Parts of known packages that run, import or fetch what a string says: refused even where the package is allowed."""

_DENIED = re.compile(r"Importing '([^']+)' is not allowed, denied by the '([^']+)' entry")
_KEY = re.compile(r"Parser key \"([^\"]+)\"|^(--\S+):", re.MULTILINE)
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:|\\\\|.*(://|::)", re.DOTALL)


@contextmanager
def only_from(packages: Sequence[str] = ()) -> Iterator[None]:
    """Inside, parsing imports only what is in `ALLOWED` or `packages`, and reads configurations only from local files.

    Whatever jsonargparse refuses becomes a `UserError`, if its parsers are made with `exit_on_error=False`. After it,
    parsers of this process stay as strict, without `packages`.

    Args:
        packages: dotted names of packages, modules or classes that the user trusts; a name in full opens even what is
            in `REFUSED`.

    Raises:
        UserError: a configuration or flag is wrong or names something else; or a name in `packages` is no dotted name.
    """
    _restrict(())
    try:
        _restrict(packages)
        yield
    except ArgumentError as error:
        raise _explained(str(error)) from error
    finally:
        set_parsing_settings(import_path_denylist=[name for name in packages if _is_name(name)])
        _restrict(())


def allowed_by_user(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Takes `--allow NAME` and `--allow=NAME` out of a command line; no configuration file can say it.

    Args:
        words: the command line after the program's name.

    Returns:
        The words that are left, and the names allowed there or, with commas, in the environment's DENSE_ALLOW.

    """
    left: list[str] = []
    names = os.environ.get(ENVIRONMENT, "").split(",")
    rest = iter(words)
    for word in rest:
        if word == ALLOW:
            names.append(next(rest, "--"))  # which is no name, and refused as such
        elif word.startswith(f"{ALLOW}="):
            names.append(word.removeprefix(f"{ALLOW}="))
        else:
            left.append(word)
    return left, [name.strip() for name in names if name.strip()]


def local_file(path: str, option: str) -> Path:
    """The absolute path of an existing file of this machine; Lightning fetches anything that looks like an address.

    Args:
        path: as the user gave it.
        option: where, such as "--ckpt_path".

    Raises:
        UserError: an address, a folder, or no file.
    """
    if any(_REMOTE.match(form) for form in (path, str(Path(path).absolute()))) or "\0" in path:
        raise UserError(
            f"{option}: found {path!r}, expected a file on this machine: addresses are not fetched; copy the file here "
            "first (a local file of such a name is written ./NAME)"
        )
    if Path(path).is_dir():
        raise UserError(f"{option}: {path} is a folder; give the file in it, such as {Path(path) / 'best.ckpt'}")
    if not Path(path).is_file():
        raise UserError(f"{option}: no file {path}; check the path")
    return Path(path).absolute()


def _restrict(packages: Sequence[str]) -> None:
    bad = next((name for name in packages if not _is_name(name)), None)
    if bad is not None:
        raise UserError(
            f"{ALLOW}: found {bad!r}, expected the dotted name of a package, module or class, such as my_package"
        )
    set_parsing_settings(
        config_read_mode_fsspec_enabled=False,
        config_read_mode_urls_enabled=False,
        validate_subclass_spec_in_any=True,
        instantiate_subclass_spec_in_any=False,
        import_path_denylist=["*", *REFUSED],
        import_path_allowlist=[*ALLOWED, *_BEHIND, *packages],
    )


def _is_name(name: str) -> bool:
    """jsonargparse accepts no path of its own, with which a value could change these settings."""
    return all(part.isidentifier() for part in name.split(".")) and name.partition(".")[0] != "jsonargparse"


def _explained(message: str) -> UserError:
    """What the user can do about an error of a parser."""
    denied = _DENIED.search(message)
    if denied is None:
        return UserError(message)
    path, entry = denied.groups()
    key = _KEY.search(message)
    where = (key[1] or key[2]) + ": " if key else ""
    opened = path.partition(".")[0] if entry == "*" and not _is_known(path) else path
    return UserError(
        f"{where}{path} is not imported: importing runs code, and settings may name only what is in "
        f"{', '.join(ALLOWED)}. If you trust it, add {ALLOW} {opened} to the command, or set {ENVIRONMENT}={opened}"
    )


def _is_known(path: str) -> bool:
    return path.partition(".")[0] in {name.partition(".")[0] for name in ALLOWED}
