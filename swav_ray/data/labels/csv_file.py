"""A CSV of name,label, line by line: it may be longer than memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from swav_ray.storage.errors import PlaceError
from swav_ray.storage.place import Place
from swav_ray.storage.ranges import RangeFile

_SEPARATOR = "|"  # of several labels of one image
_READ_AHEAD = 4 << 20  # bytes of a request


def read_rows(where: Place) -> Iterator[tuple[str, set[str]]]:
    """Names and labels of its lines, in order; a header of name,label is optional.

    Raises:
        PlaceError: the file is missing, is not UTF-8 text, or a line has not two columns; at its end: it has no labels.
    """
    has_labels = False
    for number, (name, cell) in enumerate(_cells(where)):
        if number == 0 and (name.lower(), cell.lower()) == ("name", "label"):
            continue
        has_labels |= bool(cell)
        yield name, {label.strip() for label in cell.split(_SEPARATOR)} - {""}
    if not has_labels:
        raise PlaceError(f"{where}: holds no labels; give a CSV of name,label")


def _cells(where: Place) -> Iterator[tuple[str, str]]:
    try:
        size = where.stat().size
        with io.BufferedReader(RangeFile(where, size), _READ_AHEAD) as data:
            for number, row in enumerate(csv.reader(io.TextIOWrapper(data, "utf-8-sig", newline="")), start=1):
                if not row:
                    continue
                if len(row) != 2:
                    raise PlaceError(f"{where}: line {number} has {len(row)} columns instead of name,label")
                yield row[0].strip(), row[1].strip()
    except FileNotFoundError:
        raise PlaceError(f"{where}: no such file; give a CSV of name,label") from None
    except UnicodeDecodeError:
        raise PlaceError(f"{where}: is not UTF-8 text; give a CSV of name,label") from None
    except csv.Error as error:
        raise PlaceError(f"{where}: is no CSV of name,label ({error})") from None
