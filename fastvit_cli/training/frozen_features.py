"""Features of a frozen backbone: computed once a view, then read from memory, so that a head trains in seconds."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.data.loader import Batch, EpochBatches, ImageLoader
from fastvit_cli.data.samples import Unreadable
from fastvit_cli.devices import describe_device
from fastvit_cli.distributed import World
from fastvit_cli.evaluation.evaluate import SplitWhenOutOfMemory
from fastvit_cli.models.fusion import fuse_all
from fastvit_cli.models.network import FastViT
from fastvit_cli.runtimes.torch_runtime import TorchRuntime

OnImages = Callable[[int, int, int], None]
"""Called with (images done, images in all, view from 1)."""


class FeatureLoader:
    """Batches of features (B, C) in place of images.

    Epoch e sees view e % views of each image: the first as `loader` gives it, view v as `changed` draws it for epoch
    v. A view is computed when it is first needed; a resumed run computes it again, to the same bits.

    Attributes:
        images, options, unreadable: see `ImageLoader`.
        views: of each image.
    """

    def __init__(
        self, backbone: TorchRuntime, views: int, loader: ImageLoader, changed: ImageLoader | None = None
    ) -> None:
        assert views == 1 or changed is not None
        self._loader, self._changed = loader, changed
        self._features_of = SplitWhenOutOfMemory(backbone)
        self._computed: dict[int, Batch] = {}
        self.views = views
        self.images, self.options, self.unreadable = loader.images, loader.options, loader.unreadable
        self._batches = EpochBatches(
            len(loader.images), loader.options.batch_size, training=loader.options.training, seed=loader.options.seed
        )

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self._batches)

    @property
    def seconds_waited(self) -> float:
        """For images while an epoch lasts: none, for they are read before it."""
        return 0.0

    def share_unreadable(self, world: World) -> tuple[Unreadable, ...]:
        """As `ImageLoader.share_unreadable`."""
        return self._loader.share_unreadable(world)

    def all_deep(self, world: World) -> dict[str, int]:
        """As `ImageLoader.all_deep`."""
        return self._loader.all_deep(world)

    def compute(self, epoch: int, on_images: OnImages | None = None) -> None:
        """Make the features that an epoch needs, unless they are there."""
        view = epoch % self.views
        if view in self._computed:
            return
        features: list[Tensor] = []
        labels: list[Tensor] = []
        unreadable: list[Unreadable] = []
        loader = self._changed if view and self._changed is not None else self._loader
        for batch in loader.in_order(view):
            unreadable += batch.unreadable
            if len(batch.labels):
                features.append(self._features_of(batch.images))
                labels.append(batch.labels)
            if on_images is not None:
                on_images(sum(map(len, labels)), len(self.images), view + 1)
        self._computed[view] = Batch(torch.cat(features), torch.cat(labels), (), tuple(unreadable))

    def epoch(self, epoch: int = 0, first_batch: int = 0) -> Iterator[Batch]:
        """As `ImageLoader.epoch`; the images that could not be read are named with the first batch."""
        self.compute(epoch)
        view = self._computed[epoch % self.views]
        self._batches.epoch, self._batches.first_batch = epoch, first_batch
        unreadable = view.unreadable if epoch < self.views else ()
        for index in self._batches:
            chosen = [sample for sample in index.samples if sample < len(view.labels)]
            yield Batch(view.images[chosen], view.labels[chosen], tuple(chosen), unreadable)
            unreadable = ()


def frozen_backbone(network: FastViT, info: ModelInfo, device: torch.device) -> TorchRuntime:
    """What gives the features: everything before the classifier, fused for speed; images to (B, C)."""
    backbone = fuse_all(network)
    backbone.head.fc = nn.Identity()
    return TorchRuntime(backbone, info, device)


class HeadRuntime:
    """The classifier of a network alone, on features (B, C). See `runtimes.base.Runtime`."""

    engine = "torch"

    def __init__(self, network: FastViT, info: ModelInfo, device: torch.device) -> None:
        self._head = network.get_submodule("head.fc")
        self.info = info
        self.device = device
        self.device_name = describe_device(device)

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        out: Tensor = self._head(images.to(self.device, non_blocking=True))
        return out.float().cpu()
