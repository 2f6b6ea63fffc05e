"""The one wait of all tests: `tests.support.waiting.eventually`."""

import pytest

from tests.support.waiting import eventually


def test_the_first_true_value_is_returned():
    values = iter([0, None, "third", "fourth"])
    assert eventually(lambda: next(values)) == "third"


def test_a_failed_assertion_means_not_yet():
    values = iter([1, 2, 3])

    def is_three() -> bool:
        assert next(values) == 3
        return True

    assert eventually(is_three)


def test_the_last_assertion_is_shown_when_time_is_up():
    def never() -> bool:
        raise AssertionError("two letters are missing")

    with pytest.raises(AssertionError, match="two letters are missing"):
        eventually(never, within_s=0)


def test_the_last_value_is_shown_when_time_is_up():
    with pytest.raises(AssertionError, match=r"still \[\] after 0 s"):
        eventually(list, within_s=0)


def test_another_error_ends_the_wait_at_once():
    with pytest.raises(ZeroDivisionError):
        eventually(lambda: 1 / 0)
