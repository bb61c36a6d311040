"""The passes that lower gn to kern; `pipeline.py` is the ordered list, `lower.py` the whole path."""
