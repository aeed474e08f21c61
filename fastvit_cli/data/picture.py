"""One image of a data set, decoded once it is known how much of it will be seen."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastvit_cli.data import turbojpeg
from fastvit_cli.data.decoding import UPRIGHT, Box, Pixels, decode, decode_with_depth, orientation, plain_jpeg_size
from fastvit_cli.errors import first_line
from fastvit_cli.limits import limit_reached

if TYPE_CHECKING:
    from PIL.Image import Image


class UnreadableImageError(ValueError):
    """A damaged file, with the decoder's words."""


@dataclass(frozen=True, eq=False)
class Picture:
    """An image that transforms take their part of. Decoded as a whole or in part, its pixels are the same.

    Attributes:
        height, width: in pixels, upright where that was asked for.
        content: its pixels, (height, width, 3); or a JPEG's bytes.
        deep: what it was where it had more than 8 bits, such as "16-bit PNG".
    """

    height: int
    width: int
    content: "Pixels | bytes"
    deep: str | None = None

    @classmethod
    def open(cls, encoded: "bytes | Image", *, exif: bool = False) -> "Picture":
        """Look at an encoded image, and decode it if it will be needed as a whole anyway.

        For the arguments and errors see `decode`.
        """
        if isinstance(encoded, bytes) and turbojpeg.available():
            size = plain_jpeg_size(encoded)
            if size is not None and not (exif and orientation(encoded) != UPRIGHT):
                return cls(*size, encoded)
        return cls.of(*decode_with_depth(encoded, exif=exif))

    @classmethod
    def of(cls, pixels: Pixels, deep: str | None = None) -> "Picture":
        """Pixels as a picture."""
        height, width = pixels.shape[:2]
        return cls(height, width, pixels, deep)

    def pixels(self) -> Pixels:
        """All of it, (height, width, 3).

        Raises:
            UnreadableImageError: it cannot be decoded.
        """
        if not isinstance(self.content, bytes):
            return self.content
        try:
            return decode(self.content)
        except Exception as error:  # decoders raise many types on damaged files
            raise UnreadableImageError(reason_of(error)) from error

    def up_to(self, box: Box) -> Pixels:
        """Pixels of which those within the box are right: (H, W, 3), H and W at least its bottom and right.

        Raises:
            UnreadableImageError: it cannot be decoded.
        """
        if isinstance(self.content, bytes) and (box.height, box.width) != (self.height, self.width):
            part = turbojpeg.decode_part(self.content, box)
            if part is not None:
                return part
        return self.pixels()


def reason_of(error: Exception) -> str:
    """What a decoder said, in one line.

    Raises:
        Exception: the error itself, where a limit of the system is to blame and not the image.
    """
    from PIL import UnidentifiedImageError

    if limit_reached(error) is not None:
        raise error
    if isinstance(error, UnidentifiedImageError):
        return "no image of a known kind"  # the message names an object in memory
    return first_line(error)
