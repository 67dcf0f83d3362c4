"""The inner loop of colour: all operations of a crop on 32 pixels at a time, which stay in registers in between.

A level is 8 bits, so 16-bit lanes hold it with 7 or 8 bits of fraction, and a product's upper half is one instruction
(pmulhuw and its kin): 16 pixels an AVX2 register, of which float32 would hold 8. Only hue's two quotients are taken in
float32. The compiler would widen such loops to 32 or 64 bits, so they are spelled out (lanes.py).

Results are cut to whole levels as PIL cuts them. A blend within 1/50 of a whole level may be cut to the other side, and
a colour's hue to its neighbour of 256.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from swav_ray.data.crops.color_vector import CONTRAST, HUE, SATURATION
from swav_ray.data.crops.kernels.lanes import Lanes

UNIT = 1 << 15  # a factor of 1
WIDE, NARROW = 32, 16  # pixels at a time: the wide ones hide each other's delays, the narrow ones are left over
_LUMA = (19595, 38470, 7471)  # PIL's weights, of 65536
_CIRCLE = 255  # of PIL's hue


def _luma(lanes: Lanes, channels: list[Any]) -> Any:
    """PIL's grey, whole levels."""
    total: Any = 128 + 1  # half a level to round, and what cutting three products loses on average
    for channel, weight in zip(channels, _LUMA, strict=True):
        total = lanes.add(total, lanes.upper(lanes.left(channel, 8), weight))
    return lanes.right(total, 8)


def _blend(lanes: Lanes, channels: list[Any], base: Any, factor: Any, toward: Any, away: Any) -> list[Any]:
    """base + factor * (channel - base), cut to a whole level and to 0 ... 255.

    `toward` is 1 - factor if the factor is below 1, `away` is factor - 1 if it is above, the other is 0; all in
    units of 1 / UNIT. Sums have 7 bits of fraction.
    """
    base = lanes.left(base, 8)
    plus, minus = lanes.add(lanes.upper(base, toward), 1), lanes.upper(base, away)
    blended = []
    for channel in channels:
        product = lanes.upper(lanes.left(channel, 8), factor)
        blended.append(lanes.least(lanes.right(lanes.add(lanes.less(product, minus), plus), 7), 255))
    return blended


