"""Which checkpoint is proposed, and the reason that is given for it."""

from __future__ import annotations

from chatlab.evaluation.checkpoint_selection import CheckpointMetrics, choose


def curve(*points: tuple[float | None, float]) -> list[CheckpointMetrics]:
    """Points at the steps 10, 20, ...: (loss on what was kept aside, forgetting)."""
    return [
        CheckpointMetrics(step=10 * n, held_out_loss=loss, forgetting=forgot)
        for n, (loss, forgot) in enumerate(points, 1)
    ]


def test_the_end_is_proposed_while_the_loss_falls_and_little_is_forgotten() -> None:
    choice = choose(curve((3.0, 0.1), (2.5, 0.5), (2.2, 1.1)))
    assert choice and choice.step == 30 and "fell to the end" in choice.why


def test_a_loss_that_rises_again_names_the_step_before() -> None:
    choice = choose(curve((3.0, 0.1), (2.5, 0.5), (2.8, 1.1)))
    assert choice and choice.step == 20 and "rose from 2.50 to 2.80" in choice.why


def test_what_brought_next_to_nothing_is_not_worth_its_forgetting() -> None:
    choice = choose(curve((3.0, 0.1), (2.5, 0.5), (2.495, 1.9)))
    assert choice and choice.step == 20 and "hardly improve" in choice.why


def test_a_better_loss_is_not_bought_with_much_forgetting() -> None:
    choice = choose(curve((3.0, 0.1), (2.5, 1.9), (2.0, 6.5)))
    assert choice and choice.step == 20 and "+6.5 % forgetting" in choice.why


def test_where_all_forgot_much_the_least_is_proposed_and_that_is_said() -> None:
    choice = choose(curve((3.0, 4.0), (2.5, 9.0)))
    assert choice and choice.step == 10 and "All forget more than 2 %" in choice.why


def test_nothing_is_proposed_where_nothing_was_kept_aside_or_there_is_one_point() -> None:
    assert choose(curve((None, 0.1), (None, 0.5))) is None
    assert choose(curve((2.0, 0.1))) is None
