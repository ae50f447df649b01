"""The measurements behind the numbers that metamotor's documentation names."""
