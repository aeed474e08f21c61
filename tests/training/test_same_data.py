"""A run goes on with the data it was trained on, or is not resumed."""

import pytest

from fastvit_cli.errors import FastViTError
from fastvit_cli.training.same_data import TrainedOn, refuse_other_data

SAVED = {"class_names": ("ant", "bee", "cow"), "train_images": 1200}


def test_the_same_data_passes() -> None:
    refuse_other_data(SAVED, TrainedOn(("ant", "bee", "cow"), 1200), "")
    refuse_other_data({"class_names": ("cafe\u0301",), "train_images": 1}, TrainedOn(("caf\u00e9",), 1), "")


@pytest.mark.parametrize(
    ("names", "images", "change"),
    [
        (("ant", "cow", "zebra"), 1200, "class 'bee' is gone, class 'zebra' is new."),
        (("cow",), 400, "classes 'ant', 'bee' are gone, there are 400 training images and were 1,200."),
        (("ant", "bee", "cow"), 1201, "there are 1,201 training images and were 1,200."),
        (("cow", "bee", "ant"), 1200, "the classes are in another order."),
        (("ant", "bee", "cow", *"defghi"), 1200, "classes 'd', 'e', 'f' and 3 more are new."),
    ],
)
def test_what_has_changed_is_named(names: tuple[str, ...], images: int, change: str) -> None:
    with pytest.raises(FastViTError) as caught:
        refuse_other_data(SAVED, TrainedOn(names, images), "begin anew")
    assert caught.value.message == f"The data has changed since the state was saved: {change}"
    assert caught.value.hint == "Put it back, or begin anew."
