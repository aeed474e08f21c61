"""`fastvit export`."""

from dataclasses import replace

from fastvit_cli.commands.inputs import SOME_IMAGES, announced_model, real_images_of
from fastvit_cli.errors import EXIT_DONE, EXIT_FAILED
from fastvit_cli.exporters.export_options import ExportConfig
from fastvit_cli.ui.session import Session

LOSSY_IMAGES = 256  # fewer bits cost a point or two of top-1, which 16 images cannot show
CALIBRATION_IMAGES = 512  # a quarter of them leaves int8 a point or two less accurate


def export(config: ExportConfig, session: Session) -> int:
    """Write Core ML, ONNX and other files, compared with PyTorch.

    Core ML is for iPhone and Mac, ONNX for servers; --list shows the others, and what each can be asked for.
    Branches, BatchNorms and layer scales are folded first. The Core ML file takes an RGB image and normalises it
    itself; it is executed operation by operation, so that it can be trusted without a Mac.

    Example: [cyan]fastvit export --ckpt best.safetensors --format coreml[/]
    """
    if config.list:
        return _list_formats(session)
    from fastvit_cli.exporters.export import write_export
    from fastvit_cli.exporters.outputs import Calibration, Step
    from fastvit_cli.exporters.sensitivity import SENSITIVITY_IMAGES
    from fastvit_cli.runtimes.quiet import heard_libraries
    from fastvit_cli.ui.export_views import export_view

    loaded = announced_model(config, session, random_allowed=True)
    info = replace(loaded.info, preprocessing=loaded.info.preprocessing.at_size(config.img_size))
    wanted = {"val": SOME_IMAGES}
    if config.is_lossy:
        wanted = {"val": LOSSY_IMAGES, "train": CALIBRATION_IMAGES if config.compress is None else SENSITIVITY_IMAGES}
    images = real_images_of(config.data, info, session, wanted, any_will_do=not config.is_lossy)
    with session.bar("Exporting") as bar, heard_libraries(session.verbose):

        def on_step(step: Step) -> None:
            bar.describe(step.title)
            bar.update(step.done, step.total)

        calibration = Calibration(images["train"].pixels, bar.update) if "train" in images else None
        result = write_export(config, loaded, images["val"], on_step, calibration)
    session.finish(result, export_view(result))
    return EXIT_DONE if result.check.passed else EXIT_FAILED


def _list_formats(session: Session) -> int:
    from fastvit_cli.exporters.format_list import list_formats
    from fastvit_cli.ui.export_views import formats_view

    formats = list_formats()
    session.finish(formats, formats_view(formats))
    return EXIT_DONE
