"""Record the trainings of these tests in a folder of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def tracking_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("tracking") / "mlflow"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LIVESHELF_TRACKING_DIR", str(folder))
        yield folder
