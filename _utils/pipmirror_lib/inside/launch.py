"""Bound this process, and whatever it starts, then become the script that is named.

For machines without a container engine, which would do it from outside: launch.py LIMITS SCRIPT [ARGUMENT...]
"""

import json
import os
import runpy
import sys
from typing import Dict

# Python 3.6 runs this.
# ruff: noqa: UP006, UP031, UP035


def bound(limits: Dict[str, int]) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    for name, wanted in limits.items():
        if not hasattr(resource, name):
            continue
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(number, (value, value))
        except (OSError, ValueError) as error:
            sys.stderr.write("pipmirror: no limit %s here: %s\n" % (name, error))
    os.nice(10)


def main() -> None:
    bound(json.loads(sys.argv[1]))
    del sys.argv[:2]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
