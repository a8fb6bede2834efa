"""Notebooks are committed without outputs and run from top to bottom on a small run."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

from tests.kernels import Kernels

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BALL = ROOT / "notebooks" / "ball.ipynb"
CLOUDS = ROOT / "notebooks" / "clouds.ipynb"
FLOOD = ROOT / "notebooks" / "flood.ipynb"
POSE = ROOT / "notebooks" / "pose.ipynb"
NUMBERS = """
import sys
print(json.dumps({"python": sys.executable, "windows": len(frames), "tp": int((errors <= tau).sum()),
                  "fp1": int((errors > tau).sum()), "median_px": float(errors.median())}))
"""
CLOUD_NUMBERS = """
print(json.dumps({"curves": [axis.get_title() for axis in axes.flat if axis.lines], "scenes": len(scenes),
                  "iou": scenes["iou"].mean(), "boundary_f": scenes["boundary_f"].mean()}))
"""
FLOOD_NUMBERS = """
print(json.dumps({"simulations": len(simulations), **simulations[["csi_005", "h_rmse", "q_rmse"]].mean().to_dict(),
                  "persistence": scores["persistence"].compute()["h_rmse"], "answers": list(scores)}))
"""
POSE_NUMBERS = """
print(json.dumps({"curves": [axis.get_title() for axis in axes.flat if axis.lines], "pictures": len(pictures),
                  **{name: joints[name].sum() / joints["labelled"].sum() for name in ("right", "mean_pose")}}))
