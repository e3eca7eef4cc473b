"""The spend guard while X's usage is down, the volume is ruined and the clock jumps."""

from pathlib import Path

import pytest

from local.chaos.gaps import Missing
from local.chaos.spend import BUDGET, CHUNK, Spending, spend

# A reader that knows no count asks X each 20 s; the run waits for that twice.
pytestmark = pytest.mark.timeout(240)


def test_a_budget_is_not_passed_by_more_than_a_chunk(tmp_path: Path) -> None:
    """X's own count decides; nothing is bought while no count can be trusted, nothing is lost."""
    spent = spend(seed=3, data=tmp_path, kills=3)
    assert spent.failures() == []
    assert spent.kills == 5
    assert spent.while_unknown == 0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"bought": BUDGET + CHUNK + 1}, "1049 posts bought of a budget of 1000"),
        ({"bought": 10}, "only 10 posts bought of a budget of 1000"),
        ({"while_unknown": 7}, "7 posts bought while no count could be trusted"),
        ({"missing": Missing((), (5,))}, "1 posts lost beside the budget"),
        ({"doubled": (5, 6)}, "2 posts doubled beside the budget"),
    ],
)
def test_each_wrong_figure_of_a_budget_fails(wrong: dict[str, object], words: str) -> None:
    """The judge of a budget sees each of its figures."""
    right = {"bought": 900, "while_unknown": 0, "kills": 3}
    figures = right | {"missing": Missing((7,), ()), "doubled": ()} | wrong
    assert Spending(**figures).failures() == [words]  # type: ignore[arg-type]
