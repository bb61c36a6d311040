"""What several test files share; `tests` is on the path, so a test imports `support.<module>`."""
