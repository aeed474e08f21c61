"""`fastvit predict`."""

from fastvit_cli.commands.inputs import announced_source
from fastvit_cli.errors import EXIT_DONE, EXIT_FAILED
from fastvit_cli.evaluation.validate_options import TABLE, PredictConfig
from fastvit_cli.ui.session import Session


def predict(config: PredictConfig, session: Session) -> int:
    """Name what is on images: the most probable classes of each, with their probabilities.

    Images, folders and globs come first, then options. The model may be a checkpoint or an export. Images are
    turned upright by their EXIF orientation, but not for a model that was trained without.

    Example: [cyan]fastvit predict photo.jpg holiday/ --ckpt best.safetensors[/]
    """
    from fastvit_cli.data.deep_images import deep_words
    from fastvit_cli.data.passed_over import passed_over_words
    from fastvit_cli.devices import use_device
    from fastvit_cli.evaluation.predict import find_images, guess
    from fastvit_cli.runtimes.engines import with_engine
    from fastvit_cli.runtimes.open import open_source
    from fastvit_cli.ui.console import writing_to_stdout
    from fastvit_cli.ui.predict_view import predict_view, print_rows

    device = use_device(config.device)
    session.device = str(device)
    found = find_images(config.images)
    passed_over = passed_over_words(found.passed_over)
    if passed_over:
        session.note(passed_over, style="yellow")
    source = announced_source(config, session, random_allowed=False)
    opened = open_source(source, device, session.note, config.trust)
    size = opened.info.preprocessing.at_size(config.img_size).img_size
    chosen = with_engine(opened, config.engine, size, len(found.paths))
    session.note(f"Engine: {chosen.runtime.engine} on {chosen.runtime.device_name} ({chosen.reason}).")
    with session.bar("Predicting") as bar:
        result = guess(config, chosen.runtime, found, source.name, bar.update)
    if result.deep:
        session.note(f"Read {deep_words(result.deep)}.")
    if config.format == TABLE or session.json:
        session.finish(result, predict_view(result))
    else:
        with writing_to_stdout():
            print_rows(result, config.format)
    return EXIT_FAILED if all(row.error for row in result.images) else EXIT_DONE
