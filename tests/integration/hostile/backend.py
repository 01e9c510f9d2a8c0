"""A PEP 517 backend inside the source tree that is hostile."""

import base64
import hashlib
import json
import os
import zipfile

import probe


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    members = {
        "report.py": "REPORT = %r\n" % json.dumps(probe.report()),
        "modern-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: modern\nVersion: 1.0\n",
        "modern-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for name, text in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append("%s,sha256=%s,%d\n" % (name, digest, len(text.encode())))
    members["modern-1.0.dist-info/RECORD"] = "".join(lines) + "modern-1.0.dist-info/RECORD,,\n"
    filename = "modern-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, filename), "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return filename
