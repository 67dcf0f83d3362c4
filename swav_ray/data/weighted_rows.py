"""The inner loop of resizing and blurring: weighted sums of byte rows, many pixels an instruction.

Weights are 16-bit fractions of 65536 that add up to 65535. A byte is taken as the middle of its level, in 8.8 fixed
point: the unpack instructions put a constant below it. The upper half of its 32-bit product with a weight is one
instruction too (pmulhuw and its kin), 16 lanes in AVX2. Left to itself the compiler would widen the loop to 32 bits
and stumble over rows too short for its unrolling, so the vectors are spelled out as LLVM operations, which run on any
CPU. The error is below 1/256 of a level a tap; the result is rounded to the nearest level. Rows are offsets into a
flat array: a resize steps by a row of the image, a blur along a line steps by one pixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

CHUNK = 32  # bytes of an AVX2 register; their 16-bit lanes fill two
SMALL = 16  # the same for rows too short for that
WIDE = 2 * CHUNK  # lanes whose sums the main loop keeps in registers


def _interleaved(size: int) -> tuple[list[int], list[int]]:
    """Byte order in which the unpack instructions pair the bytes of a register, 128 bits at a time, with a constant."""
    halves: tuple[list[int], list[int]] = ([], [])
    for block in range(0, size, 16):
        for half in range(2):
            for byte in range(8):
                halves[half].extend((size, block + 8 * half + byte))
    return halves


def _packed(size: int) -> list[int]:
    """The inverse: which (lower) bytes of the two registers of words hold the levels, in the order of the pixels."""
    halves = _interleaved(size)
    place = {pixel: half * size + i - 1 for half in range(2) for i, pixel in enumerate(halves[half]) if pixel != size}
    return [place[pixel] for pixel in range(size)]


def _weighted_lanes(size: int, chunks: int) -> Any:
    """A compiled dst[to + i] = start / 256 + sum over k < count of weights[k] / 65536 * src[at + k * step + i],
    for i < chunks * size."""
    bytes_type, words = ir.VectorType(ir.IntType(8), size), ir.VectorType(ir.IntType(16), size // 2)
    longs, index = ir.VectorType(ir.IntType(32), size // 2), ir.IntType(32)
    middle = ir.Constant(bytes_type, [128] * size)  # the low byte of every lane: half a level
    orders = [ir.Constant(ir.VectorType(index, size), order) for order in _interleaved(size)]
    packed = ir.Constant(ir.VectorType(index, size), _packed(size))

    def product(builder: Any, pixels: Any, order: Any, weight: Any) -> Any:
        """(256 pixel + 128) * weight / 65536, in 16-bit lanes."""
        lanes = builder.bitcast(builder.shuffle_vector(pixels, middle, order), words)
        long = builder.mul(builder.zext(lanes, longs), builder.zext(weight, longs))
        return builder.trunc(builder.lshr(long, ir.Constant(longs, [16] * (size // 2))), words)

    def spread(builder: Any, word: Any) -> Any:
        """The same word in every lane."""
        first = builder.insert_element(ir.Constant(words, [0] * (size // 2)), word, ir.Constant(index, 0))
        return builder.shuffle_vector(first, first, ir.Constant(longs, [0] * (size // 2)))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pixels, fractions, target = (
            context.make_array(signature.args[array])(context, builder, args[array]).data for array in (0, 3, 5)
        )

        def chunk_at(base: Any, offset: Any, chunk: int) -> Any:
            offset = builder.add(offset, ir.Constant(offset.type, chunk * size))
            return builder.bitcast(builder.gep(base, [offset]), bytes_type.as_pointer())

        sums = [[cgutils.alloca_once(builder, words) for _ in orders] for _ in range(chunks)]
        begin = spread(builder, args[7])
        for total in (total for pair in sums for total in pair):
            builder.store(begin, total)
        with cgutils.for_range(builder, args[4]) as loop:
            weight = spread(builder, builder.load(builder.gep(fractions, [loop.index])))
            row = builder.add(args[1], builder.mul(args[2], loop.index))
            for chunk, pair in enumerate(sums):
                loaded = builder.load(chunk_at(pixels, row, chunk))
                loaded.align = 1
                for order, total in zip(orders, pair, strict=True):
                    builder.store(builder.add(builder.load(total), product(builder, loaded, order, weight)), total)
        for chunk, pair in enumerate(sums):
            shift = ir.Constant(words, [8] * (size // 2))
            low, high = (builder.bitcast(builder.lshr(builder.load(total), shift), bytes_type) for total in pair)
            builder.store(builder.shuffle_vector(low, high, packed), chunk_at(target, args[6], chunk)).align = 1
        return context.get_dummy_value()

    @intrinsic
    def weighted_lanes(
        _typing: Any, src: Any, _at: Any, _step: Any, weights: Any, _count: Any, dst: Any, _to: Any, _start: Any
    ) -> tuple[Any, Any]:
        number = types.intp
        return types.void(src, number, number, weights, number, dst, number, types.uint16), generate

    return weighted_lanes


_wide_lanes, _chunk_lanes, _small_lanes = (
    _weighted_lanes(CHUNK, 2),
    _weighted_lanes(CHUNK, 1),
    _weighted_lanes(SMALL, 1),
)


@njit(nogil=True)
def weighted_rows(
    src: np.ndarray, at: int, step: int, weights: np.ndarray, count: int, dst: np.ndarray, to: int, length: int
) -> None:
    """dst[to + i] = sum over k < count of weights[k] / 65536 * src[at + k * step + i], rounded, for i < length.

    src, dst: flat uint8, not overlapping. weights: uint16, adding up to at most 65535.
    """
    start = np.uint16(min(count // 2, 127))  # what cutting the products to 16 bits loses on average
    i = 0
    while i + WIDE <= length:
        _wide_lanes(src, at + i, step, weights, count, dst, to + i, start)
        i += WIDE
    while i + CHUNK <= length:
        _chunk_lanes(src, at + i, step, weights, count, dst, to + i, start)
        i += CHUNK
    while i + SMALL <= length:
        _small_lanes(src, at + i, step, weights, count, dst, to + i, start)
        i += SMALL
    if i == length:
        return
    if length >= SMALL:  # the rest together with pixels already done
        i = length - SMALL
        _small_lanes(src, at + i, step, weights, count, dst, to + i, start)
        return
    for i in range(length):
        total = int(start)
        for k in range(count):
            total += ((int(src[at + k * step + i]) * 256 + 128) * int(weights[k])) >> 16
        dst[to + i] = total >> 8


@njit(nogil=True)
def quantize(weights: np.ndarray, count: int, out: np.ndarray) -> None:
    """Positive weights[:count], of any sum, to 16-bit fractions in out[:count]; rounding errors do not pile up."""
    total = 0.0
    for k in range(count):
        total += weights[k]
    running, before = 0.0, 0
    for k in range(count):
        running += weights[k]
        after = int(np.rint(running / total * 65535.0))
        out[k] = after - before
        before = after
