"""The inner loop of resizing and blurring: weighted sums of byte rows, many pixels an instruction.

Weights are 16-bit fractions of 65536 that add up to 65535. A byte is taken as the middle of its level, in 8.8 fixed
point; the upper half of its 32-bit product with a weight is one SIMD instruction (pmulhuw and its kin), 16 lanes in
AVX2. Left to itself the compiler would widen the loop to 32 bits and stumble over rows too short for its unrolling,
so the vectors are spelled out as LLVM operations, which run on any CPU. The error is below 1/256 of a level a tap; the
result is rounded to the nearest level. Rows are offsets into a flat array: a resize steps by a row of the image, a
blur along a line steps by one pixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16  # 16-bit lanes of an AVX2 register
WIDE = 4 * LANES  # lanes whose sums the main loop keeps in registers

_BYTES = ir.VectorType(ir.IntType(8), LANES)
_WORDS = ir.VectorType(ir.IntType(16), LANES)
_LONGS = ir.VectorType(ir.IntType(32), LANES)


def _constant(vector: Any, value: int) -> Any:
    return ir.Constant(vector, [value] * LANES)


def _product(builder: Any, pixels: Any, weight: Any) -> Any:
    """(256 pixel + 128) * weight / 65536, in 16-bit lanes."""
    words = builder.shl(builder.zext(pixels, _WORDS), _constant(_WORDS, 8))
    words = builder.or_(words, _constant(_WORDS, 128))
    longs = builder.mul(builder.zext(words, _LONGS), builder.zext(weight, _LONGS))
    return builder.trunc(builder.lshr(longs, _constant(_LONGS, 16)), _WORDS)


def _weighted_lanes(registers: int) -> Any:
    """A compiled dst[to + i] = sum over k < count of weights[k] * src[at + k * step + i], i < registers * LANES."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pixels, fractions, target = (
            context.make_array(signature.args[array])(context, builder, args[array]).data for array in (0, 3, 5)
        )

        def lanes_at(base: Any, offset: Any, register: int) -> Any:
            offset = builder.add(offset, ir.Constant(offset.type, register * LANES))
            return builder.bitcast(builder.gep(base, [offset]), _BYTES.as_pointer())

        sums = [cgutils.alloca_once(builder, _WORDS) for _ in range(registers)]
        for total in sums:
            builder.store(_constant(_WORDS, 0), total)
        with cgutils.for_range(builder, args[4]) as loop:
            one = builder.load(builder.gep(fractions, [loop.index]))
            first = builder.insert_element(_constant(_WORDS, 0), one, ir.Constant(ir.IntType(32), 0))
            weight = builder.shuffle_vector(first, first, _constant(_LONGS, 0))
            row = builder.add(args[1], builder.mul(args[2], loop.index))
            for register, total in enumerate(sums):
                loaded = builder.load(lanes_at(pixels, row, register))
                loaded.align = 1
                builder.store(builder.add(builder.load(total), _product(builder, loaded, weight)), total)
        for register, total in enumerate(sums):
            level = builder.lshr(builder.load(total), _constant(_WORDS, 8))
            builder.store(builder.trunc(level, _BYTES), lanes_at(target, args[6], register)).align = 1
        return context.get_dummy_value()

    @intrinsic
    def weighted_lanes(
        _typing: Any, src: Any, _at: Any, _step: Any, weights: Any, _count: Any, dst: Any, _to: Any
    ) -> tuple[Any, Any]:
        number = types.intp
        return types.void(src, number, number, weights, number, dst, number), generate

    return weighted_lanes


_wide_lanes, _narrow_lanes = _weighted_lanes(WIDE // LANES), _weighted_lanes(1)


@njit(cache=True, nogil=True)
def weighted_rows(
    src: np.ndarray, at: int, step: int, weights: np.ndarray, count: int, dst: np.ndarray, to: int, length: int
) -> None:
    """dst[to + i] = sum over k < count of weights[k] / 65536 * src[at + k * step + i], rounded, for i < length.

    src, dst: flat uint8, not overlapping. weights: uint16, adding up to at most 65535.
    """
    i = 0
    while i + WIDE <= length:
        _wide_lanes(src, at + i, step, weights, count, dst, to + i)
        i += WIDE
    while i + LANES <= length:
        _narrow_lanes(src, at + i, step, weights, count, dst, to + i)
        i += LANES
    if i == length:
        return
    if length >= LANES:  # the rest together with pixels already done
        i = length - LANES
        _narrow_lanes(src, at + i, step, weights, count, dst, to + i)
        return
    for i in range(length):
        total = 0
        for k in range(count):
            total += ((int(src[at + k * step + i]) * 256 + 128) * int(weights[k])) >> 16
        dst[to + i] = total >> 8


@njit(cache=True, nogil=True)
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
