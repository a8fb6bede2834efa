"""`python -m common.export run NETWORK FILE ...`: an exported network on files, without PyTorch."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from common.errors import UserError
from common.export.runner import Runner, whole_number
from common.export.session import Session
from common.export.tasks import find_runner

_COMMAND = "python -m common.export run"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; a user's mistake is one line and status 2."""
    try:
        _run(list(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        _stop(str(error))
    except OSError as error:
        _stop(f"{error.filename or 'output'}: {error.strerror or error}")


def _run(words: list[str]) -> None:
    if words[:1] == ["run"]:
        words = words[1:]
    elif not {"-h", "--help"} & set(words):
        raise UserError(f"found {' '.join(words[:1]) or 'nothing'}; expected {_COMMAND} NETWORK FILE ...")
    known, _ = _parser(None, final=False).parse_known_args(words)
    if known.network is None:
        _parser(None).parse_args(words)  # tells what is missing
    session = Session(known.network, threads=known.threads)
    runner = find_runner(session)
    runner.run(session, _parser(runner).parse_args(words))


def _parser(runner: Runner | None, *, final: bool = True) -> argparse.ArgumentParser:
    """The options of every task and those of the runner's; the first look (`final=False`) only finds the network."""
    parser = _Parser(
        prog=_COMMAND,
        description=f"Without PyTorch: {runner.about}." if runner else "Runs an exported network without PyTorch.",
        epilog=None if runner else f"{_COMMAND} NETWORK --help lists what else its task knows.",
        add_help=final,
        allow_abbrev=False,
    )
    parser.add_argument("network", type=Path, nargs=None if final else "?", help="ONNX file of the export verb")
    parser.add_argument(
        "files", type=Path, nargs="+" if final else "*", metavar="file", help=runner.files if runner else None
    )
    parser.add_argument("--output", type=Path, default=Path("predictions"), help="folder of the results (%(default)s)")
    parser.add_argument("--batch", type=whole_number, default=4, help="inputs the network sees at once (%(default)s)")
    parser.add_argument("--threads", type=whole_number, help="CPU threads; all by default")
    if runner:
        runner.add_arguments(parser)
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; {_COMMAND} NETWORK --help lists what there is")


def _stop(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
