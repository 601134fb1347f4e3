"""The package `tally`: the copy that came with the add-on, else the one that is installed."""

try:
    from .vendor import tally
except ImportError as missing:
    if missing.name not in (f"{__package__}.vendor", f"{__package__}.vendor.tally"):
        raise
    import tally

__all__ = ["tally"]
