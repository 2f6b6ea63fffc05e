"""The committed bundle, and the set that it learned from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
ESHOP = REPOSITORY / "models" / "artifacts" / "eshop"


@pytest.fixture(scope="session", autouse=True)
def tracking_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Trainings of tests are recorded in a folder of their own."""
    folder = tmp_path_factory.mktemp("tracking") / "mlflow"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LIVESHELF_TRACKING_DIR", str(folder))
        yield folder


@pytest.fixture(scope="session")
def eshop_file() -> Path:
    places = [
        REPOSITORY / "jobs" / "lab" / "replay" / "datasets" / "eshop2008.csv.gz",
        REPOSITORY.parent / "shared" / "data" / "eshop2008" / "eshop_clothing_2008.csv.gz",
    ]
    for place in places:
        if place.is_file():
            return place
    pytest.skip(f"the eshop clicks are in neither {places[0]} nor {places[1]}")


@pytest.fixture(scope="session")
def eshop_bundle_folder() -> Path:
    return ESHOP
