"""The inner loop of resizing and blurring: weighted sums of byte rows, many pixels an instruction.

Weights are whole parts of 128 that add up to 128, so that two rows interleaved by bytes meet their two weights in one
instruction (pmaddubsw: 32 products an AVX2 register, added in pairs to 16 bits). A weight is off by less than a part,
and since the errors of all weights add up to nothing, that counts only as far as neighbouring pixels differ: 0.07 of
a level on photos (root mean square). Where more than 128 pixels become one, some of them have no part in it. The result
is rounded to the nearest level. Processors without that instruction do the same arithmetic in plain LLVM vector
operations, to the same bit. Rows are offsets into a flat array: a resize steps by a row of the image, a blur along a
line steps by one pixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils, config
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

PARTS = 128  # of a whole
CHUNK = 32  # bytes of an AVX2 register; their 16-bit sums fill two
SMALL = 16  # the same for rows too short for that
WIDE = 2 * CHUNK  # lanes whose sums the main loop keeps in registers
# The instruction, by the bytes that it takes and the feature that a processor needs for it.
_MULTIPLY_ADD = {CHUNK: ("avx2", "llvm.x86.avx2.pmadd.ub.sw"), SMALL: ("ssse3", "llvm.x86.ssse3.pmadd.ub.sw.128")}


def _interleaved(size: int) -> tuple[list[int], list[int]]:
    """Byte order in which the unpack instructions pair the bytes of two registers, 128 bits at a time."""
    halves: tuple[list[int], list[int]] = ([], [])
    for block in range(0, size, 16):
        for half in range(2):
            for byte in range(block + 8 * half, block + 8 * half + 8):
                halves[half].extend((byte, size + byte))
    return halves


def _packed(size: int) -> list[int]:
    """The inverse: which (lower) bytes of the two registers of sums hold the levels, in the order of the pixels."""
    halves = _interleaved(size)
    place = {pixel: half * size + i for half in range(2) for i, pixel in enumerate(halves[half]) if pixel < size}
    return [place[pixel] for pixel in range(size)]


def native(size: int) -> bool:
    """Whether the processor that numba compiles for, which its settings may change, has the instruction."""
    chosen = config.CPU_FEATURES  # type: ignore[attr-defined]
    features = get_host_cpu_features() if chosen is None else chosen
    return f"+{_MULTIPLY_ADD[size][0]}" in features.split(",")


def weighted_lanes(size: int, chunks: int, multiply_add: bool) -> Any:
    """A compiled dst[to + i] = (1/2 + sum over k < count of weights[use + k] / PARTS * src[at + k * step + i]), cut,
    for i < chunks * size.

    Weights are read in pairs; behind an odd count stands one more, of the last row. `multiply_add`: with the
    processor's instruction.
    """
    bytes_type, words = ir.VectorType(ir.IntType(8), size), ir.VectorType(ir.IntType(16), size // 2)
    word, index = ir.IntType(16), ir.IntType(32)
    orders = [ir.Constant(ir.VectorType(index, size), order) for order in _interleaved(size)]
    packed = ir.Constant(ir.VectorType(index, size), _packed(size))

    def constant(value: int) -> Any:
        return ir.Constant(words, [value] * (size // 2))

    def product(builder: Any, pairs: Any, weights: Any) -> Any:
        """a * weight of a + b * weight of b for each pair of bytes a, b, in 16-bit lanes."""
        if multiply_add:
            kind = ir.FunctionType(words, [bytes_type] * 2)
            function = cgutils.get_or_insert_function(builder.module, kind, _MULTIPLY_ADD[size][1])
            return builder.call(function, [pairs, weights])
        pairs, weights = builder.bitcast(pairs, words), builder.bitcast(weights, words)
        low = builder.mul(builder.and_(pairs, constant(255)), builder.and_(weights, constant(255)))
        high = builder.mul(builder.lshr(pairs, constant(8)), builder.lshr(weights, constant(8)))
        return builder.add(low, high)

    def spread(builder: Any, pair: Any) -> Any:
        """The same two weights in every lane."""
        first = builder.insert_element(constant(0), pair, ir.Constant(index, 0))
        zeros = ir.Constant(ir.VectorType(index, size // 2), [0] * (size // 2))
        return builder.bitcast(builder.shuffle_vector(first, first, zeros), bytes_type)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pixels, parts, target = (
            context.make_array(signature.args[array])(context, builder, args[array]).data for array in (0, 3, 6)
        )
        at, step, use, count, to = args[1], args[2], args[4], args[5], args[7]
        one = ir.Constant(count.type, 1)

        def chunk_at(base: Any, offset: Any, chunk: int) -> Any:
            offset = builder.add(offset, ir.Constant(offset.type, chunk * size))
            return builder.bitcast(builder.gep(base, [offset]), bytes_type.as_pointer())

        def load(row: Any, chunk: int) -> Any:
            loaded = builder.load(chunk_at(pixels, row, chunk))
            loaded.align = 1
            return loaded

        sums = [[cgutils.alloca_once(builder, words) for _ in orders] for _ in range(chunks)]
        for total in (total for pair in sums for total in pair):
            builder.store(constant(PARTS // 2), total)
        with cgutils.for_range(builder, builder.ashr(builder.add(count, one), one)) as loop:
            first = builder.shl(loop.index, one)
            second = builder.add(first, one)
            second = builder.select(builder.icmp_signed("<", second, count), second, first)
            pair = builder.load(builder.bitcast(builder.gep(parts, [builder.add(use, first)]), word.as_pointer()))
            pair.align = 1
            weights = spread(builder, pair)
            rows = [builder.add(at, builder.mul(step, row)) for row in (first, second)]
            for chunk, totals in enumerate(sums):
                one_row, other = (load(row, chunk) for row in rows)
                for order, total in zip(orders, totals, strict=True):
                    pairs = builder.shuffle_vector(one_row, other, order)
                    builder.store(builder.add(builder.load(total), product(builder, pairs, weights)), total)
        for chunk, totals in enumerate(sums):
            shift = constant(PARTS.bit_length() - 1)
            levels = (builder.and_(builder.lshr(builder.load(total), shift), constant(255)) for total in totals)
            low, high = (builder.bitcast(level, bytes_type) for level in levels)
            builder.store(builder.shuffle_vector(low, high, packed), chunk_at(target, to, chunk)).align = 1
        return context.get_dummy_value()

    @intrinsic
    def lanes(
        _typing: Any, src: Any, _at: Any, _step: Any, weights: Any, _use: Any, _count: Any, dst: Any, _to: Any
    ) -> tuple[Any, Any]:
        number = types.intp
        return types.void(src, number, number, weights, number, number, dst, number), generate

    return lanes


_wide_lanes, _chunk_lanes, _small_lanes = (
    weighted_lanes(CHUNK, 2, native(CHUNK)),
    weighted_lanes(CHUNK, 1, native(CHUNK)),
    weighted_lanes(SMALL, 1, native(SMALL)),
)


@njit(nogil=True, inline="always")
def weighted_rows(
    src: np.ndarray,
    at: int,
    step: int,
    weights: np.ndarray,
    use: int,
    count: int,
    dst: np.ndarray,
    to: int,
    length: int,
) -> None:
    """dst[to + i] = sum over k < count of weights[use + k] / PARTS * src[at + k * step + i], rounded, for i < length.

    src, dst: flat uint8, not overlapping. weights: uint8 as `quantize` leaves them.
    """
    i = 0
    while i + WIDE <= length:
        _wide_lanes(src, at + i, step, weights, use, count, dst, to + i)
        i += WIDE
    while i + CHUNK <= length:
        _chunk_lanes(src, at + i, step, weights, use, count, dst, to + i)
        i += CHUNK
    while i + SMALL <= length:
        _small_lanes(src, at + i, step, weights, use, count, dst, to + i)
        i += SMALL
    if i == length:
        return
    if length >= SMALL:  # the rest together with pixels already done
        i = length - SMALL
        _small_lanes(src, at + i, step, weights, use, count, dst, to + i)
        return
    for i in range(length):
        total = PARTS // 2
        for k in range(0, count, 2):
            other = min(k + 1, count - 1)
            total += int(src[at + k * step + i]) * int(weights[use + k])
            total += int(src[at + other * step + i]) * int(weights[use + k + 1])
        dst[to + i] = total // PARTS


@njit(nogil=True)
def quantize(sums: np.ndarray, at: int, step: int, count: int, out: np.ndarray, to: int) -> tuple[int, int]:
    """Weights of any sum as uint8 parts of a whole; rounding errors do not pile up.

    sums[at + k * step], k < count: the running sum of the weights. Returns (first, count) of the weights to use: all
    of them, or the one that is a whole, which is more than a signed byte holds. out[to:] has their parts in pairs, and
    so needs room for one more: behind an odd count stands a zero, or the other half of a whole.
    """
    scale = PARTS / sums[at + (count - 1) * step]
    before, most = 0, 0
    for k in range(count):
        after = int(sums[at + k * step] * scale + 0.5)
        out[to + k] = after - before
        most = max(most, after - before)
        before = after
    out[to + count] = 0
    if most < PARTS:
        return 0, count
    for k in range(count):
        if out[to + k] == PARTS:
            out[to] = out[to + 1] = PARTS // 2
            return k, 1
    return 0, count
