"""From a file's task to what runs it: segmentation is built in, all else is offered by installed packages."""

from importlib.metadata import entry_points

from common.errors import UserError
from common.export import scenes
from common.export.metadata import Expected, read_values
from common.export.runner import Runner
from common.export.session import Session

GROUP = "dense_prediction_lab.runners"
"""Of entry points: name of the task, place of its `Runner`."""

BUILT_IN = {"segmentation": scenes.RUNNER}

_EXPECTED: Expected = {"task": (lambda value: value is None or isinstance(value, str), "the name of a task")}


def find_runner(session: Session) -> Runner:
    """What runs an exported network. A file without a task is a segmentation network.

    The file chooses among what is installed in this group and cannot name anything else to import.

    Raises:
        UserError: nothing is installed for the task, or what is cannot be imported.
    """
    task = read_values(session.metadata, _EXPECTED, session.path, kind="")["task"] or "segmentation"
    if task in BUILT_IN:
        return BUILT_IN[task]
    offered = {entry.name: entry for entry in entry_points(group=GROUP)}
    if task not in offered:
        known = ", ".join(sorted({*BUILT_IN, *offered}))
        raise UserError(
            f"{session.path}: its task is {task[:80]!r}; expected one that is installed here: {known}. Install the "
            "package that exported it (in a clone of its repository: pip install -e .)"
        )
    try:
        runner = offered[task].load()
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"{session.path}: {offered[task].value}, which runs the task {task!r}, cannot be imported: {error}. "
            "Install its package again, with its dependencies"
        ) from error
    if not isinstance(runner, Runner):
        raise UserError(f"{offered[task].value}: found {type(runner).__name__} in the group {GROUP}; expected a Runner")
    return runner
