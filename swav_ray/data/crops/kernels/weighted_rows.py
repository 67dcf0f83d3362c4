"""The inner loop of resizing and blurring: weighted sums of byte rows, many pixels an instruction.

Weights are whole parts of 128 that add up to 128, so that two rows interleaved by bytes meet their two weights in one
instruction (pmaddubsw: 32 products an AVX2 register, added in pairs to 16 bits). A weight is off by less than a part,
and since the errors of all weights add up to nothing, that counts only as far as neighbouring pixels differ: 0.07 of
a level on photos (root mean square). If more than 128 pixels become one, some of them have no part in it. The result
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


class _Registers:
    """Registers of `size` bytes, and the same bits as 16-bit lanes, in a function that LLVM builds."""

    def __init__(self, builder: Any, size: int, multiply_add: bool) -> None:
        self.builder, self.size, self.multiply_add = builder, size, multiply_add
        self.bytes_type = ir.VectorType(ir.IntType(8), size)
        self.words_type = ir.VectorType(ir.IntType(16), size // 2)

    def words(self, value: int) -> Any:
        """The same number in every lane."""
        return ir.Constant(self.words_type, [value] * (self.size // 2))

    def order(self, places: list[int]) -> Any:
        return ir.Constant(ir.VectorType(ir.IntType(32), self.size), places)

    def pointer(self, base: Any, offset: Any, chunk: int = 0) -> Any:
        """To the register number `chunk` behind an offset in bytes."""
        offset = self.builder.add(offset, ir.Constant(offset.type, chunk * self.size))
        return self.builder.bitcast(self.builder.gep(base, [offset]), self.bytes_type.as_pointer())

    def load(self, base: Any, offset: Any, chunk: int) -> Any:
        loaded = self.builder.load(self.pointer(base, offset, chunk))
        loaded.align = 1
        return loaded

    def load_pair(self, parts: Any, at: Any) -> Any:
        """Two neighbouring weights, repeated over the whole register."""
        word = ir.IntType(16)
        pair = self.builder.load(self.builder.bitcast(self.builder.gep(parts, [at]), word.as_pointer()))
        pair.align = 1
        first = self.builder.insert_element(self.words(0), pair, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.size // 2), [0] * (self.size // 2))
        return self.builder.bitcast(self.builder.shuffle_vector(first, first, zeros), self.bytes_type)

    def product(self, pairs: Any, weights: Any) -> Any:
        """a * weight of a + b * weight of b for each pair of bytes a, b, in 16-bit lanes."""
        builder = self.builder
        if self.multiply_add:
            kind = ir.FunctionType(self.words_type, [self.bytes_type] * 2)
            function = cgutils.get_or_insert_function(builder.module, kind, _MULTIPLY_ADD[self.size][1])
            return builder.call(function, [pairs, weights])
        pairs, weights = builder.bitcast(pairs, self.words_type), builder.bitcast(weights, self.words_type)
        low = builder.mul(builder.and_(pairs, self.words(255)), builder.and_(weights, self.words(255)))
        high = builder.mul(builder.lshr(pairs, self.words(8)), builder.lshr(weights, self.words(8)))
        return builder.add(low, high)

    def levels(self, totals: list[Any]) -> Any:
        """The sums of a register's interleaved halves as whole levels, in the order of the pixels."""
        shift = self.words(PARTS.bit_length() - 1)
        whole = (self.builder.and_(self.builder.lshr(total, shift), self.words(255)) for total in totals)
        low, high = (self.builder.bitcast(level, self.bytes_type) for level in whole)
        return self.builder.shuffle_vector(low, high, self.order(_packed(self.size)))


def weighted_lanes(size: int, chunks: int, multiply_add: bool) -> Any:
    """A compiled dst[to + i] = (1/2 + sum over k < count of weights[use + k] / PARTS * src[at + k * step + i]), cut,
    for i < chunks * size.

    Weights are read in pairs; behind an odd count stands one more, of the last row. `multiply_add`: with the
    processor's instruction.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pixels, parts, target = (
            context.make_array(signature.args[array])(context, builder, args[array]).data for array in (0, 3, 6)
        )
        at, step, use, count, to = args[1], args[2], args[4], args[5], args[7]
        registers = _Registers(builder, size, multiply_add)
        orders = [registers.order(half) for half in _interleaved(size)]
        sums = [[cgutils.alloca_once(builder, registers.words_type) for _ in orders] for _ in range(chunks)]
        for total in (total for pair in sums for total in pair):
            builder.store(registers.words(PARTS // 2), total)
        one = ir.Constant(count.type, 1)
        with cgutils.for_range(builder, builder.ashr(builder.add(count, one), one)) as loop:
            first = builder.shl(loop.index, one)
            second = builder.add(first, one)
            second = builder.select(builder.icmp_signed("<", second, count), second, first)
            weights = registers.load_pair(parts, builder.add(use, first))
            rows = [builder.add(at, builder.mul(step, row)) for row in (first, second)]
            for chunk, totals in enumerate(sums):
                one_row, other = (registers.load(pixels, row, chunk) for row in rows)
                for order, total in zip(orders, totals, strict=True):
                    pairs = builder.shuffle_vector(one_row, other, order)
                    builder.store(builder.add(builder.load(total), registers.product(pairs, weights)), total)
        for chunk, totals in enumerate(sums):
            levels = registers.levels([builder.load(total) for total in totals])
            builder.store(levels, registers.pointer(target, to, chunk)).align = 1
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
