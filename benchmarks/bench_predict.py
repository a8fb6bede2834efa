"""Prediction on a whole video, beside what no program could beat: decoding alone and the network alone.

    python benchmarks/bench_predict.py [--input VIDEO]

Ratios are the wall time of `predict_video` over the larger of the limits. On a CPU decoder and network share the cores,
so that 1 cannot be reached where both limits are alike, the less with an overlay, which decodes and encodes besides.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from ball import default_module, rally_video
from table import Results, arguments, race, results_folder
from torch import Tensor

from common.data.read import Video
from projects.ball.decode import Located
from projects.ball.module import BallModule
from projects.ball.overlay import overlay_video
from projects.ball.predict import Finder, predict_video

BATCH_SIZE = 16
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class NullFinder:
    """A network that costs nothing."""

    threshold = 0.5

    def __init__(self, module: BallModule) -> None:
        self.offsets, self.size_hw = module.offsets, module.size_hw

    def to(self, device: torch.device, /) -> None: ...
    def eval(self) -> None: ...

    def locate(self, frames: Tensor, /) -> Located:
        return Located(frames.new_zeros(len(frames), 2), frames.new_zeros(len(frames)))


def main(args: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    parser.add_argument("--input", type=Path, help="a video; synthetic rallies, 640 x 360, by default")
    options = parser.parse_args(args)
    results = Results("predict")
    with TemporaryDirectory() as folder:
        source = options.input or rally_video(Path(folder), quick=options.quick)
        measure(results, source, Path(folder), options)
    results.finish(results_folder(options))


def measure(results: Results, source: Path, folder: Path, options: argparse.Namespace) -> None:
    module = default_module().to(DEVICE).eval()
    count = len(Video(source))
    seconds = race(
        1 if options.quick else 2,
        decode=lambda: _exhaust(Video(source), module.size_hw),
        network=_bare_network(module, count),
        predict=_prediction(module, source, folder),
        null=_prediction(NullFinder(module), source, folder),
        drawing=lambda: _draw(Video(source), folder / "drawn.mp4"),
        overlay=_prediction(module, source, folder, overlay=True),
    )
    limits = {"decoding_alone": seconds["decode"], "network_alone": seconds["network"]}
    ms = {name: 1000 * value / count for name, value in limits.items()}
    with_drawing = limits | {"drawing_alone": seconds["drawing"]}
    results.add("predict, no overlay", 1000 * seconds["predict"] / count, "ms/frame", **ms)
    results.add("predict / larger limit", seconds["predict"] / max(limits.values()), "x", bar=1.25)
    results.add("predict / sum of the limits", seconds["predict"] / sum(limits.values()), "x")
    results.add("null network / decoding", seconds["null"] / seconds["decode"], "x", bar=1.25)
    ms["drawing_alone"] = 1000 * seconds["drawing"] / count
    results.add("predict, overlay", 1000 * seconds["overlay"] / count, "ms/frame", **ms)
    results.add("with overlay / largest limit", seconds["overlay"] / max(with_drawing.values()), "x", bar=2.0)
    results.add("with overlay / sum of the limits", seconds["overlay"] / sum(with_drawing.values()), "x")
    results.add("speed, no overlay", count / seconds["predict"], "frames/s")


def _prediction(module: Finder, source: Path, folder: Path, *, overlay: bool = False) -> Callable[[], object]:
    return lambda: predict_video(
        module,
        source,
        output=folder / "output",
        batch_size=BATCH_SIZE,
        device=DEVICE,
        autocast=None,
        overlay=overlay,
        progress=False,
    )


def _exhaust(video: Video, size_hw: tuple[int, int]) -> None:
    for _ in video.frames(range(len(video)), size_hw):
        pass


def _bare_network(module: BallModule, count: int) -> Callable[[], None]:
    """Runs the network on as many windows as the video has frames, from a batch that lies ready."""
    windows = 255 * torch.rand(BATCH_SIZE, len(module.offsets), 3, *module.size_hw, device=DEVICE)

    @torch.inference_mode()
    def run() -> None:
        for start in range(0, count, BATCH_SIZE):
            located = module.locate(windows[: min(BATCH_SIZE, count - start)])
        located.scores.tolist()  # waits for a GPU

    return run


def _draw(video: Video, path: Path) -> None:
    with overlay_video(path, video.size_hw, video.fps) as draw:
        for _, frame in video.frames(range(len(video))):
            draw(frame, (100.0, 100.0))


if __name__ == "__main__":
    main()
