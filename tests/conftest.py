"""Settings that every test shares."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings
from jaxtyping import config

os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")

# After OMP_NUM_THREADS, which torch reads once. What a module with checked shapes is the first to import is compiled
# anew in each process: without these lines for 15 s.
import h5py  # noqa: F401
import kornia  # noqa: F401
import lightning  # noqa: F401
import segmentation_models_pytorch  # noqa: F401
import torch

torch.set_num_threads(1)

settings.register_profile("any machine", deadline=None)  # a time limit fails where others take the processor
settings.load_profile("any machine")

RANKS = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", "DENSE_RUN_NAME")
REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with few tests that take long come first: at the end they would leave all workers but one idle."""
    items.sort(
        key=lambda item: len(item.path.relative_to(Path(__file__).parent).parts) > 1 and "slurm" not in item.keywords
    )


@pytest.fixture(autouse=True)
def _no_traces_of_several_ranks() -> Iterator[None]:
    """Lightning leaves the address of a run's ranks in the environment, where the next run would take it up."""
    before = {name: os.environ.get(name) for name in RANKS}
    yield
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture
def real_data() -> Path:
    """Folder of small real samples; tests that need it skip where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real sample data at {REAL_DATA}")
    return REAL_DATA


@contextmanager
def without_checks() -> Iterator[None]:
    """Calls whose shapes nobody checks."""
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this test run, for all of its workers."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def unchecked() -> Callable[[], AbstractContextManager[None]]:
    """For making data: checking the shapes of every call takes twice as long as drawing a small picture."""
    return without_checks


@pytest.fixture(scope="session")
def rallies(shared: Path) -> Path:
    """A small synthetic data set in the true layout, made once for all workers of a test run; do not change it."""
    from projects.ball import synthetic

    with FileLock(shared / "rallies.lock"), without_checks():
        counts = {"training": 4, "test": 1}
        synthetic.write_dataset(shared / "rallies", rallies=counts, size_hw=(180, 320), workers=1, progress=False)
    return shared / "rallies"


@pytest.fixture(scope="session")
def cloud_scenes(shared: Path) -> Path:
    """Small synthetic satellite scenes in the true layout, made once for all workers of a run; do not change them."""
    from projects.clouds import synthetic

    with FileLock(shared / "cloud_scenes.lock"), without_checks():
        counts = {"train": 3, "val": 1, "test": 2}
        synthetic.write_dataset(shared / "cloud_scenes", scenes=counts, size_hw=(101, 138), workers=1, progress=False)
    return shared / "cloud_scenes"


@pytest.fixture
def cloud_command(cloud_scenes: Path, tmp_path: Path) -> Callable[..., None]:
    """Runs the public command in this process, with small scenes and tiles, writing below `tmp_path`."""
    from projects.clouds.train import main

    def command(verb: str, *flags: str, small: bool = True) -> None:
        options = ["--runs", str(tmp_path / "runs")]
        if small:
            options += ["--data.root", str(cloud_scenes), "--model.tile_hw", "[64,64]", "--data.batch_size", "2"]
        main([verb, *options, *flags])

    return command


@pytest.fixture(scope="session")
def floods(shared: Path) -> Path:
    """Small synthetic floods in the true layout, made once for all workers of a run; do not change them."""
    from projects.forecast.flood import synthetic

    with FileLock(shared / "floods.lock"), without_checks():
        counts = {"train": 3, "val": 1, "test": 2}
        synthetic.write_dataset(
            shared / "floods", simulations=counts, size_hw=(20, 24), hours=14, workers=1, progress=False
        )
    return shared / "floods"


@pytest.fixture
def flood_command(floods: Path, tmp_path: Path) -> Callable[..., None]:
    """Runs the public command in this process, with small floods and a small network, writing below `tmp_path`."""
    from projects.forecast.train import main

    def command(verb: str, *flags: str, small: bool = True) -> None:
        options = ["--runs", str(tmp_path / "runs")]
        if small:
            options += ["--data.root", str(floods), "--data.minutes_per_frame", "60", "--data.batch_size", "2"]
        main([verb, *options, *flags])

    return command


@pytest.fixture(scope="session")
def people_root(shared: Path) -> Path:
    """Small synthetic pictures of people in COCO's layout, made once for all workers of a run; do not change them."""
    from projects.pose import synthetic

    with FileLock(shared / "people.lock"), without_checks():
        counts = {"train": 6, "val": 3, "test": 3}
        synthetic.write_dataset(shared / "people", images=counts, size_hw=(120, 160), workers=1, progress=False)
    return shared / "people"


@pytest.fixture
def pose_command(people_root: Path, tmp_path: Path) -> Callable[..., None]:
    """Runs the public command in this process, with small pictures and a small network, writing below `tmp_path`."""
    from projects.pose.train import main

    def command(verb: str, *flags: str, small: bool = True) -> None:
        options = ["--runs", str(tmp_path / "runs")]
        if small:
            options += ["--data.root", str(people_root), "--model.size_hw", "[64,128]", "--data.batch_size", "2"]
        main([verb, *options, *flags])

    return command


@pytest.fixture
def ball_command(rallies: Path, tmp_path: Path) -> Callable[..., None]:
    """Runs the public command in this process, with small data and a small network, writing below `tmp_path`."""
    from projects.ball.train import main

    def command(verb: str, *flags: str, small: bool = True) -> None:
        options = ["--runs", str(tmp_path / "runs")]
        if small:
            options += ["--data.root", str(rallies), "--data.store", str(rallies.parent / "store")]
            options += ["--model.size_hw", "[64,96]"]
        main([verb, *options, *flags])

    return command
