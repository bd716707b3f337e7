"""A seeded 64-d random projection of the 32x32 thumbnail, and 256 random Fourier features of it.

The projection's signs and the Fourier frequencies come from SHAKE-256 of the seed and not from a numpy generator, whose
streams may change between versions: the same seed must mean the same sketch for the life of a fleet.
Source: Achlioptas 2003 (sign projections); Rahimi and Recht 2007 (random Fourier features).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

THUMBNAIL_SIDE = 32
PROJECTIONS = 64
FOURIER = 256
FOURIER_SCALE = 1 << 12

_UNTHREADED = 1 << 18

# Distance of two standardised 64-d points is about sqrt(2 * 64): the median heuristic for the kernel's bandwidth.
_BANDWIDTH = (2.0 * PROJECTIONS) ** 0.5


@lru_cache(maxsize=4)
def projection_matrix(seed: int) -> NDArray[np.float32]:
    """Return f32[1024,64]: columns of random signs, each made to sum to zero.

    Zero-sum columns leave overall brightness out (the statistics carry it), so that it cannot dominate all 64 at once.
    """
    cells = THUMBNAIL_SIDE * THUMBNAIL_SIDE
    bits = np.unpackbits(np.frombuffer(_stream(seed, b"projection", cells * PROJECTIONS // 8), np.uint8))
    signs = bits.reshape(cells, PROJECTIONS).astype(np.float32) * 2.0 - 1.0
    matrix = np.ascontiguousarray((signs - signs.mean(axis=0)) / THUMBNAIL_SIDE, np.float32)
    matrix.flags.writeable = False
    return matrix


@lru_cache(maxsize=4)
def fourier_weights(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return frequencies f32[64,256] and phases f32[256] of the features cos(z @ frequencies + phases)."""
    count = PROJECTIONS * FOURIER
    raw = np.frombuffer(_stream(seed, b"fourier", 4 * (2 * count + FOURIER)), "<u4")
    uniform = (raw.astype(np.float64) + 0.5) / 2.0**32
    radius, angle = np.sqrt(-2.0 * np.log(uniform[:count])), 2.0 * np.pi * uniform[count : 2 * count]
    frequencies = (radius * np.cos(angle)).reshape(PROJECTIONS, FOURIER) / _BANDWIDTH
    phases = 2.0 * np.pi * uniform[2 * count :]
    weights = np.ascontiguousarray(frequencies, np.float32), np.ascontiguousarray(phases, np.float32)
    for part in weights:
        part.flags.writeable = False
    return weights


def project(thumbnails: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Return the raw projections f32[N,64] of `thumbnails` f32[N,1024]."""
    return matmul_unthreaded(thumbnails, projection_matrix(seed))


def fourier_features(standardised: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Return the features f32[N,256], each in -1..1, of standardised projections f32[N,64]."""
    frequencies, phases = fourier_weights(seed)
    features = matmul_unthreaded(standardised, frequencies)
    features += phases
    return np.asarray(np.cos(features, out=features), np.float32)


def matmul_unthreaded(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `left` f32[N,M] @ `right` f32[M,P], in pieces that the calling thread multiplies by itself.

    OpenBLAS hands products of more than 2**18 multiplications to its threads; where another process has the cores, waiting for
    them turned 30 us into 12 ms.
    """
    count = left.shape[0]
    step = max(_UNTHREADED // right.size, 2)
    if count == 1:
        # One row alone would take the matrix-vector path, which threads far sooner.
        return np.asarray((np.concatenate((left, left)) @ right)[:1], np.float32)
    if count <= step:
        return np.asarray(left @ right, np.float32)
    product = np.empty((count, right.shape[1]), np.float32)
    for start in range(0, count, step):
        # The last piece steps back rather than being a single row.
        first = max(min(start, count - step), 0)
        np.matmul(left[first : first + step], right, out=product[first : first + step])
    return product


def _stream(seed: int, purpose: bytes, size_bytes: int) -> bytes:
    return hashlib.shake_256(b"plumbline sketch 1 " + purpose + str(seed).encode()).digest(size_bytes)
