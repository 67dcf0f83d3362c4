"""What a protocol says: figures with intervals, results on disk, tables and pictures."""
