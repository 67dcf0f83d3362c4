"""16-bit lanes of vector registers as expressions, written out as LLVM's vector operations, which run on any CPU."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils


class Lanes:
    """`count` lanes in a function that `builder` builds; an int as an operand stands for itself in every lane."""

    def __init__(self, builder: Any, count: int) -> None:
        self.builder, self.count = builder, count
        self.bytes_type, self.words_type, self.longs_type = (
            ir.VectorType(ir.IntType(bits), count) for bits in (8, 16, 32)
        )
        self.floats_type = ir.VectorType(ir.FloatType(), count)

    def word(self, value: Any) -> Any:
        return ir.Constant(self.words_type, [value] * self.count) if isinstance(value, int) else value

    def number(self, value: float) -> Any:
        return ir.Constant(self.floats_type, [float(value)] * self.count)

    def spread(self, scalar: Any) -> Any:
        """The same word in every lane."""
        first = self.builder.insert_element(self.word(0), scalar, ir.Constant(ir.IntType(32), 0))
        return self.builder.shuffle_vector(first, first, ir.Constant(self.longs_type, [0] * self.count))

    def upper(self, a: Any, b: Any) -> Any:
        """a * b / 65536, unsigned."""
        a, b = (self.builder.zext(self.word(factor), self.longs_type) for factor in (a, b))
        shift = ir.Constant(self.longs_type, [16] * self.count)
        return self.builder.trunc(self.builder.lshr(self.builder.mul(a, b), shift), self.words_type)

    def add(self, a: Any, b: Any) -> Any:
        return self.builder.add(self.word(a), self.word(b))

    def sub(self, a: Any, b: Any) -> Any:
        return self.builder.sub(self.word(a), self.word(b))

    def mul(self, a: Any, b: Any) -> Any:
        return self.builder.mul(self.word(a), self.word(b))

    def left(self, a: Any, bits: int) -> Any:
        return self.builder.shl(a, self.word(bits))

    def right(self, a: Any, bits: int) -> Any:
        return self.builder.lshr(a, self.word(bits))

    def least(self, a: Any, b: Any) -> Any:
        """The lesser, unsigned."""
        a, b = self.word(a), self.word(b)
        return self.builder.select(self.builder.icmp_unsigned("<", a, b), a, b)

    def most(self, a: Any, b: Any) -> Any:
        """The greater, unsigned."""
        a, b = self.word(a), self.word(b)
        return self.builder.select(self.builder.icmp_unsigned(">", a, b), a, b)

    def less(self, a: Any, b: Any) -> Any:
        """a - b, but never below 0, unsigned."""
        # The operation by its name: if an operand is a product, the compiler would compare in 32 bits.
        kind = ir.FunctionType(self.words_type, [self.words_type] * 2)
        saturating = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.usub.sat.v{self.count}i16")
        return self.builder.call(saturating, [self.word(a), self.word(b)])

    def equal(self, a: Any, b: Any) -> Any:
        return self.builder.icmp_unsigned("==", a, b)

    def choose(self, condition: Any, a: Any, b: Any) -> Any:
        return self.builder.select(condition, self.word(a), self.word(b))

    def distance(self, a: Any, b: Any) -> Any:
        """|a - b|, of numbers below 2**15."""
        ahead = self.sub(a, b)
        return self.choose(self.builder.icmp_signed("<", ahead, self.word(0)), self.sub(0, ahead), ahead)

    def floats(self, a: Any, *, signed: bool = False) -> Any:
        widen = self.builder.sext if signed else self.builder.zext
        return self.builder.sitofp(widen(a, self.longs_type), self.floats_type)

    def words(self, a: Any) -> Any:
        """The whole part of floats that are not negative."""
        return self.builder.trunc(self.builder.fptosi(a, self.longs_type), self.words_type)
