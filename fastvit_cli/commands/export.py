"""`fastvit export`."""

from fastvit_cli.commands.inputs import announced_model, some_real_images
from fastvit_cli.errors import EXIT_DONE, EXIT_FAILED
from fastvit_cli.exporters.config import ExportConfig
from fastvit_cli.ui.session import Session


def export(config: ExportConfig, session: Session) -> int:
    """Write Core ML or ONNX, compared with PyTorch.

    Core ML is for iPhone and Mac, ONNX for servers. Branches, BatchNorms and layer scales are folded first. The
    Core ML file takes an RGB image and normalises it itself; it is executed operation by operation, so that it
    can be trusted without a Mac.

    Example: [cyan]fastvit export --ckpt best.safetensors --format coreml[/]
    """
    from fastvit_cli.exporters.export import export as write_export
    from fastvit_cli.ui.views import export_view

    loaded = announced_model(config, session, random_allowed=True)
    images = some_real_images(loaded.info.data, loaded.info.preprocessing.at_size(config.img_size), session)
    with session.bar("Exporting") as bar:
        result = write_export(config, loaded, images, lambda step: bar.describe(step.title))
    session.finish(result, export_view(result))
    return EXIT_DONE if result.check.passed else EXIT_FAILED
