"""Entry point: arguments in, exit status out.

Heapster's statuses (behaviour reference, sections 1.1 and 1.7): 255 for a configuration that cannot be run, 2 for a
command line that cannot be read and for `--help`, 1 when a part ends that must not, 0 after a signal. After a second
signal it is 128 and the signal's number (`collector.signals`).
"""

import sys
from collections.abc import Callable, Mapping, Sequence

import uvloop

from collector import logs, startup
from collector.app import serve
from collector.demo.command import main as demo
from collector.doctor.command import main as doctor
from collector.errors import CommandLineError, HeapsterError, StartError, UsageError
from collector.options import parse, usage
from collector.version import version_text

ENDED, MISREAD, FATAL = 1, 2, 255


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `heapster` with `arguments` (the process's own by default)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = _COMMANDS.get(given[0]) if given else None
    return _collector(given) if command is None else _run(given[0], command, given[1:])


def _collector(arguments: Sequence[str]) -> int:
    try:
        options = parse(arguments)
        if options.version:
            sys.stdout.write(version_text())
            return 0
        logs.configure(options.v)
        startup.announce(arguments, options)
        uvloop.run(serve(options.validated()))
    except CommandLineError as error:
        sys.stderr.write(usage())
        return _told(error.faults, MISREAD)
    except UsageError as error:
        return _told(error.faults, FATAL)
    except (StartError, OSError) as error:
        return _told([str(error)], FATAL)
    except HeapsterError as error:
        return _told([str(error)], ENDED)
    return 0


_COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {"demo": demo, "doctor": doctor}


def _run(name: str, command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    try:
        return command(arguments)
    except UsageError as error:
        status = _told(error.faults, MISREAD)
        sys.stderr.write(f"heapster {name} --help tells more.\n")
        return status
    except (HeapsterError, OSError) as error:
        return _told([str(error)], ENDED)


def _told(faults: Sequence[str], status: int) -> int:
    for fault in faults:
        sys.stderr.write(f"heapster: {fault}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
