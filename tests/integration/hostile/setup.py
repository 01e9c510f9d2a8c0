"""A legacy project whose `setup.py` is hostile: it runs when it is asked for its requirements, and when it is built."""

import json
import os
import sys

from setuptools import setup

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
if "bdist_wheel" in sys.argv:
    import probe

    with open("report.py", "w") as stream:
        stream.write("REPORT = %r\n" % json.dumps(probe.report()))
setup(name="legacy", version="1.0", py_modules=["report"])
