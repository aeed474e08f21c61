"""`fastvit reparam`."""

from fastvit_cli.commands.inputs import announced_data, announced_model, real_images
from fastvit_cli.errors import EXIT_DONE, EXIT_FAILED
from fastvit_cli.exporters.export_options import ReparamConfig
from fastvit_cli.ui.session import Session


def reparam(config: ReparamConfig, session: Session) -> int:
    """Fuse the branches, and prove that nothing changed.

    Each group of training-time branches becomes a single convolution. The proof compares the fusion in float64,
    block by block, and the written file, opened again, with the original in float32. --layout renames the
    weights for timm or for the reference program.

    Example: [cyan]fastvit reparam --ckpt best.safetensors[/]
    """
    from fastvit_cli.exporters.reparam import fuse_and_prove
    from fastvit_cli.ui.views import reparam_view

    loaded = announced_model(config, session, random_allowed=False)
    images = None
    if config.data is not None:
        images = real_images(announced_data(config.data, None, session), loaded.info).pixels
    with session.bar("Fusing") as bar:
        result = fuse_and_prove(config, loaded, images, lambda step: bar.describe(step.title))
    session.finish(result, reparam_view(result))
    return EXIT_DONE if result.passed else EXIT_FAILED
