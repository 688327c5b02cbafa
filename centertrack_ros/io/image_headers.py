# SPDX-License-Identifier: Apache-2.0
"""The headers of JPEG and PNG files in memory, read by Pillow: nothing is decoded."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

# About metadata that nobody here reads, several lines each.
warnings.filterwarnings("ignore", module=r"PIL\.")

JPEG_SIGNATURE, PNG_SIGNATURE = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class ImageHeader:
    """What a header claims.

    Attributes:
        width: Columns of the stored image, px; the EXIF orientation is not applied.
        height: Rows of the stored image, px.
        data_offset: Where the compressed pixels begin, bytes from the start of the file.
    """

    width: int
    height: int
    data_offset: int


def read_header(raw: bytes) -> ImageHeader:
    """Reads the header of a JPEG or PNG file of any claimed size (Pillow's limit of pixels is not applied).

    Raises:
        ValueError: The file is neither, or its header is malformed.
    """
    reader = JpegImageFile if raw.startswith(JPEG_SIGNATURE) else PngImageFile
    stream = io.BytesIO(raw)
    try:
        image = reader(stream)
    except Exception as error:  # whatever a malformed header makes Pillow raise
        raise ValueError(f"the header is malformed: {error}") from None
    return ImageHeader(image.width, image.height, stream.tell())


def has_end_marker(raw: bytes, header: ImageHeader) -> bool:
    """Whether a JPEG file runs from its header to its end marker; OpenCV fills up with grey what a shorter one lacks.

    The thumbnail in a header may have markers of its own. In the entropy-coded data that follow the header the bytes
    FF D9 cannot occur otherwise (ITU T.81, B.1.1.5).
    """
    return raw.find(b"\xff\xd9", header.data_offset) >= 0
