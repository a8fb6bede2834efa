"""Encoder and decoder of any segmentation-models-pytorch architecture, by name."""

from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from jaxtyping import Float
from torch import Tensor, nn

from common.errors import UserError
from common.nets.activations import exchange_activation, main_activation


class Backbone(nn.Module):
    """Features of an smp architecture before its segmentation head.

    Args:
        in_channels: channels of the input.
        arch: an smp architecture by class name ("Unet", "UnetPlusPlus", "FPN", "DeepLabV3Plus", ...).
        encoder: an smp encoder, or a timm model as "tu-<name>".
        stride: wanted size of an output cell in input pixels. Decoders that are a chain of doubling blocks (Unet,
            MAnet, Linknet) lose the blocks that go beyond it, which is most of their cost; others keep their own.
        activation: of the decoder: "match" takes the encoder's. smp hard-codes ReLU, and ReLU decoders on SiLU
            encoders converge worse.
        weights: file with the encoder's pretrained weights, three input channels; its first convolution is adapted to
            `in_channels`. Nothing is ever downloaded.
        options: more keyword arguments of the smp class, such as `encoder_depth` or `decoder_channels`.

    Attributes:
        out_channels: channels of the output.
        stride: size of an output cell in input pixels, as the network really has it.
        divisor: height and width of the input must be multiples of it.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        arch: str,
        encoder: str,
        stride: int = 1,
        activation: str = "match",
        weights: str | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        net: Any = _build(arch, encoder, in_channels, weights=weights, options=options or {})
        net.segmentation_head = nn.Identity()
        exchange_activation(net.decoder, main_activation(net.encoder) if activation == "match" else activation)
        _drop_blocks(net.decoder, stride)
        self.net = net
        self.divisor = int(net.encoder.output_stride)
        self.out_channels, self.stride = self._probe(in_channels)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch features rows columns"]:
        """Features at `stride`; raises where height or width is no multiple of `divisor`."""
        features: Tensor = self.net(x)
        return features

    def _probe(self, in_channels: int) -> tuple[int, int]:
        """Channels and stride, from a small picture: decoders state neither in one way.

        Weights that the output does not depend on, such as an encoder's stages beyond `encoder_depth`, are frozen:
        several processes could not agree on their gradients.
        """
        side = max(128, 4 * self.divisor)
        training = self.training
        with torch.enable_grad():
            features = self.eval()(torch.zeros(1, in_channels, side, side))
            features.sum().backward()
        for weight in self.parameters():
            weight.requires_grad_(weight.grad is not None)
            weight.grad = None
        self.train(training)
        return features.shape[1], side // features.shape[2]


def _build(arch: str, encoder: str, in_channels: int, *, weights: str | None, options: dict[str, Any]) -> nn.Module:
    known = [name for name in dir(smp) if isinstance(getattr(smp, name), type)]
    if arch not in known:
        raise UserError(f"arch: found {arch!r}, expected an smp architecture: {', '.join(known)}")
    if weights is not None and not Path(weights).is_file():
        raise UserError(f"weights: no file {weights!r}; give the path of a local file or leave it out")
    timm_weights = weights is not None and encoder.startswith("tu-")
    if timm_weights:
        options = options | {"pretrained_cfg_overlay": {"file": weights}}
    try:
        net: nn.Module = getattr(smp, arch)(
            encoder,
            encoder_weights=True if timm_weights else None,
            in_channels=3 if weights and not timm_weights else in_channels,
            classes=1,
            **options,
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"network {arch} with encoder {encoder!r} and options {options}: {error}") from error
    if weights and not timm_weights:
        _load_smp_encoder(net.encoder, weights, in_channels)
    return net


def _load_smp_encoder(encoder: Any, weights: str, in_channels: int) -> None:
    """Loads a native smp encoder's weights, then lets smp adapt the first convolution."""
    try:
        encoder.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as error:  # every way in which a foreign file can be wrong
        raise UserError(f"weights {weights}: not a state dict of this encoder: {error}") from error
    encoder.set_in_channels(in_channels, pretrained=True)


def _drop_blocks(decoder: nn.Module, stride: int) -> None:
    surplus = stride.bit_length() - 1
    blocks = getattr(decoder, "blocks", None)
    if isinstance(blocks, nn.ModuleList) and 0 < surplus < len(blocks):
        decoder.blocks = blocks[:-surplus]