def _turn_hue(lanes: Lanes, channels: list[Any], shift: Any) -> list[Any]:
    """To PIL's HSV of 8 bits each, cut; `shift` in 1/256 of a circle; back to RGB, rounded."""
    red, green, blue = channels
    builder = lanes.builder
    high, low = lanes.most(lanes.most(red, green), blue), lanes.least(lanes.least(red, green), blue)
    chroma = lanes.sub(high, low)
    reddest, greenest = lanes.equal(red, high), lanes.equal(green, high)
    slope = lanes.choose(greenest, lanes.sub(blue, red), lanes.sub(red, green))
    slope = lanes.choose(reddest, lanes.sub(green, blue), slope)
    # A circle added before the cut and subtracted after it: a cut goes towards zero.
    corner = lanes.choose(reddest, -_CIRCLE, lanes.choose(greenest, _CIRCLE // 3 - _CIRCLE, 2 * _CIRCLE // 3 - _CIRCLE))
    part = builder.fdiv(lanes.floats(slope, signed=True), lanes.floats(lanes.most(chroma, 1)))
    part = builder.fadd(builder.fmul(part, lanes.number(_CIRCLE / 6)), lanes.number(_CIRCLE))
    hue = lanes.add(lanes.words(part), corner)
    hue = lanes.add(lanes.add(hue, builder.ashr(hue, lanes.word(15))), shift)  # below 0 a circle more, 255 or -1 of 256
    sixths = lanes.mul(builder.and_(hue, lanes.word(255)), 6)  # of a circle / 255
    saturation = builder.fdiv(lanes.floats(lanes.mul(chroma, 255)), lanes.floats(lanes.most(high, 1)))
    depth = lanes.mul(high, lanes.words(saturation))
    depth = lanes.add(lanes.add(depth, lanes.right(depth, 7)), 1)  # of 65025 / 258 levels, 8 bits of fraction
    top = lanes.add(lanes.left(high, 8), 128)

    def lowered(fraction: Any) -> Any:
        """high - depth * fraction / 255, rounded; fraction 0 ... 255, or more for 255."""
        fall = lanes.upper(depth, lanes.left(lanes.least(fraction, 255), 8))
        return lanes.right(lanes.sub(top, fall), 8)

    return [
        lowered(lanes.less(2 * 255, lanes.distance(sixths, 3 * 255))),
        lowered(lanes.less(lanes.distance(sixths, 2 * 255), 255)),
        lowered(lanes.less(lanes.distance(sixths, 4 * 255), 255)),
    ]


class _Pixels:
    """Some pixels of a column of planes: red, green and blue as lanes, in memory that LLVM turns into registers."""

    def __init__(self, lanes: Lanes, base: Any, first: Any, length: Any) -> None:
        self._lanes, self._base, self._first, self._length = lanes, base, first, length
        self._channels = [cgutils.alloca_once(lanes.builder, lanes.words_type) for _ in range(3)]
        for index, channel in enumerate(self._channels):
            loaded = lanes.builder.load(self._place(index))
            loaded.align = 1
            lanes.builder.store(lanes.builder.zext(loaded, lanes.words_type), channel)

    def _place(self, channel: int) -> Any:
        builder, lines = self._lanes.builder, ir.Constant(self._length.type, channel)
        offset = builder.add(self._first, builder.mul(self._length, lines))
        return builder.bitcast(builder.gep(self._base, [offset]), self._lanes.bytes_type.as_pointer())

    def values(self) -> list[Any]:
        return [self._lanes.builder.load(channel) for channel in self._channels]

    def keep(self, changed: list[Any]) -> None:
        for channel, value in zip(self._channels, changed, strict=True):
            self._lanes.builder.store(value, channel)

    def write(self) -> None:
        """Back into the planes."""
        builder = self._lanes.builder
        for index, value in enumerate(self.values()):
            builder.store(builder.trunc(value, self._lanes.bytes_type), self._place(index)).align = 1


def _run_operation(lanes: Lanes, pixels: _Pixels, code: Any, arguments: list[Any], mean: Any) -> None:
    """One operation on these pixels. `arguments`: the three words of a blend, or the shift of hue and two more."""
    builder = lanes.builder

    def is_code(wanted: int) -> Any:
        return builder.icmp_signed("==", code, ir.Constant(code.type, wanted))

    with builder.if_else(is_code(HUE)) as (turn, blend):
        with turn:
            pixels.keep(_turn_hue(lanes, pixels.values(), arguments[0]))
        with blend:
            # Without a branch: the compiler finds upper halves of products within a block only.
            base = builder.select(is_code(CONTRAST), mean, lanes.word(0))
            base = builder.select(is_code(SATURATION), _luma(lanes, pixels.values()), base)
            pixels.keep(_blend(lanes, pixels.values(), base, *arguments))


def _sum_of_grey(lanes: Lanes, pixels: _Pixels, count: Any) -> Any:
    """Of the first `count` pixels, or of all if there are fewer."""
    builder = lanes.builder
    left = lanes.spread(builder.trunc(count, ir.IntType(16)))
    inside = builder.icmp_signed("<", ir.Constant(lanes.words_type, list(range(lanes.count))), left)
    grey = lanes.choose(inside, _luma(lanes, pixels.values()), 0)
    kind = ir.FunctionType(ir.IntType(16), [lanes.words_type])
    add_up = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.add.v{lanes.count}i16")
    return builder.zext(builder.call(add_up, [grey]), count.type)


def _color_pixels(count: int) -> Any:
    """A compiled function that runs operations on `count` pixels in place and returns the sum of their grey, if asked.

    Its arguments are those of `color_lines`, and the offset of the column and of the pixels in it.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        planes, operations, numbers = (
            context.make_array(signature.args[array])(context, builder, args[array]).data for array in (0, 4, 5)
        )
        at, length, size, start, stop, mean, measure, pixel = (args[i] for i in (1, 2, 3, 6, 7, 8, 9, 10))
        lanes, number = Lanes(builder, count), length.type
        pixels = _Pixels(lanes, planes, builder.add(at, pixel), length)
        summed = cgutils.alloca_once_value(builder, ir.Constant(number, 0))
        mean = lanes.spread(builder.trunc(mean, ir.IntType(16)))
        with cgutils.for_range_slice(builder, start, stop, ir.Constant(number, 1)) as (operation, _):
            code = builder.load(builder.gep(operations, [operation]))
            first = builder.mul(operation, ir.Constant(number, 3))
            places = (builder.add(first, ir.Constant(number, which)) for which in range(3))
            arguments = [lanes.spread(builder.load(builder.gep(numbers, [place]))) for place in places]
            _run_operation(lanes, pixels, code, arguments, mean)
        with builder.if_then(builder.icmp_signed("<", start, stop)):
            pixels.write()
        with builder.if_then(measure):
            builder.store(_sum_of_grey(lanes, pixels, builder.sub(size, pixel)), summed)
        return builder.load(summed)

    @intrinsic
    def color_pixels(
        _typing: Any,
        planes: Any,
        _at: Any,
        _length: Any,
        _size: Any,
        codes: Any,
        factors: Any,
        _start: Any,
        _stop: Any,
        _mean: Any,
        _measure: Any,
        _pixel: Any,
    ) -> tuple[Any, Any]:
        number = types.intp
        before, after = (planes, number, number, number), (number, number, number, types.boolean, number)
        return number(*before, codes, factors, *after), generate

    return color_pixels


_wide_pixels, _narrow_pixels = _color_pixels(WIDE), _color_pixels(NARROW)


@njit(nogil=True)
def color_lines(
    planes: np.ndarray,
    size: int,
    length: int,
    codes: np.ndarray,
    factors: np.ndarray,
    start: int,
    stop: int,
    mean: int,
    measure: bool,
) -> int:
    """Run operations start ... stop - 1 on every line of a crop in place; its sum of grey afterwards, if asked.

    planes: flat uint8 as `[x][channel][y]`, `size` times 3 lines of `length`, which is a multiple of NARROW; `size`
    pixels of each line count for the sum. codes: flat int64, the operations (color_vector.py). factors: flat uint16,
    three an operation: factor, toward and away of a blend, or the shift of hue. mean: the grey of the whole crop that
    contrast blends with.
    """
    total = 0
    for x in range(size if stop > start or measure else 0):
        at, pixel = x * 3 * length, 0
        while pixel + WIDE <= length:
            total += _wide_pixels(planes, at, length, size, codes, factors, start, stop, mean, measure, pixel)
            pixel += WIDE
        if pixel < length:
            total += _narrow_pixels(planes, at, length, size, codes, factors, start, stop, mean, measure, pixel)
    return total
