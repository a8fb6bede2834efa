"""What finds people, how it is run on pictures of any size, and what comes of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from common.data.progress import progress_bar
from common.files import require_writable
from projects.pose.letterbox import Letterbox
from projects.pose.people import People, in_image
from projects.pose.skeleton import Skeleton

Frame = UInt8[np.ndarray, "_ _ 3"]


@runtime_checkable
class Finder(Protocol):
    """The part of the pose module that prediction needs.

    Attributes:
        size_hw: (height, width) of the frame that pictures are scaled into.
        skeleton: of the people.
    """

    size_hw: tuple[int, int]
    skeleton: Skeleton

    def to(self, device: torch.device, /) -> object: ...  # noqa: D102
    def eval(self) -> object: ...  # noqa: D102
    def people(self, images: Float[Tensor, "batch 3 height width"], /) -> list[People]:
        """Everybody in frames of 0..255, in pixels of the frame."""
        ...


@dataclass(frozen=True)
class Options:
    """How prediction runs.

    Attributes:
        device: where the network is.
        autocast: lower precision for it; None for its own.
        batch_size: pictures that it sees at once.
        overlay: whether to draw the people, too.
        skip_late: of a stream, whether to leave out frames that come faster than the network can take them.
        progress: whether to show a bar with pictures or frames per second.
    """

    device: torch.device
    autocast: torch.dtype | None = None
    batch_size: int = 8
    overlay: bool = True
    skip_late: bool = False
    progress: bool = True


@dataclass(frozen=True)
class Predicted:
    """Result for some pictures, a video or a stream.

    Attributes:
        results: file of the people.
        overlay: video, or folder of pictures, with people drawn; None if it was not asked for.
        frames: number of pictures or frames that were looked at.
        people: number of people found in all of them.
        seconds: time taken.
        undecodable: number of frames, of a stream also packets, that could not be decoded.
        damaged: what each picture that was left out lacks, in words.
    """

    results: Path
    overlay: Path | None
    frames: int
    people: int
    seconds: float
    undecodable: int = 0
    damaged: tuple[str, ...] = ()


def start(module: Finder, output: Path, options: Options) -> None:
    """Puts the network where it runs, in inference mode, and makes the folder of the results.

    Raises:
        UserError: nothing can be written there.
    """
    require_writable(output)
    module.to(options.device)
    module.eval()


def find_people(module: Finder, images: Sequence[Frame], options: Options) -> list[People]:
    """Everybody in RGB pictures, each of its own size, in pixels of the picture."""
    boxes = [Letterbox.fit((image.shape[0], image.shape[1]), module.size_hw) for image in images]
    frames = np.stack([box(image) for box, image in zip(boxes, images, strict=True)])
    stacked = torch.from_numpy(frames).to(options.device).permute(0, 3, 1, 2).contiguous().float()
    lower = options.autocast is not None
    with torch.inference_mode(), torch.autocast(options.device.type, options.autocast, enabled=lower):
        found = module.people(stacked)
    return [in_image(people, box) for people, box in zip(found, boxes, strict=True)]


@contextmanager
def shown_progress(
    name: str, total: int | None, options: Options, *, unit: str = "frames"
) -> Iterator[Callable[[], None]]:
    """Yields a function that moves a bar on by one; without a total it shows the count and the rate."""
    with progress_bar(options.progress, unit) as bar:
        task = bar.add_task(name, total=total)
        yield lambda: bar.advance(task)
