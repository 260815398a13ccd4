"""Using a trained detector: loading, scoring recordings, exporting."""
