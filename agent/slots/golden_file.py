"""A bundle's golden vectors: an .npz of plain numbers, read without believing what its headers say."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

from contract.errors import BadBundle

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_ARRAY_BYTES = 256 << 20
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# All that zipfile and numpy raise over bytes that are no archive, no array, or lie; RuntimeError is an encrypted member.
_NOT_GOLDEN = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    EOFError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TokenError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
)


def read_golden(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the `pixels` and `scores` of the .npz file at `path`, of whatever shapes they have.

    No object is unpickled, and no array is allocated that the file does not hold.

    Raises:
        BadBundle: it is no such file, lacks one of the two, holds other kinds of numbers or more than MAX_ARRAY_BYTES of them.
    """
    import numpy as np

    try:
        with zipfile.ZipFile(path) as archive:
            pixels, scores = _array(archive, "pixels.npy"), _array(archive, "scores.npy")
    except _NOT_GOLDEN as error:
        raise BadBundle(f"'{path.name}' holds no golden vectors: {error}") from error
    if pixels.dtype != np.uint8 or scores.dtype.kind not in "fiu":
        raise BadBundle(f"'{path.name}' holds golden vectors of {pixels.dtype} and {scores.dtype}")
    return pixels, np.asarray(scores, np.float32)


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    import numpy as np

    info = archive.getinfo(name)
    if info.compress_type not in _PLAIN:
        raise ValueError(f"'{name}' is compressed in an unknown way")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read_header(file)
        if dtype.hasobject or dtype.fields is not None or any(side < 0 for side in shape):
            raise ValueError(f"'{name}' holds no plain numbers")
        size = math.prod(shape) * dtype.itemsize
        if size > min(MAX_ARRAY_BYTES, info.file_size):
            raise ValueError(f"'{name}' claims {size} bytes, more than it holds or may hold")
        data = file.read(size)  # grows as the bytes come: a lie costs nothing
        if len(data) != size or file.read(1):
            raise ValueError(f"'{name}' does not hold the {size} bytes it claims")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
