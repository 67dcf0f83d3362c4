"""Transposing byte matrices in 16 x 16 tiles held in vector registers, and fetching memory before it is written.

The compiler turns a plain transposing loop into single-byte moves (ten times slower), so the tile is written as the
shuffles it is: four rounds that interleave row i with row i + 8, the perfect-shuffle network. The shuffles are plain
LLVM vector operations and so run on any CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

TILE = 16
LINE = 64  # bytes of a cache line: written whole, before it leaves the cache


def _transpose_tiles(count: int) -> Any:
    """A compiled dst[dst_at + j * dst_pitch + i] = src[src_at + i * src_pitch + j] for i < TILE, j < count * TILE.

    The tiles lie side by side in registers of `count` times 128 bits, whose shuffles treat each 128 bits alike.
    """
    index = ir.IntType(32)
    wide, narrow = (ir.VectorType(ir.IntType(8), size) for size in (count * TILE, TILE))

    def interleave(start: int) -> Any:
        pairs = [
            (tile * TILE + start + i, (count + tile) * TILE + start + i) for tile in range(count) for i in range(8)
        ]
        return ir.Constant(ir.VectorType(index, count * TILE), [lane for pair in pairs for lane in pair])

    halves = interleave(0), interleave(8)
    parts = [
        ir.Constant(ir.VectorType(index, TILE), list(range(tile * TILE, (tile + 1) * TILE))) for tile in range(count)
    ]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def pointer(array: int, at: Any, pitch: Any, row: int, kind: Any) -> Any:
            base = context.make_array(signature.args[array])(context, builder, args[array]).data
            offset = builder.add(at, builder.mul(pitch, ir.Constant(pitch.type, row)))
            return builder.bitcast(builder.gep(base, [offset]), kind.as_pointer())

        rows = []
        for row in range(TILE):
            rows.append(builder.load(pointer(0, args[1], args[2], row, wide)))
            rows[-1].align = 1
        for _ in range(4):
            pairs = [(rows[i], rows[i + 8]) for i in range(8)]
            rows = [builder.shuffle_vector(a, b, half) for a, b in pairs for half in halves]
        for row in range(count * TILE):
            column = builder.shuffle_vector(rows[row % TILE], rows[row % TILE], parts[row // TILE])
            builder.store(column, pointer(3, args[4], args[5], row, narrow)).align = 1
        return context.get_dummy_value()

    @intrinsic
    def transpose_tiles(
        _typing: Any, src: Any, _src_at: Any, _src_pitch: Any, dst: Any, _dst_at: Any, _dst_pitch: Any
    ) -> tuple[Any, Any]:
        return types.void(src, types.intp, types.intp, dst, types.intp, types.intp), generate

    return transpose_tiles


_two_tiles, _one_tile = _transpose_tiles(2), _transpose_tiles(1)


@njit(nogil=True)
def transpose(
    src: np.ndarray, src_at: int, src_pitch: int, rows: int, columns: int, dst: np.ndarray, dst_at: int, dst_pitch: int
) -> None:
    """dst[dst_at + j * dst_pitch + i] = src[src_at + i * src_pitch + j] for i < rows and j < columns.

    Flat uint8 arrays; rows and columns must be multiples of TILE.
    """
    for block in range(0, rows, LINE):
        end = min(block + LINE, rows)
        for j in range(0, columns - TILE, 2 * TILE):
            for i in range(block, end, TILE):
                _two_tiles(src, src_at + i * src_pitch + j, src_pitch, dst, dst_at + j * dst_pitch + i, dst_pitch)
        if columns % (2 * TILE):
            j = columns - TILE
            for i in range(block, end, TILE):
                _one_tile(src, src_at + i * src_pitch + j, src_pitch, dst, dst_at + j * dst_pitch + i, dst_pitch)


@intrinsic
def fetch(_typing: Any, dst: Any, _at: Any, _length: Any) -> tuple[Any, Any]:
    """Bring dst[at : at + length] into the cache, without waiting, since it will be written; flat uint8 array."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        base, at, length = context.make_array(signature.args[0])(context, builder, args[0]).data, args[1], args[2]
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        write, into_second_level, data = (ir.Constant(number, value) for value in (1, 2, 1))
        step = ir.Constant(at.type, LINE)
        with cgutils.for_range_slice(builder, at, builder.add(at, length), step) as (offset, _):
            builder.call(prefetch, [builder.gep(base, [offset]), write, into_second_level, data])
        return context.get_dummy_value()

    return types.void(dst, types.intp, types.intp), generate
