"""How right and how fast exported networks are, side by side."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import onnxruntime
from jaxtyping import Bool, UInt8

from common.export.quantize import Images

NOT_COUNTED = 255
"""In labels: counts in no score."""


@dataclass(frozen=True)
class Score:
    """What a file is worth.

    Attributes:
        iou: intersection over union of the pixels that are 1, pooled; NaN where there are none.
        ms_per_megapixel: time of the network alone, from the best of several runs of each batch; NaN without any.
        megabytes: size of the file.
    """

    iou: float
    ms_per_megapixel: float
    megabytes: float


def score_files(
    paths: Sequence[Path],
    batches: Iterable[tuple[Images, UInt8[np.ndarray, "batch height width"]]],
    *,
    output: str = "mask",
    threads: int = 1,
    repeats: int = 3,
) -> list[Score]:
    """Scores files side by side, each on every batch before the next: what slows the machine slows all of them.

    Args:
        paths: files whose first input takes the images.
        batches: images and labels: 1 what is sought, 0 what is not, 255 not counted.
        output: of {0, 1}, as large as the labels.
        threads: of onnxruntime.
        repeats: runs of each batch, of which the fastest counts.
    """
    sessions = [_session(path, threads) for path in paths]
    seconds, counts, pixels = np.zeros(len(paths)), np.zeros((len(paths), 2)), np.float64(0)
    for images, labels in batches:
        pixels += labels.size
        for number, session in enumerate(sessions):
            mask, best = _timed(session, images, output, repeats)
            seconds[number] += best
            counts[number] += _overlap(mask == 1, labels == 1, labels != NOT_COUNTED)
    with np.errstate(invalid="ignore"):
        ious, speeds = counts[:, 0] / counts[:, 1], 1e3 * seconds / (pixels / 1e6)
    return [
        Score(float(iou), float(speed), path.stat().st_size / 1e6)
        for path, iou, speed in zip(paths, ious, speeds, strict=True)
    ]


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _timed(
    session: onnxruntime.InferenceSession, images: Images, output: str, repeats: int
) -> tuple[np.ndarray, float]:
    inputs, best = {session.get_inputs()[0].name: images}, float("inf")
    for _ in range(repeats):
        started = perf_counter()
        (mask,) = session.run([output], inputs)
        best = min(best, perf_counter() - started)
    return mask, best


def _overlap(
    found: Bool[np.ndarray, "*shape"], sought: Bool[np.ndarray, "*shape"], counted: Bool[np.ndarray, "*shape"]
) -> tuple[int, int]:
    """Numbers of pixels that are both and either."""
    return int((found & sought & counted).sum()), int(((found | sought) & counted).sum())
