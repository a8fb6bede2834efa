"""A small segmentation network, exported once."""

import pytest

from tests.common.export.segmenter import Exported, export_segmenter


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Its file is for reading only."""
    return export_segmenter(tmp_path_factory.mktemp("exported") / "net.onnx")
