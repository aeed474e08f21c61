"""The tables of `fastvit validate`."""

from __future__ import annotations

from fastvit_cli.evaluation.class_metrics import ClassScore
from fastvit_cli.ui.validation_views import worst_classes


def test_two_classes_of_one_name_may_be_equally_bad() -> None:
    """As ImageNet's bird and its machine called crane."""
    bird, machine = ClassScore("crane", 5, 6, 60.0, 50.0, 54.5), ClassScore("crane", 5, 4, 50.0, 60.0, 54.5)
    worse, good = ClassScore("dog", 5, 1, 20.0, 100.0, 33.3), ClassScore("emu", 5, 5, 100.0, 100.0, 100.0)
    assert worst_classes((bird, good, machine, worse), 3) == (worse, bird, machine)
