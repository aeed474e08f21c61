import torch

from fastvit_cli.data.mixing import BatchMixer, MixingConfig
from fastvit_cli.data.randomness import seed_batch

CPU = torch.device("cpu")


def test_nothing_to_mix_changes_nothing() -> None:
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    mixed, targets = BatchMixer(MixingConfig(0.0, 0.0, 0.0, 0.1), 3, CPU)(images, labels)
    assert torch.equal(mixed, images)
    assert torch.equal(targets, labels)


def test_mixed_targets_are_distributions_and_a_function_of_the_batch() -> None:
    mixer = BatchMixer(MixingConfig(mixup=0.8, cutmix=1.0, random_erasing=0.5, label_smoothing=0.1), 3, CPU)
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])

    def mixed(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        seed_batch(0, 1, batch)
        return mixer(images.clone(), labels)

    first, again, other = mixed(5), mixed(5), mixed(6)
    assert first[1].shape == (4, 3)
    assert torch.allclose(first[1].sum(1), torch.ones(4))
    assert first[1].min() > 0, "label smoothing reaches every class"
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
