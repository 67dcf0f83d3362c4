"""A backbone written for other people's code: a file a format, each verified by the code that will read it."""
