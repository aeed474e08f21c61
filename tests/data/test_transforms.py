"""The fast transforms: timm's draws, timm's crops, nearly timm's pixels."""

import pickle
import random
from collections import Counter

import numpy as np
import pytest
import torch
from helpers.photo import photo, photo_pixels
from PIL import Image
from timm.data import auto_augment, create_transform

from fastvit_cli.data import pixel_operations
from fastvit_cli.data.picture import Picture
from fastvit_cli.data.randomness import seed_sample
from fastvit_cli.data.transforms import FAST, PIL, Augmentation, evaluation_transform, training_transform
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.preprocessing import Preprocessing

pytestmark = pytest.mark.quick

SIZE = Preprocessing(img_size=64)
POLICIES = ["rand-m9-mstd0.5-inc1", "rand-m5-n3", "original-mstd0.5", "v0", "3a", "augmix-m3-w3", None]


def _picture() -> Picture:
    return Picture.of(np.array(photo()))


def test_pil_gives_timms_exact_pixels() -> None:
    preprocessing = Preprocessing(img_size=96, crop_pct=0.8)
    theirs = create_transform(96, interpolation="bicubic", crop_pct=0.8, use_prefetcher=True)(photo())
    ours = evaluation_transform(preprocessing, PIL)(_picture())
    assert np.array_equal(ours, np.asarray(theirs).transpose(1, 2, 0))


def test_fast_evaluation_is_close_to_it() -> None:
    for preprocessing in (Preprocessing(img_size=256), Preprocessing(img_size=160, interpolation="bilinear")):
        fast, exact = (evaluation_transform(preprocessing, kind)(_picture()) for kind in (FAST, PIL))
        assert np.abs(fast.astype(int) - exact).mean() < 0.02


def test_filters_that_torch_lacks_go_through_timm() -> None:
    preprocessing = Preprocessing(img_size=64, interpolation="lanczos")
    fast, exact = (evaluation_transform(preprocessing, kind)(_picture()) for kind in (FAST, PIL))
    assert np.array_equal(fast, exact)


@pytest.mark.parametrize("policy", POLICIES)
def test_training_draws_what_timm_draws(policy: str | None) -> None:
    """One seed, both ways: the same crop, mirror and operations, so nearly the same picture."""
    augmentation = Augmentation(auto_augment=policy)
    fast, exact = (training_transform(SIZE, augmentation, kind) for kind in (FAST, PIL))
    differences = []
    for sample in range(60):
        pictures = []
        for transform in (fast, exact):
            seed_sample(0, 1, sample)
            pictures.append(transform(_picture()).astype(int))
        differences.append(np.abs(pictures[0] - pictures[1]).mean())
        assert pictures[0].shape == (64, 64, 3)
    # One operation after another amplifies a rounding (equalize after a rotation); another draw would be some 40 off.
    assert np.mean(differences) < 1.0
    assert max(differences) < 12


def test_nothing_random_is_left_undrawn() -> None:
    """After the transform both ways have drawn as often, from each generator."""
    after = []
    for kind in (FAST, PIL):
        transform = training_transform(SIZE, Augmentation(), kind)
        seed_sample(0, 0, 5)
        transform(_picture())
        after.append((random.random(), np.random.rand(), float(torch.rand(1))))
    assert after[0] == after[1]


