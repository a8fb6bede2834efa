"""`python -m common.export run NETWORK SCENE ...`: masks of scenes, without PyTorch."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError
from common.export.run import Network, predict_scene, result_paths


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; a user's mistake is one line and status 2."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except UserError as error:
        _stop(str(error))
    except OSError as error:
        _stop(f"{error.filename or options.output}: {error.strerror or error}")


def _run(options: argparse.Namespace) -> None:
    network = Network(options.network, threads=options.threads)
    if options.probability and not network.graded:
        raise UserError(f"{options.network}: has no output 'probability'; leave out --probability")
    masks = [result_paths(scene, options.output)[0] for scene in options.scenes]
    if double := next((mask for mask in masks if masks.count(mask) > 1), None):
        raise UserError(f"{double}: would be the result of several scenes; run them into different folders")
    for scene in options.scenes:
        done = predict_scene(
            network,
            scene,
            options.output,
            batch_size=options.batch,
            tile_hw=tuple(options.tile) if options.tile else None,
            band_names=options.band_names.split(",") if options.band_names else None,
            probability=options.probability,
        )
        missing = f", {done.missing:.1%} without data" if done.missing else ""
        size, share = f"{done.size_hw[0]} x {done.size_hw[1]}", f"{done.found:.1%} {network.plan.classes[1]}"
        print(f"{done.mask}: {size}, {share}{missing}, {done.seconds:.1f} s", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m common.export", description="Exported networks without PyTorch.")
    run = parser.add_subparsers(required=True, metavar="run").add_parser("run", help="write the masks of scenes")
    run.add_argument("network", type=Path, help="ONNX file written by the export verb")
    run.add_argument("scenes", type=Path, nargs="+", metavar="scene", help="such as scene.npy")
    run.add_argument("--output", type=Path, default=Path("predictions"), help="folder for the masks (%(default)s)")
    run.add_argument("--batch", type=_positive, default=4, help="tiles that the network sees at once (%(default)s)")
    run.add_argument("--tile", type=_positive, nargs=2, metavar=("H", "W"), help="size of a tile; the network's own")
    run.add_argument("--band_names", help="of the scenes' channels where they do not say, such as B4,B3,B2,B8")
    run.add_argument("--threads", type=_positive, help="CPU threads; all by default")
    run.add_argument(
        "--probability", "--confidence", action="store_true", help="write <name>_probability too, NaN without data"
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text}; expected a whole number, 1 or more")
    return int(text)


def _stop(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
