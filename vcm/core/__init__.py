"""The rules: values in, values out. No file, socket, clock or environment is touched below this package."""
