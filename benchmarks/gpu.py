"""The ball training on as many devices as there are: speed, memory, scaling, waiting for data, cost of our callbacks.

    python benchmarks/gpu.py                               # 1, 2, 4 ... GPUs, network of openttgames.yaml
    python benchmarks/gpu.py --devices 8                   # at most eight
    python benchmarks/gpu.py --trial                       # two CPU processes and a small network: does it run?
    python benchmarks/gpu.py -c FILE --data.root FOLDER    # options of `fit` follow: other settings, your data

Each case is the public command in a process of its own, at its default precision: 16-mixed on a GPU. A figure is of
whole epochs after the first, less each one's first two batches: with the device waited for at both ends, and nowhere
else. `of the bare model` is beside the same network, batch and loss on the first device, in a loop that does nothing
but forward, backward and step. `guard` and `keeper` are what a step takes longer with them than without. Without
`--data.root` it trains on synthetic rallies. Nothing else should run on the machine.
"""

import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from speed import Speed
from table import Results, arguments, results_folder

from common.cli import Cli, run
from common.guard import NonFiniteGuard
from common.keeper import RunKeeper
from projects.ball import synthetic
from projects.ball.train import PROJECT

CASE = "DENSE_GPU_CASE"  # tells a process which case it is, also those that Lightning starts for other devices
WITHOUT = {"guard": NonFiniteGuard, "keeper": RunKeeper}
ROUNDS = 3
"""Times that each case on one device is run, in turns: what a callback costs is a small difference."""

NOTHING = (
    "without a GPU these mean nothing: scaling and waiting (the processes share the cores), the differences between "
    "training with and without a callback (noise); memory is not counted, precision is 32-true instead of 16-mixed"
)


def main(args: Sequence[str] | None = None) -> None:
    options, words = _parse(args)
    results = Results("gpu")
    with TemporaryDirectory(prefix="gpu-") as folder:
        words = [*words, *_data(options, words, Path(folder))]
        counts = [count for count in (2**power for power in range(12)) if count <= options.devices]
        cases = [(1, name) for name in (*WITHOUT, "")] * (1 if options.trial else ROUNDS)
        cases += [(count, "") for count in counts[1:]]
        found: dict[tuple[int, str], list[dict[str, Any]]] = {}
        for number, (count, without) in enumerate(cases):
            place = Path(folder) / str(number)
            found.setdefault((count, without), []).append(_measure(options, words, place, (count, without)))
    _report(results, options, found)
    results.finish(results_folder(options))


def _parse(args: Sequence[str] | None) -> tuple[Namespace, list[str]]:
    parser = arguments(__doc__)
    parser.add_argument("--trial", action="store_true", help="two CPU processes, a small network; as --quick")
    parser.add_argument("--accelerator", choices=["gpu", "cpu"], default="gpu")
    parser.add_argument("--devices", type=int, help="at most so many; all by default")
    parser.add_argument("--epochs", type=int, default=5, help="measured ones, after the first")
    options, words = parser.parse_known_args(args)
    if options.trial or options.quick:
        options.trial = options.quick = True
        options.accelerator, options.devices, options.epochs = "cpu", options.devices or 2, 1
    if options.accelerator == "gpu" and not torch.cuda.is_available():
        sys.exit("no GPU that torch can use; `--accelerator cpu` measures the CPU, `--trial` sees whether this runs")
    options.devices = options.devices or (torch.cuda.device_count() if options.accelerator == "gpu" else 1)
    small = (
        ["--model.size_hw", "[64,96]"] if options.trial else ["-c", str(PROJECT.folder / "configs/openttgames.yaml")]
    )
    return options, [*small, *words]


def _data(options: Namespace, words: Sequence[str], folder: Path) -> list[str]:
    """Rallies to train on, unless data is given."""
    if any(word.partition("=")[0] == "--data.root" for word in words):
        return []
    rallies = {"training": 6, "test": 1} if options.trial else {"training": 96, "test": 1}
    workers = len(os.sched_getaffinity(0))
    synthetic.write_dataset(folder / "data", rallies=rallies, workers=2 if options.trial else workers, progress=False)
    return ["--data.root", str(folder / "data")]


