"""Steps that are timed alone."""

from types import SimpleNamespace

import pytest

from evonas.errors import UserError
from evonas.space.space import Axis, Space
from evonas.supernets.profile import distinct_steps


def test_a_step_of_too_many_genes_is_not_timed_by_each_combination():
    space = Space("wide", tuple(Axis(f"c{number}", (1, 2, 3)) for number in range(1, 20)))
    family = SimpleNamespace(space=space, places={(0, 0): tuple(space.spans)}, path=lambda _: ())
    with pytest.raises(UserError, match=r"one of 1162261467 by its 19 genes, too many to time") as caught:
        list(distinct_steps(family))
    assert "objective=[error,latency]" in caught.value.hint
    family.places = {(0, 0): ("c1", "c2")}
    assert list(distinct_steps(family)) == []
