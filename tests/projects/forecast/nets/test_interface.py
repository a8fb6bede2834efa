"""Laws of every network; what only one has is in the file of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonargparse
import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.export.graph import quiet
from projects.forecast.nets.attention import TemporalAttention
from projects.forecast.nets.autoencoder import Autoencoder
from projects.forecast.nets.interface import ForecastNet
from projects.forecast.nets.vae import VAE
from projects.forecast.nets.vqvae import VQVAE

NETS: list[type[ForecastNet]] = [Autoencoder, VAE, VQVAE, TemporalAttention]
of_every_net = pytest.mark.parametrize("kind", NETS)


def made(kind: Any, past: int = 2, **options: Any) -> ForecastNet:
    """A tiny network for 4 channels and 3 static maps, that forecasts 3 channels."""
    torch.manual_seed(0)
    return kind(4, 3, 3, past, **{"widths": (8, 16), **options})


def batch(past: int = 2, size_hw: tuple[int, int] = (16, 16), rows: int = 2) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, past, 4, *size_hw), torch.randn(rows, 3, *size_hw)


def settled(net: ForecastNet) -> ForecastNet:
    """In eval mode, with running statistics that are not those of the start."""
    for _ in range(3):
        net.train()(*batch(net.past))
    return net.eval()


@of_every_net
@pytest.mark.parametrize(
    ("past", "future", "size_hw", "rows"),
    [
        *[(1, 1, (8, 8), 1), (1, 4, (11, 27), 2), (2, 1, (16, 8), 2)],
        *[(2, 4, (9, 17), 1), (4, 1, (33, 10), 1), (4, 4, (13, 8), 2)],
    ],
)
def test_frames_have_the_size_of_the_past_in_training_and_in_eval_mode(
    kind: Any, past: int, future: int, size_hw: tuple[int, int], rows: int
) -> None:
    net = made(kind, past, future=future)
    assert (net.past, net.future, net.increments) == (past, future, True)
    for mode in (True, False):
        forecast = net.train(mode)(*batch(past, size_hw, rows))
        assert forecast.frames.shape == (rows, future, 3, *size_hw) and forecast.frames.isfinite().all()
        assert all(term.shape == () and term.dtype == torch.float32 for term in forecast.terms.values())
        assert all(note.shape == () and not note.requires_grad for note in forecast.notes.values())
        features = net.embed(*batch(past, size_hw, rows))
        assert features.ndim == 2 and len(features) == rows


@of_every_net
@pytest.mark.parametrize("future", [1, 4])
def test_the_loss_reaches_every_parameter(kind: Any, future: int) -> None:
    net = made(kind, future=future)
    forecast = net(*batch())
    torch.stack([forecast.frames.square().mean(), *forecast.terms.values()]).sum().backward()
    assert [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()] == []
    assert all(weight.grad.isfinite().all() for weight in net.parameters() if weight.grad is not None)


@of_every_net
def test_without_a_draw_eval_mode_says_the_same_each_time(kind: Any) -> None:
    net, inputs = settled(made(kind)), batch()
    before = {name: values.clone() for name, values in net.state_dict().items()}
    assert torch.equal(net(*inputs).frames, net(*inputs).frames)
    assert torch.equal(net.embed(*inputs), net.embed(*inputs))
    assert all(torch.equal(values, before[name]) for name, values in net.state_dict().items())


@of_every_net
def test_draws_differ_where_the_network_is_stochastic_and_come_again_with_the_seed(kind: Any) -> None:
    net, inputs = settled(made(kind)), batch()

    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return net(*inputs, sample=True).frames

    assert torch.equal(drawn(1), drawn(1))
    assert torch.equal(drawn(1), drawn(2)) is not net.stochastic
    assert net.stochastic is (kind in (VAE, VQVAE))


@of_every_net
def test_an_untrained_network_forecasts_next_to_no_change(kind: Any) -> None:
    assert made(kind, future=2)(*batch()).frames.abs().max() < 0.05


@of_every_net
def test_embeddings_of_different_pasts_differ(kind: Any) -> None:
    features = settled(made(kind)).embed(*batch(rows=3))
    assert torch.cdist(features, features).fill_diagonal_(1).min() > 1e-3


@of_every_net
def test_land_far_away_changes_nothing(kind: Any) -> None:
    net, (past, static) = settled(made(kind, widths=(4, 8), blocks=1)), batch(size_hw=(96, 16))
    other = past.clone()
    other[:, :, :, 80:] += 10
    frames, changed = net(past, static).frames, net(other, static).frames
    change = (changed - frames).abs() / frames.std()
    assert change[..., :48, :].max() < 1e-4
    assert change[..., 80:, :].max() > 0.1


@of_every_net
def test_a_sample_s_forecast_does_not_depend_on_its_neighbours_in_the_batch(kind: Any) -> None:
    net, (past, static) = settled(made(kind)), batch(rows=3)
    alone = net(past[1:2], static[1:2]).frames
    torch.testing.assert_close(net(past, static).frames[1:2], alone, rtol=1e-5, atol=1e-6)


@of_every_net
def test_under_bf16_everything_is_finite_and_near_what_it_is_in_float32(kind: Any) -> None:
    net, inputs = settled(made(kind)), batch()
    full = net(*inputs).frames
    with torch.autocast("cpu", torch.bfloat16):
        half, trained = net(*inputs).frames, net.train()(*inputs)
        torch.stack([trained.frames.float().square().mean(), *trained.terms.values()]).sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in net.parameters())
    assert all(values.isfinite().all() for values in net.state_dict().values())
    assert all(term.dtype == torch.float32 for term in trained.terms.values())
    if kind is not VQVAE:  # a cell between two codes may be rounded to the other
        assert (half - full).abs().max() < 0.1 * full.abs().max()


@of_every_net
def test_it_learns_one_batch_by_heart(kind: Any) -> None:
    net = made(kind, future=2, blocks=1)
    past, static = batch(size_hw=(8, 8))
    truth = torch.stack([past[:, -1, :3] - past[:, 0, :3], static.roll(1, dims=-1)], dim=1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for _ in range(50):
        forecast = net(past, static)
        losses.append((forecast.frames - truth).square().mean())
        optimizer.zero_grad()
        torch.stack([losses[-1], *forecast.terms.values()]).sum().backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 5


class Frames(nn.Module):
    """What an exported file gives, of each network."""

    def __init__(self, nets: list[ForecastNet]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, past: Tensor, static: Tensor) -> tuple[Tensor, ...]:
        return tuple(net(past, static).frames for net in self.nets)


def test_they_are_exported_with_free_sizes(tmp_path: Path) -> None:
    """In one file: what takes time is working out how sizes follow from the input's, which they have in common."""
    options: dict[Any, dict[str, int]] = {TemporalAttention: {"layers": 1, "heads": 2}}
    net = Frames([settled(made(kind, future=2, widths=(8,), **options.get(kind, {"blocks": 1}))) for kind in NETS])
    free = ({0: "batch", 3: "height", 4: "width"}, {0: "batch", 2: "height", 3: "width"})
    with quiet():
        program = torch.onnx.export(
            net,
            batch(size_hw=(13, 21)),
            dynamo=True,
            dynamic_shapes=free,
            input_names=["past", "static"],
            verbose=False,
        )
    program.save(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    for size_hw, rows in (((8, 8), 1), ((37, 20), 3), ((16, 16), 1)):
        past, static = batch(size_hw=size_hw, rows=rows)
        found = session.run(None, {"past": past.numpy(), "static": static.numpy()})
        with torch.no_grad():
            expected = net(past, static)
        for kind, frames, said in zip(NETS, found, expected, strict=True):
            np.testing.assert_allclose(frames, said.numpy(), rtol=1e-4, atol=1e-5, err_msg=kind.__name__)


@of_every_net
def test_a_config_names_it_with_every_option(kind: Any) -> None:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--net", type=Callable[[int, int, int, int], ForecastNet])
    options = {"future": 3, "widths": [8, 8], "increments": False, "activation": "gelu"}
    name = f"{kind.__module__}.{kind.__qualname__}"
    config = parser.parse_object({"net": {"class_path": name, "init_args": options}})
    net = parser.instantiate(config).net(4, 3, 2, 5)
    assert (net.past, net.future, net.increments) == (5, 3, False)
    with pytest.raises(jsonargparse.ArgumentError, match="widdths"):
        parser.parse_object({"net": {"class_path": name, "init_args": {"widdths": [8]}}})


@of_every_net
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"future": 0}, "future: found 0, expected more than 0"),
        ({"past": -1}, "past: found -1"),
        ({"widths": ()}, r"widths = \[\].* one width or more"),
        ({"widths": (8, 0)}, r"widths\[1\]: found 0"),
        ({"blocks": 0}, "blocks: found 0"),
        ({"activation": "tanh"}, "found 'tanh', expected one of relu"),
    ],
)
def test_mistakes_are_named(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        made(kind, **options)
