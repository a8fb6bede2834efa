"""A small segmentation network, exported once."""

from collections.abc import Iterator
from functools import cache

import pytest
from torch.onnx._internal.exporter._registration import ONNXRegistry

from tests.common.export.segmenter import Exported, export_segmenter


@pytest.fixture(scope="session", autouse=True)
def _one_table_of_operators() -> Iterator[None]:
    """The exporter makes its table of all operators anew for each network, which takes as long as a small network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        yield


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Its file is for reading only."""
    return export_segmenter(tmp_path_factory.mktemp("exported") / "net.onnx")
