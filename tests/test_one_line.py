"""An error in a message is one line, whatever it says."""

from __future__ import annotations

from swav_ray.one_line import last_line, one_line


def test_line_breaks_become_spaces_and_the_end_is_cut() -> None:
    assert one_line(ValueError("a\n  b\tc")) == "a b c"
    assert one_line(ValueError("x" * 300)) == "x" * 200
    assert one_line(ValueError("x" * 300), most=250) == "x" * 250


def test_an_error_with_a_traceback_in_it_is_named_by_its_last_line() -> None:
    assert last_line(RuntimeError("Traceback:\n  File x\nValueError: the cause\n\n")) == "ValueError: the cause"


def test_an_error_that_says_nothing_is_named_by_its_class() -> None:
    assert (one_line(MemoryError()), last_line(MemoryError(" \n"))) == ("MemoryError", "MemoryError")
