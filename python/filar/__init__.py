"""filar."""
