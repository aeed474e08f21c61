"""`fastvit validate`."""

from fastvit_cli.commands.inputs import announced_data, announced_source, check_data
from fastvit_cli.errors import EXIT_DONE
from fastvit_cli.evaluation.config import ValidateConfig
from fastvit_cli.ui.session import Session


def validate(config: ValidateConfig, session: Session) -> int:
    """Score a model on a folder of images: top-1, top-5 and loss.

    The file says how it wants its images. It may be a checkpoint of any layout, fused or not, or an export.

    Example: [cyan]fastvit validate --ckpt best.safetensors --data photos[/]
    """
    from fastvit_cli.devices import resolve_device
    from fastvit_cli.evaluation.validate import validate as score
    from fastvit_cli.runtimes.open import open_source
    from fastvit_cli.ui.views import validation_view

    if config.check_data and config.data is not None:  # needs no model
        return check_data(announced_data(config.data, None, session), (config.split,), config, session)
    device = resolve_device(config.device)
    source = announced_source(config, session, random_allowed=False)
    runtime = open_source(source, device)
    data = announced_data(config.data, runtime.info.data, session)
    if config.check_data:
        return check_data(data, (config.split,), config, session)
    with session.bar("Validating") as bar:
        published = source.hub.published_top1 if source.hub else None
        result = score(config, runtime, data, source.name, published, bar.update, session.unreadable)
    session.finish(result, validation_view(result))
    return EXIT_DONE
