"""OpenCV without its threads."""

from functools import cache
from types import ModuleType


@cache
def opencv() -> ModuleType:
    """The cv2 module.

    Single-threaded: the images of a batch are read in parallel, not the lines of an image. And a worker process that
    is forked from one whose OpenCV threads have run waits for them for ever.
    """
    import cv2

    cv2.setNumThreads(0)
    return cv2
