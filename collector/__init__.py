"""The collector: kubelets in, columns inside, sinks and answers out."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("pyheapster")
except PackageNotFoundError:  # run from an unpacked tree
    __version__ = "0+unknown"
