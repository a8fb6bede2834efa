from typing import Any

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from projects.pose.nets.stages import Cascade, Stages, TwoBranch

FEATURES, PAFS, HEATS = 5, 6, 4


def cascade(**settings: Any) -> Cascade:
    small: dict[str, Any] = {"paf_stages": 3, "blocks": 2, "widths": (3, 4), "hidden": (5, 6), "activation": "prelu"}
    return Cascade(FEATURES, PAFS, HEATS, **(small | settings))


def two_branch(**settings: Any) -> TwoBranch:
    small: dict[str, Any] = {"stages": 3, "width": 4, "hidden": (5, 6), "activation": "prelu"}
    return TwoBranch(FEATURES, PAFS, HEATS, **(small | settings))


def cells(rows: int = 6, columns: int = 9) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, FEATURES, rows, columns)


def seen_by(stages: Stages) -> dict[str, set[str]]:
    """Which stages' weights each stage's maps depend on."""
    names = {f"paf/{n}": stage for n, stage in enumerate(stages.pafs, 1)}
    names |= {f"heat/{n}": stage for n, stage in enumerate(stages.heats, 1)}
    found = {}
    for name, maps in stages(cells()).stages.items():
        stages.zero_grad()
        maps.square().sum().backward(retain_graph=True)
        found[name] = {
            other
            for other, stage in names.items()
            if any(weight.grad is not None and weight.grad.any() for weight in stage.parameters())
        }
    return found


@pytest.mark.parametrize("stages", [cascade(), two_branch(), cascade(norm=True, linked=False)])
@pytest.mark.parametrize(("rows", "columns"), [(6, 9), (1, 1), (23, 2)])
def test_every_stage_has_maps_as_large_as_the_features(stages: Stages, rows: int, columns: int) -> None:
    output = stages(cells(rows, columns))
    assert {maps.shape for maps in output.pafs} == {(2, PAFS, rows, columns)}
    assert {maps.shape for maps in output.heats} == {(2, HEATS, rows, columns)}
    assert (len(output.pafs), len(output.heats)) == (len(stages.pafs), len(stages.heats))


def test_stages_of_a_cascade_see_those_before() -> None:
    assert seen_by(cascade()) == {
        "paf/1": {"paf/1"},
        "paf/2": {"paf/1", "paf/2"},
        "paf/3": {"paf/1", "paf/2", "paf/3"},
        "heat/1": {"paf/1", "paf/2", "paf/3", "heat/1"},
        "heat/2": {"paf/1", "paf/2", "paf/3", "heat/1", "heat/2"},
    }


def test_stages_of_two_branches_see_both_before() -> None:
    first, second = {"paf/1", "heat/1"}, {"paf/1", "heat/1", "paf/2", "heat/2"}
    assert seen_by(two_branch()) == {
        "paf/1": {"paf/1"}, "heat/1": {"heat/1"}, "paf/2": first | {"paf/2"}, "heat/2": first | {"heat/2"},
        "paf/3": second | {"paf/3"}, "heat/3": second | {"heat/3"},
    }  # fmt: skip


@pytest.mark.parametrize("stages", [cascade(linked=False), two_branch(linked=False)])
def test_without_links_a_stage_sees_the_features_alone(stages: Stages) -> None:
    assert all(seen == {name} for name, seen in seen_by(stages).items())


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("make", [cascade, two_branch])
def test_every_weight_learns(make: Any, linked: bool) -> None:
    stages = make(linked=linked, norm=True, dropout=0.1)
    sum(maps.square().sum() for maps in stages(cells()).stages.values()).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in stages.parameters())


@pytest.mark.parametrize("make", [cascade, two_branch])
def test_training_drops_channels_and_evaluation_does_not(make: Any) -> None:
    stages = make(dropout=0.5)
    x = cells()
    dropped = stages(x), stages(x)
    assert not torch.equal(dropped[0].heats[0], dropped[1].heats[0])
    kept = stages.eval()(x)
    for module in stages.train().modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    assert torch.equal(kept.heats[-1], stages(x).heats[-1])


@pytest.mark.parametrize("make", [cascade, two_branch])
def test_in_evaluation_a_picture_does_not_depend_on_its_batch(make: Any) -> None:
    stages = make(norm=True, dropout=0.5)
    stages(cells())  # statistics
    together, alone = stages.eval()(cells()), stages(cells()[:1])
    for name, maps in alone.stages.items():
        torch.testing.assert_close(maps, together.stages[name][:1])


def test_the_defaults_are_the_papers_layers() -> None:
    """Channels of convolutions as in the networks that the authors published (BODY_25, COCO)."""
    with torch.device("meta"):
        stages = Cascade(128, 52, 26)
        widths = [
            [module.weight.shape[:2] for module in stage.modules() if isinstance(module, nn.Conv2d)]
            for stage in (*stages.pafs, *stages.heats)
        ]
    block = [(96, 96), (96, 96), (96, 288)]
    assert widths[0] == [(96, 128), *block * 4, (96, 96), (96, 96), (256, 288), (52, 256)]
    wide = [(128, 128), (128, 128), (128, 384)]
    later = [*wide * 4, (128, 128), (128, 128), (512, 384)]
    assert widths[1:4] == [[(128, 180), *later, (52, 512)]] * 3
    assert widths[4] == [(96, 180), *widths[0][1:-1], (26, 256)]
    assert widths[5] == [(128, 206), *later, (26, 512)]


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (cascade, {"paf_stages": 0}, "Cascade: paf_stages: found 0, expected 1 or more"),
        (cascade, {"heat_stages": 0}, "Cascade: heat_stages: found 0"),
        (cascade, {"blocks": 0}, "Cascade: blocks: found 0"),
        (cascade, {"widths": (8, 0)}, "Cascade: widths: found 0"),
        (cascade, {"hidden": (-1, 8)}, "Cascade: hidden: found -1"),
        (two_branch, {"stages": 0}, "TwoBranch: stages: found 0"),
        (two_branch, {"width": 0}, "TwoBranch: width: found 0"),
        (two_branch, {"dropout": 1.0}, "dropout: found 1.0, expected 0 or more and less than 1"),
        (cascade, {"dropout": float("nan")}, "dropout: found nan"),
        (cascade, {"activation": "tanh"}, "activation: found 'tanh', expected one of relu, .*, prelu"),
    ],
)
def test_mistakes_are_named(make: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**settings)
