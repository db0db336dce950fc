"""The version of vcm: the one place at run time."""

VERSION = "0.1.0"
