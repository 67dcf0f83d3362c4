"""Transposing byte matrices in 16 x 16 tiles held in vector registers.

The compiler turns a plain transposing loop into single-byte moves (ten times slower), so the tile is written as the
shuffles it is: four rounds that interleave row i with row i + 8, the perfect-shuffle network. The shuffles are plain
LLVM vector operations and so run on any CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

TILE = 16

_BYTE = ir.IntType(8)
_ROW = ir.VectorType(_BYTE, TILE)
_LANES = ir.VectorType(ir.IntType(32), TILE)
_LOWER = ir.Constant(_LANES, [lane for i in range(8) for lane in (i, TILE + i)])
_UPPER = ir.Constant(_LANES, [lane for i in range(8, 16) for lane in (i, TILE + i)])


@intrinsic
def _transpose_tile(
    _typing: Any, src: Any, _src_at: Any, _src_pitch: Any, dst: Any, _dst_at: Any, _dst_pitch: Any
) -> tuple[Any, Any]:
    """dst[dst_at + j * dst_pitch + i] = src[src_at + i * src_pitch + j] for i, j below 16; flat uint8 arrays."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def pointer(array: int, at: Any, pitch: Any, row: int) -> Any:
            base = context.make_array(signature.args[array])(context, builder, args[array]).data
            offset = builder.add(at, builder.mul(pitch, ir.Constant(pitch.type, row)))
            return builder.bitcast(builder.gep(base, [offset]), _ROW.as_pointer())

        rows = []
        for row in range(TILE):
            rows.append(builder.load(pointer(0, args[1], args[2], row)))
            rows[-1].align = 1
        for _ in range(4):
            pairs = [(rows[i], rows[i + 8]) for i in range(8)]
            rows = [builder.shuffle_vector(a, b, half) for a, b in pairs for half in (_LOWER, _UPPER)]
        for row in range(TILE):
            builder.store(rows[row], pointer(3, args[4], args[5], row)).align = 1
        return context.get_dummy_value()

    return types.void(src, types.intp, types.intp, dst, types.intp, types.intp), generate


@njit(nogil=True)
def transpose(
    src: np.ndarray, src_at: int, src_pitch: int, rows: int, columns: int, dst: np.ndarray, dst_at: int, dst_pitch: int
) -> None:
    """dst[dst_at + j * dst_pitch + i] = src[src_at + i * src_pitch + j] for i < rows and j < columns.

    Flat uint8 arrays; rows and columns must be multiples of TILE.
    """
    for i in range(0, rows, TILE):
        for j in range(0, columns, TILE):
            _transpose_tile(src, src_at + i * src_pitch + j, src_pitch, dst, dst_at + j * dst_pitch + i, dst_pitch)  # type: ignore[call-arg]