def _measure(options: Namespace, words: Sequence[str], folder: Path, case: tuple[int, str]) -> dict[str, Any]:
    """What all devices of one case found."""
    count, without = case
    folder.mkdir()
    flags = ["--runs", str(folder / "runs"), "--run", "speed", "--data.store", str(folder.parent / "store")]
    flags += [f"--trainer.accelerator={options.accelerator}", f"--trainer.devices={count}"]
    flags += [f"--trainer.max_epochs={options.epochs + 1}", "--trainer.limit_val_batches=0", "--trainer.callbacks=[]"]
    flags += ["--trainer.limit_test_batches=1", "--save.every_minutes=600"]
    flags += [f"--trainer.limit_train_batches={8 if options.trial else 1.0}"]
    env = os.environ | {CASE: json.dumps({"folder": str(folder), "without": without})}
    if options.accelerator == "cpu":
        env["OMP_NUM_THREADS"] = "1" if options.trial else str(max(1, len(os.sched_getaffinity(0)) // options.devices))
    command = [sys.executable, __file__, "fit", *words, *flags]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    ranks = [json.loads(path.read_text()) for path in sorted(folder.glob("rank-*.json"))]
    if done.returncode or len(ranks) != count:
        said = done.stdout[-3000:] + done.stderr[-3000:]
        sys.exit(f"{count} devices: status {done.returncode}, {len(ranks)} answers\n{said}")
    rate = sum(rank["samples"] for rank in ranks) / max(rank["seconds"] for rank in ranks)
    name = f"{count} {options.accelerator}" + (f" without {without}" if without else "")
    print(f"{name}: {rate:.1f} samples/s, {ranks[0]['precision']}, {ranks[0]['backend']}", flush=True)
    return ranks[0] | {
        "rate": rate,
        "memory": max(rank["memory"] for rank in ranks),
        "waited": max(rank["waited"] for rank in ranks),
    }


def _case(words: Sequence[str], case: dict[str, str]) -> None:
    """The command, measured; in a process that `_measure` started, or one that Lightning starts beside it."""
    left_out, every = WITHOUT.get(case["without"]), Cli._callbacks

    def fewer(self: Cli) -> list[Callback]:
        return [one for one in every(self) if left_out is None or not isinstance(one, left_out)]

    Cli._callbacks = fewer  # type: ignore[method-assign]
    speed = Speed(Path(case["folder"]))
    run(replace(PROJECT, callbacks=lambda output: [speed]), words)


def _report(results: Results, options: Namespace, found: dict[tuple[int, str], list[dict[str, Any]]]) -> None:
    on_gpu = options.accelerator == "gpu"
    ones = found[1, ""]
    one = median(case["rate"] for case in ones)
    results.add("step", median(case["step_us"] for case in ones), "us")
    results.add("bare model", median(case["bare"] for case in ones), "samples/s")
    for (count, without), cases in found.items():
        if without:
            continue
        rate = median(case["rate"] for case in cases)
        name = f"{count} {cases[0]['device']}, {cases[0]['precision']}, {cases[0]['backend']}"
        results.add(f"training, {name}", rate, "samples/s")
        results.add(f"scaling, {name}", rate / (count * one), "of ideal")
        results.add(f"waiting for data, {name}", median(case["waited"] for case in cases), "share")
        if on_gpu:
            results.add(f"peak memory of a device, {name}", max(case["memory"] for case in cases) / 2**30, "GiB")
    results.add("training of the bare model", median(case["rate"] / case["bare"] for case in ones), "share")
    for name in WITHOUT:
        results.add(f"training without {name}", median(case["rate"] for case in found[1, name]), "samples/s")
    for name in ones[0]["hooks_us"]:
        results.add(f"hooks of {name}", median(case["hooks_us"][name] for case in ones), "us/step")
    if not on_gpu:
        print(NOTHING)


if __name__ == "__main__":
    if CASE in os.environ:
        _case(sys.argv[1:], json.loads(os.environ[CASE]))
    else:
        main()
