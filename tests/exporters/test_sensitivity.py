import pytest
import torch

from fastvit_cli.exporters.sensitivity import SENSITIVITY_IMAGES, largest_change, relative_change, some_of


@pytest.mark.parametrize(("form", "limit"), [("int8", 0.05), ("palettize6", 0.03), ("palettize8", 0.01)])
def test_one_layer_may_change_a_tenth_of_what_the_file_may(form: str, limit: float) -> None:
    assert largest_change(form) == pytest.approx(limit)


def test_the_change_is_a_share_of_the_norm() -> None:
    expected = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert relative_change(expected, expected) == 0.0
    assert relative_change(expected + torch.tensor([[0.0, 1.0], [0.0, 0.0]]), expected) == pytest.approx(0.2)


def test_images_are_taken_from_all_over() -> None:
    assert some_of(torch.arange(3)).tolist() == [0, 1, 2]
    for many in (SENSITIVITY_IMAGES, 31, 87, 1000):
        chosen = some_of(torch.arange(many)).tolist()
        assert (len(set(chosen)), chosen[0], chosen[-1]) == (SENSITIVITY_IMAGES, 0, many - 1)
        assert sorted(chosen) == chosen