def test_operations_are_drawn_as_timm_draws_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 images' worth of draws against timm's own policy: how often each operation, and how strong."""
    draws = 100_000
    drawn: list[tuple[str, float]] = []

    def recorder(name: str) -> object:
        def record(image: object, *arguments: float, **_: object) -> object:
            drawn.append((name, float(arguments[0]) if arguments else 0.0))
            return image

        record.__name__ = name
        return record

    names = {operation.__name__ for operation in auto_augment.NAME_TO_OP.values()}
    for name in names:
        monkeypatch.setattr(pixel_operations, name, recorder(name), raising=False)
    policy = training_transform(SIZE, Augmentation()).changes.transforms[0]  # type: ignore[attr-defined]
    random.seed(1)
    np.random.seed(1)
    for _ in range(draws):
        policy(np.zeros((1, 1, 3), np.uint8))
    ours = list(drawn)

    drawn.clear()
    theirs = auto_augment.rand_augment_transform("rand-m9-mstd0.5-inc1", {"img_mean": (124, 116, 104)})
    for operation in theirs.ops:
        operation.aug_fn = recorder(operation.aug_fn.__name__)
    random.seed(2)
    np.random.seed(2)
    for _ in range(draws):
        theirs(Image.new("RGB", (1, 1)))
    expected = 2 * draws * 0.5 / 15
    counts, their_counts = (Counter(name for name, _ in list_) for list_ in (ours, drawn))
    assert counts.keys() == their_counts.keys()
    assert len(counts) == 15
    for name, count in counts.items():
        assert abs(count - expected) < 5 * expected**0.5, name  # five standard deviations
        assert abs(count - their_counts[name]) < 7 * expected**0.5, name
        strengths, their_strengths = (np.array([value for n, value in list_ if n == name]) for list_ in (ours, drawn))
        spread = max(float(their_strengths.std()), 1e-9)
        assert abs(strengths.mean() - their_strengths.mean()) <= 5 * spread / len(strengths) ** 0.5 + 1e-9, name
        assert abs(strengths.std() - their_strengths.std()) <= 0.05 * spread + 1e-9, name


def test_colour_jitter_only_where_there_is_no_policy() -> None:
    pixels = photo_pixels(64)

    def changes(augmentation: Augmentation) -> bool:
        seed_sample(0, 0, 1)
        whole = Augmentation(1.0, 0.0, augmentation.auto_augment, augmentation.color_jitter)
        transform = training_transform(SIZE, whole)
        return not np.array_equal(transform.changes(pixels), pixels)  # type: ignore[attr-defined]

    assert changes(Augmentation(auto_augment=None))
    assert not changes(Augmentation(auto_augment=None, color_jitter=0.0))
    jittered = training_transform(SIZE, Augmentation(auto_augment="rand-m9-p0"))
    assert np.array_equal(jittered.changes(pixels), pixels)  # type: ignore[attr-defined]


def test_mirroring_happens_as_often_as_asked() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, :32] = 255
    for probability in (0.0, 0.5, 1.0):
        transform = training_transform(SIZE, Augmentation(1.0, probability, None, 0.0))
        mirrored = 0
        for sample in range(200):
            seed_sample(0, 0, sample)
            mirrored += int(transform(Picture.of(pixels))[32, 60, 0] > 128)
        assert abs(mirrored - 200 * probability) <= 35 * (probability == 0.5)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", [FAST, PIL])
def test_transforms_can_be_sent_to_spawned_workers(policy: str | None, kind: str) -> None:
    transform = training_transform(SIZE, Augmentation(auto_augment=policy), kind)
    sent = pickle.loads(pickle.dumps(transform))
    pictures = []
    for one in (transform, sent):
        seed_sample(0, 0, 3)
        pictures.append(one(_picture()))
    assert np.array_equal(*pictures)


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 400, 3), (400, 3, 3)])
def test_odd_shapes_can_be_trained_on(shape: tuple[int, ...]) -> None:
    transform = training_transform(SIZE, Augmentation())
    for sample in range(20):
        seed_sample(0, 0, sample)
        assert transform(Picture.of(np.full(shape, 9, np.uint8))).shape == (64, 64, 3)


@pytest.mark.parametrize("policy", ["rnad-m9", "rand-z9", "v9"])
def test_a_policy_that_timm_does_not_know(policy: str) -> None:
    with pytest.raises(FastViTError, match="knows no augmentation policy"):
        training_transform(SIZE, Augmentation(auto_augment=policy))
