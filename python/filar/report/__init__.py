"""Pages, tables and comparisons of results."""
