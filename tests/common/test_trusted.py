import importlib
import sys
from argparse import ArgumentError
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from lightning import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LRSchedulerCallable, OptimizerCallable
from torch import nn

from common.errors import UserError
from common.trusted import ALLOWED, REFUSED, allowed_by_user, local_file, only_from

PROJECTS = Path(__file__).resolve().parents[2] / "projects"


class Model(LightningModule):
    def __init__(
        self,
        *,
        net: Callable[[int], nn.Module],
        optimizer: OptimizerCallable = torch.optim.SGD,
        scheduler: LRSchedulerCallable | None = None,
        layers: list[nn.Module] | None = None,
        kind: type | None = None,
        anything: Any = None,
        options: dict[str, Any] | None = None,
        by_name: dict[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The mark that importing the module `evil` leaves; `evil` is on the path and in the working directory."""
    mark = tmp_path / "imported"
    code = f"import os\nopen({str(mark)!r}, 'w').close()\n"
    code += "from torch.nn import Linear as Net\ndef make(path): return open(path)\n"
    for file in (tmp_path / "evil.py", tmp_path / "evil_package" / "inner.py"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(code)
    (tmp_path / "sub.yaml").write_text("class_path: evil.Net\n")
    (tmp_path / "apply.yaml").write_text("model: {anything: !!python/object/apply:os.mkdir [made]}\n")
    (tmp_path / "new.yaml").write_text("model:\n  net: !!python/object/new:evil.Net {}\n")
    (tmp_path / "name.yaml").write_text("model: {net: !!python/name:evil.Net ''}\n")
    (tmp_path / "module.yaml").write_text("model: {anything: !!python/module:evil ''}\n")
    (tmp_path / "net.yaml").write_text("model:\n  net: {class_path: evil.Net, init_args: {in_features: 1}}\n")
    (tmp_path / "allow.yaml").write_text("allow: [evil]\nmodel: {net: evil.Net}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    yield mark
    for name in ("evil", "evil_package", "evil_package.inner"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def parser() -> LightningArgumentParser:
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_argument("-c", "--config", action="config")
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.add_lightning_class_args(Model, "model")
    return parser


ATTACKS = {
    "callable": ["--model.optimizer", "os.mkdir"],
    "callable with equals": ["--model.net=subprocess.run"],
    "a module's class": ["--model.net", "evil.Net"],
    "a module's function": ["--model.net", "evil.make"],
    "a package's module": ["--model.net", "evil_package.inner.Net"],
    "class_path by flag": ["--model.net.class_path", "evil.Net"],
    "class path in flow style": ["--model.net", "{class_path: evil.Net, init_args: {in_features: 1}}"],
    "help of a callable": ["--model.net.help", "evil.Net"],
    "help of a list": ["--trainer.callbacks.help=evil.Net"],
    "appended callback": ["--trainer.callbacks+=evil.Net"],
    "appended callback by dict": ["--trainer.callbacks+={class_path: evil.Net}"],
    "list": ["--model.layers", "[{class_path: evil.Net}]"],
    "dict of classes": ["--model.by_name", "{first: {class_path: evil.Net}}"],
    "type": ["--model.kind", "evil.Net"],
    "type of os": ["--model.kind", "os.PathLike"],
    "in Any": ["--model.anything", "{class_path: os.mkdir, init_args: {path: made}}"],
    "in a dict of Any": ["--model.options", "{deep: {class_path: evil.Net}}"],
    "nested init_args": [
        "--trainer.callbacks", "{class_path: lightning.pytorch.callbacks.LambdaCallback, init_args: {setup: evil.make}}"
    ],
    "keyword arguments": [
        "--model.net", "{class_path: torch.nn.TransformerEncoder, init_args: {encoder_layer: evil.Net, num_layers: 1}}"
    ],
    "logger": ["--trainer.logger", "evil.Net"],
    "plugins": ["--trainer.plugins", "[{class_path: evil.Net}]"],
    "re-exported module": ["--model.optimizer", "torch.nn.functional.importlib.import_module"],
    "re-exported function": ["--model.optimizer", "common.run.subprocess.run"],
    "re-exported by Lightning": ["--model.optimizer", "lightning.pytorch.cli.os.mkdir"],
    "method of a re-exported class": ["--model.optimizer", "common.run.Path.mkdir"],
    "re-exported object": ["--model.kind", "common.cli.os.environ"],
    "hub": ["--model.net", "torch.hub.load"],
    "load": ["--model.net", "torch.load"],
    "library": ["--model.net", "torch.ops.load_library"],
    "builtin": ["--model.net", "builtins.eval"],
    "jsonargparse": ["--model.net", "jsonargparse.set_parsing_settings"],
    "Lightning's own importer": ["--model.net", "lightning.pytorch.cli.instantiate_class"],
    "file": ["-c", "net.yaml"],
    "file that allows itself": ["-c", "allow.yaml"],
    "file in place of a value": ["--model.net", "sub.yaml"],
    "file in a list": ["--trainer.callbacks", "[sub.yaml]"],
    "tag that applies": ["-c", "apply.yaml"],
    "tag that makes": ["-c", "new.yaml"],
    "tag that names": ["-c", "name.yaml"],
    "tag that imports": ["-c", "module.yaml"],
    "tag in a flag": ["--model.anything", "!!python/object/apply:os.mkdir [made]"],
    "file from memory": ["-c", "memory://net.yaml"],
    "file from the net": ["-c", "simplecache::http://127.0.0.1:1/net.yaml"],
    "colon": ["--model.net", "evil:Net"],
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_is_imported_or_called(attack: str, parser: LightningArgumentParser, evil: Path) -> None:
    words = ATTACKS[attack]
    if not {"model.net", "-c"} & {word.lstrip("-").partition("=")[0] for word in words}:
        words = ["--model.net", "{class_path: torch.nn.Linear, init_args: {out_features: 1}}", *words]
    made = Path("made")
    if attack == "tag in a flag":  # a tag that YAML does not know leaves a plain string
        with only_from():
            assert parser.parse_args(words).model.anything == words[-1]
    else:
        with pytest.raises(UserError), only_from():
            parser.instantiate_classes(parser.parse_args(words))
    assert not evil.exists()
    assert not made.exists()
    assert "evil" not in sys.modules


def test_the_refusal_says_what_where_and_how_to_go_on(parser: LightningArgumentParser, evil: Path) -> None:
    with pytest.raises(UserError) as error, only_from():
        parser.parse_args(["--model.net", "evil.Net"])
    assert str(error.value) == (
        "model.net: evil.Net is not imported: importing runs code, and settings may name only what is in "
        f"{', '.join(ALLOWED)}. If you trust it, add --allow evil to the command, or set DENSE_ALLOW=evil"
    )
    with (
        pytest.raises(UserError, match=r"^model\.net: torch\.hub\.load is not .* add --allow torch\.hub\.load "),
        only_from(),
    ):
        parser.parse_args(["--model.net", "torch.hub.load"])
    with pytest.raises(UserError, match=r"^--model\.net\.help: evil\.Net is not imported"), only_from():
        parser.parse_args(["--model.net.help", "evil.Net"])


def test_other_mistakes_stay_as_the_parser_says_them(parser: LightningArgumentParser) -> None:
    with (
        pytest.raises(UserError, match=r'(?s)^Parser key "trainer\.max_epochs":.*Expected a .*int.*many'),
        only_from(),
    ):
        parser.parse_args(["--trainer.max_epochs", "many"])


def test_what_the_user_allows_is_allowed_there_alone(parser: LightningArgumentParser, evil: Path) -> None:
    words = ["--model.net", "{class_path: evil.Net, init_args: {out_features: 1}}"]
    with only_from(["evil"]):
        parser.parse_args(words)
    assert evil.exists()
    with pytest.raises(UserError, match="not imported"), only_from():
        parser.parse_args(words)
    with pytest.raises(ArgumentError, match="is not allowed"):  # and after it
        parser.parse_args(words)
    with pytest.raises(UserError, match=r"^model\.optimizer: posix\.mkdir is not"), only_from(["evil"]):
        parser.parse_args(["--model.net=evil.Net", "--model.optimizer", "evil.os.mkdir"])


def test_a_whole_package_does_not_open_what_is_refused_in_it(parser: LightningArgumentParser) -> None:
    with only_from(["torch"]):
        parser.parse_args(["--model.net=torch.nn.Identity", "--model.kind", "torch.Tensor"])
    with pytest.raises(UserError, match=r"torch\.hub"), only_from(["torch"]):
        parser.parse_args(["--model.net", "torch.hub.load"])
    with only_from(["common"]):
        pass
    with only_from():  # what was allowed anyway stays so
        parser.parse_args(["--model.net=torch.nn.Identity", "--model.scheduler=common.optim.WarmupCosine"])


@pytest.mark.parametrize("name", ["", "*", "my-package", "my/package", "a..b", "jsonargparse", "jsonargparse.typing"])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"--allow: found .*, expected the dotted name"), only_from([name]):
        pass


@pytest.mark.parametrize(
    "path",
    [
        "torch.nn.functional.gelu", "torch.nn.functional.conv2d", "torch.optim.AdamW",
        "torch.optim.lr_scheduler.OneCycleLR", "lightning.pytorch.callbacks.EarlyStopping",
        "lightning.pytorch.cli.ReduceLROnPlateau", "lightning.pytorch.plugins.environments.SLURMEnvironment",
        "lightning.pytorch.strategies.DDPStrategy", "torchmetrics.MeanMetric", "segmentation_models_pytorch.Unet",
        "kornia.augmentation.RandomAffine", "torchvision.transforms.v2.RandomCrop", "timm.scheduler.CosineLRScheduler",
        "torch.distributed.algorithms.ddp_comm_hooks.default_hooks.fp16_compress_hook", "common.optim.WarmupCosine",
    ],
)  # fmt: skip
def test_the_field_s_classes_may_be_named(path: str) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--named", type=type | Callable[..., Any])
    with only_from():
        assert parser.parse_args([f"--named={path}"]).named.__name__ == path.rpartition(".")[2]


def test_every_config_of_the_projects_is_allowed() -> None:
    def named(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            yield from [value["class_path"]] if "class_path" in value else []
        for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from named(child)

    paths = sorted(PROJECTS.glob("*/configs/*.yaml"))
    assert len(paths) >= 5
    names = {name for path in paths for name in named(yaml.safe_load(path.read_text()))}
    assert names
    for name in names:
        assert any(name == entry or name.startswith(f"{entry}.") for entry in ALLOWED), name
        assert not any(name == entry or name.startswith(f"{entry}.") for entry in REFUSED), name


def test_allow_is_taken_from_the_command_line_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DENSE_ALLOW", raising=False)
    words = ["fit", "--allow", "mine", "--run", "a", "--allow=theirs.nets", "-c", "x.yaml"]
    assert allowed_by_user(words) == (["fit", "--run", "a", "-c", "x.yaml"], ["mine", "theirs.nets"])
    assert allowed_by_user(["fit", "--allowed", "x"]) == (["fit", "--allowed", "x"], [])
    monkeypatch.setenv("DENSE_ALLOW", "a, b.c,")
    assert allowed_by_user(["fit"]) == (["fit"], ["a", "b.c"])
    names = allowed_by_user(["fit", "--allow"])[1]
    with pytest.raises(UserError, match=r"--allow: found '--'"), only_from(names):
        pass


@pytest.mark.parametrize(
    "path",
    [
        "http://127.0.0.1:1/a.ckpt", "https://x/a.ckpt", "s3://bucket/a.ckpt", "gs://bucket/a.ckpt", "hf://a/b.ckpt",
        "file:///etc/passwd", "file:a.ckpt", "registry:model", "registry:model:version:3", r"\\host\share\a.ckpt",
        "simplecache::s3://bucket/a.ckpt", "./filecache::memory://a.ckpt", "memory://a.ckpt", "a\nb::s3://c", "a\0b",
    ],
)  # fmt: skip
def test_an_address_is_no_file(path: str) -> None:
    with pytest.raises(UserError, match=r"^--ckpt_path: found .*, expected a file on this machine"):
        local_file(path, "--ckpt_path")


def test_a_file_is_given_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("http-run.ckpt", "registry.ckpt", "a.ckpt"):  # Lightning goes by how a name begins
        Path(name).touch()
        assert local_file(name, "--ckpt_path") == tmp_path / name
    Path("link.ckpt").symlink_to("a.ckpt")
    assert local_file("link.ckpt", "--ckpt_path") == tmp_path / "link.ckpt"
    Path("step:3.ckpt").touch()
    assert local_file("./step:3.ckpt", "--ckpt_path") == tmp_path / "step:3.ckpt"
    with pytest.raises(UserError, match=r"--start_from: .* is a folder; give the file in it"):
        local_file(str(tmp_path), "--start_from")
    for name in ("best", "last", "hpc", "", "none.ckpt", "/dev/zero"):
        with pytest.raises(UserError, match=r"--start_from: (no file|.* is a folder)"):
            local_file(name, "--start_from")
