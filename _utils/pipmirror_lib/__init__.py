"""The engine of pipmirror: plain typed Python that knows nothing of Salt."""

__version__ = "0.1.0"
