"""A Kafka that is named to be asked for consents, and isn't there."""

from pathlib import Path

import pytest

from jobs.errors import ServiceError
from jobs.person.asked import ask
from jobs.settings import Settings


def test_a_broker_that_is_named_has_to_answer(tmp_path: Path) -> None:
    """It waits as long as whoever reads a topic does: 30 s."""
    with pytest.raises(ServiceError, match="or --consent none"):
        ask(Settings(state_dir=tmp_path), "127.0.0.1:1")
