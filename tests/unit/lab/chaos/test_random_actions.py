"""What a seed draws."""

from jobs.lab.chaos import random_actions


def test_seed_draws_the_same_rounds_again_and_another_seed_others() -> None:
    first, again, other = (random_actions.rounds(seed) for seed in (7, 7, 8))
    assert [each.what for each in first] == [each.what for each in again]
    assert [each.what for each in first] != [each.what for each in other]
    assert len(first) > 5


def test_last_round_ends_with_last_action_even_without_a_verify() -> None:
    rounds = random_actions.rounds(1, actions=3)
    assert rounds
    assert all(each.events >= 100 for each in rounds)
