"""What reading a damaged Parquet file raises: more than Arrow's own errors, depending on where a bit has flipped."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

DAMAGE: Final = (
    pa.ArrowException,
    OSError,  # Parquet's own errors, and those of the disk
    ValueError,  # among them UnicodeDecodeError: a column's name
    TypeError,  # a type that no column of ours has
    LookupError,  # a column or row group that is not there
    ArithmeticError,  # a size or a count
    MemoryError,  # a size that is larger than all there is
    RuntimeError,
)
"""Exceptions that mean damage where nothing but the reading itself is in the ``try``."""
