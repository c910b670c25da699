"""Entry point: arguments in, exit status out. 0 after a stop, 1 when it cannot run here, 2 for a wrong command line."""

import sys
from collections.abc import Sequence

import uvloop

from collector import __version__, logs
from collector.app import serve
from collector.demo.command import main as demo
from collector.errors import HeapsterError, UsageError
from collector.options import parse, parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `heapster` with `arguments` (the process's own by default)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["demo"]:
            return demo(given[1:])
        return _serve(given)
    except UsageError as error:
        for fault in error.faults:
            sys.stderr.write(f"heapster: {fault}\n")
        sys.stderr.write("heapster --help lists the flags.\n")
        return 2
    except (HeapsterError, OSError) as error:
        sys.stderr.write(f"heapster: {error}\n")
        return 1


def _serve(arguments: Sequence[str]) -> int:
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(parser().format_help())
        return 0
    options = parse(arguments)
    if options.version:
        sys.stdout.write(f"version: {__version__}\n")
        return 0
    options = options.validated()
    logs.configure(options.v)
    uvloop.run(serve(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