"""

Open = Callable[..., NotebookNode]


@pytest.fixture(scope="module")
def kernels() -> Iterator[Kernels]:
    with Kernels() as started:
        yield started


@pytest.fixture
def opened(kernels: Kernels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Runs a notebook as Jupyter does, in its own folder, but surely with the Python that runs the tests."""
    monkeypatch.setattr("jupyter_client.provisioning.local_provisioner.launch_kernel", kernels.launch)
    write_kernel_spec(str(tmp_path / "jupyter" / "kernels" / "python3"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("MPLBACKEND", raising=False)

    def run(path: Path, *more_cells: str, **variables: object) -> NotebookNode:
        for name in ("RUN", "VIDEO", "SCENE", "SIMULATION", "PICTURE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        notebook: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        notebook.cells += [nbformat.v4.new_code_cell(source) for source in more_cells]  # type: ignore[no-untyped-call]
        place = {"metadata": {"path": str(path.parent)}}
        NotebookClient(notebook, timeout=600, startup_timeout=600, resources=place).execute()
        return notebook

    return run


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_committed(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:  # type: ignore[no-untyped-call]
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None), f"strip it: nbstripout {path}"


def test_ball_shows_a_run(opened: Open, ball_command: Callable[..., None], rallies: Path, tmp_path: Path) -> None:
    # Nine frames, and a threshold that every score passes: then there are best frames even of an untrained network.
    ball_command("fit", "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--model.threshold", "0",
                 "--trainer.limit_val_batches", "2", "--trainer.num_sanity_val_steps", "0",
                 "--trainer.log_every_n_steps", "1", "--trainer.accelerator", "cpu",
                 "--model.offsets", "[-4,-3,-2,-1,0,1,2,3,4]", "--model.net.encoder", "tu-test_byobnet",
                 "--model.net.options", "{encoder_depth: 3, decoder_channels: [16, 8, 8]}")  # fmt: skip
    run = tmp_path / "runs" / "ball" / "latest"
    video = next((rallies / "test" / "videos").iterdir())
    notebook = opened(BALL, NUMBERS, RUN=run, VIDEO=video)

    assert {kind: len(_outputs(notebook, kind)) for kind in ("image/png", "text/html")} == {
        "image/png": 6,  # curves, worst, best, random, histograms, frames of the video
        "text/html": 3,  # scores, counts, rows of the video's table
    }
    summary = json.loads((run / "summary.json").read_text())
    scores = _outputs(notebook, "text/html")[0]
    assert all(name in scores for name in ("model", *summary["baselines"], "accuracy", "median_px"))
    assert summary["command"] in _printed(notebook)
    assert len((run / "predict" / f"{video.stem}_ball.csv").read_text().splitlines()) > 1
    numbers = json.loads(notebook.cells[-1].outputs[0].text)
    assert Path(numbers["python"]) == Path(sys.executable)
    assert 0 < numbers["windows"] <= 200, "all windows of the split, or the scores below are of others"
    for name in ("tp", "fp1", "median_px"):
        assert numbers[name] == pytest.approx(summary[f"test/{name}"], rel=1e-4)


def test_a_notebook_sees_nothing_of_the_one_before(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "empty.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), path)  # type: ignore[no-untyped-call]
    look = "import os, torch\nprint([os.getcwd(), 'LEFT' in os.environ, hasattr(torch, 'left'), 'left' in globals()])"
    leave = "torch.left = left = os.environ['LEFT'] = 'x'; os.chdir('/')"
    for _ in range(2):
        assert _printed(opened(path, look, leave)) == f"{[str(tmp_path), False, False, False]}\n"
    with pytest.raises(DeadKernelError):
        opened(path, "import os", "os.kill(os.getpid(), 9)")


def test_ball_without_a_run_says_how_to_make_one(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(CellExecutionError, match=r"python -m projects\.ball\.train fit") as stop:
        opened(BALL, RUN=tmp_path / "absent")
    assert stop.value.ename == "UserError"
    assert str(tmp_path / "absent") in stop.value.evalue


def test_clouds_shows_a_run(
    opened: Open, cloud_command: Callable[..., None], cloud_scenes: Path, tmp_path: Path
) -> None:
    cloud_command("fit", "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2",
                  "--trainer.num_sanity_val_steps", "0", "--trainer.log_every_n_steps", "1",
                  "--trainer.accelerator", "cpu", "--model.criterion.mse", "1")  # fmt: skip
    run = tmp_path / "runs" / "clouds" / "latest"
    scene = min((cloud_scenes / "subscenes").iterdir())
    notebook = opened(CLOUDS, CLOUD_NUMBERS, RUN=run, SCENE=scene)

    assert {kind: len(_outputs(notebook, kind)) for kind in ("image/png", "text/html")} == {
        "image/png": 6,  # curves, worst, best, random, all of them, the scene
        "text/html": 2,  # scores, scenes
    }
    summary = json.loads((run / "summary.json").read_text())
    scores = _outputs(notebook, "text/html")[0]
    assert all(name in scores for name in ("model", *summary["baselines"], "iou", "scene_boundary_f"))
    assert summary["command"] in _printed(notebook)
    assert (run / "predict" / scene.name).is_file()
    numbers = json.loads(notebook.cells[-1].outputs[0].text)
    assert numbers["curves"] == ["loss", "bce", "dice", "mse", "score", "learning rate", "gradient norm"]
    assert numbers["scenes"] == 2, "all scenes of the split, or the scores below are of others"
    for name in ("iou", "boundary_f"):
        assert numbers[name] == pytest.approx(summary[f"test/scene_{name}"], rel=1e-4)


def test_flood_shows_a_run(opened: Open, flood_command: Callable[..., None], floods: Path, tmp_path: Path) -> None:
    flood_command("fit", "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2",
                  "--trainer.num_sanity_val_steps", "0", "--trainer.log_every_n_steps", "1",
                  "--trainer.accelerator", "cpu")  # fmt: skip
    run = tmp_path / "runs" / "forecast" / "latest"
    simulation = min(path for path in floods.iterdir() if path.name.startswith("test"))
    notebook = opened(FLOOD, FLOOD_NUMBERS, RUN=run, SIMULATION=simulation)

    assert {kind: len(_outputs(notebook, kind)) for kind in ("image/png", "image/gif", "text/html")} == {
        "image/png": 6,  # learning, curves, worst and best, all of them, activity, latent
        "image/gif": 1,  # the film
        "text/html": 3,  # scores, simulations, the forecast's steps
    }
    summary = json.loads((run / "summary.json").read_text())
    shown = _outputs(notebook, "text/html")[0]
    assert all(name in shown for name in ("model", *summary["baselines"], "csi_005", "h_rmse"))
    assert summary["command"] in _printed(notebook)
    assert (run / "predict" / simulation.name / f"{simulation.name}.csv").is_file()
    numbers = json.loads(notebook.cells[-1].outputs[0].text)
    assert numbers["simulations"] == 2, "all simulations of the split, or the scores below are of others"
    assert numbers["answers"] == ["model", "persistence", "linear", "training_mean"]
    for name in ("csi_005", "h_rmse", "q_rmse"):
        assert numbers[name] == pytest.approx(summary[f"test/{name}"], rel=1e-4)
    assert numbers["persistence"] == pytest.approx(summary["baselines"]["persistence"]["test/h_rmse"], rel=1e-4)


def test_pose_shows_a_run(opened: Open, pose_command: Callable[..., None], people_root: Path, tmp_path: Path) -> None:
    # Thresholds that everything passes: then there are people even of an untrained network.
    pose_command("fit", "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2",
                 "--trainer.num_sanity_val_steps", "0", "--trainer.log_every_n_steps", "1",
                 "--trainer.check_val_every_n_epoch", "1", "--trainer.accelerator", "cpu",
                 "--model.size_hw", "[64,128]", "--model.decoder.threshold", "0",
                 "--model.decoder.paf_threshold", "0", "--model.decoder.agreeing", "0")  # fmt: skip
    run = tmp_path / "runs" / "pose" / "latest"
    picture = min((people_root / "test2017").iterdir())
    notebook = opened(POSE, POSE_NUMBERS, RUN=run, PICTURE=picture)

    assert {kind: len(_outputs(notebook, kind)) for kind in ("image/png", "text/html")} == {
        "image/png": 10,  # curves, worst, most, best, random, people, joints, two of the stages, the picture
        "text/html": 5,  # scores, stages, pictures, joints, people of the picture
    }
    summary = json.loads((run / "summary.json").read_text())
    scores, stages = _outputs(notebook, "text/html")[:2]
    assert all(name in scores for name in ("model", *summary["baselines"], "ap50", "pck"))
    assert all(name in stages for name in ("paf/1", "heat/1", "activity"))
    assert summary["command"] in _printed(notebook)
    assert (run / "predict" / picture.stem / f"{picture.stem}_pose.jpg").is_file()
    numbers = json.loads(notebook.cells[-1].outputs[0].text)
    assert numbers["curves"][:3] == ["loss", "loss of the field stages", "loss of the heatmap stages"]
    assert numbers["pictures"] == 3, "all pictures of the split, or the scores below are of others"
    assert numbers["right"] == pytest.approx(summary["test/pck"], rel=1e-4)
    assert numbers["mean_pose"] == pytest.approx(summary["baselines"]["mean_pose"]["test/pck"], rel=1e-4)
    assert numbers["mean_pose"] > 0


def _outputs(notebook: NotebookNode, kind: str) -> list[str]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


def _printed(notebook: NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.get("name") == "stdout")
