"""Windows from the frame store in random order, beside a gather in memory and beside decoding the video.

    python benchmarks/bench_store.py

The gather of the same bytes from one array is what no cache can beat. The store's files are in the page cache.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from ball import default_module, rally_video
from table import Results, arguments, race, results_folder

from common.data.read import Video
from common.data.store import FrameStore, VideoFrames, prepare
from common.data.windows import usable_anchors, window_frames

USUAL_HW = (288, 512)
"""Input of most published networks for this task."""


def main(args: Sequence[str] | None = None) -> None:
    options = arguments(__doc__).parse_args(args)
    results = Results("store")
    with TemporaryDirectory() as name:
        folder = Path(name)
        source = rally_video(folder, quick=options.quick)
        for size_hw in [default_module().size_hw] + ([] if options.quick else [USUAL_HW]):
            measure(results, source, folder / "store", size_hw=size_hw, quick=options.quick)
    results.finish(results_folder(options))


def measure(results: Results, source: Path, folder: Path, *, size_hw: tuple[int, int], quick: bool) -> None:
    numbers = np.arange(len(Video(source)))
    prepare({"v": (source, numbers.tolist())}, folder=folder, size_hw=size_hw, workers=1, progress=False)
    store, video = FrameStore(folder, size_hw), VideoFrames({"v": source}, size_hw)
    memory = store.read_many("v", numbers.tolist())
    for time in (3, 9):
        offsets = range(-(time // 2), time // 2 + 1)
        windows = window_frames(usable_anchors(numbers, numbers, offsets), offsets)
        windows = np.random.default_rng(0).permutation(windows)[: 20 if quick else 150]
        few = windows[: 2 if quick else 15]
        if not np.array_equal(store.read_many("v", windows[0].tolist()), memory[windows[0]]):
            raise AssertionError("the store gives other frames than it holds")
        seconds = race(
            2 if quick else 5,
            store=_reading(lambda rows: store.read_many("v", rows), windows),
            memory=_reading(lambda rows: memory[rows], windows),
        ) | race(1 if quick else 2, video=_reading(lambda rows: video.read_many("v", rows), few))
        per_second = {"store": len(windows) / seconds["store"], "memory": len(windows) / seconds["memory"],
                      "video": len(few) / seconds["video"]}  # fmt: skip
        case = f"{time} frames of {size_hw[1]} x {size_hw[0]}"
        results.add(
            f"store, {case}", per_second["store"], "windows/s", **{k: per_second[k] for k in ("memory", "video")}
        )
        results.add(f"time of store / memory, {case}", per_second["memory"] / per_second["store"], "x")
        results.add(f"time of store / video, {case}", per_second["video"] / per_second["store"], "x")


def _reading(read: Callable[[list[int]], np.ndarray], windows: np.ndarray) -> Callable[[], None]:
    lists: list[list[int]] = windows.tolist()

    def run() -> None:
        for rows in lists:
            read(rows)

    return run


if __name__ == "__main__":
    main()
