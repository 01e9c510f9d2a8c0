"""What no strangers' code may ask the kernel for; each case in an interpreter of its own, for there is no way back."""

from __future__ import annotations

import ctypes
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import inside

SCRIPT = str(Path(inside.__file__).with_name("confine.py"))


def confined(tmp_path: Path, code: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(code)
    command = [sys.executable, "-I", SCRIPT, str(script)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("family", ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"])
def test_usual_sockets_are_to_be_had(tmp_path: Path, family: str) -> None:
    code = f"import socket; socket.socket(socket.{family}, socket.SOCK_DGRAM); socket.socketpair(); print('made')"
    assert confined(tmp_path, code).stdout == "made\n"


@pytest.mark.parametrize("family", [40, 38, 17, 31])  # vsock, alg, packet, bluetooth
def test_unusual_sockets_are_not(tmp_path: Path, family: int) -> None:
    done = confined(tmp_path, f"import socket; socket.socket({family}, socket.SOCK_STREAM)")
    assert "Address family not supported" in done.stderr
    child = f"import subprocess, sys; code = 'import socket; socket.socket({family}, socket.SOCK_STREAM)'\n"
    child += "print(subprocess.call([sys.executable, '-c', code]))"
    assert confined(tmp_path, child).stdout == "1\n", "what it starts inherits that"


def test_no_way_around(tmp_path: Path) -> None:
    code = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
    code += "print(libc.syscall(425, 8, 0), os.strerror(ctypes.get_errno()))\n"
    code += (
        "ctypes.set_errno(0)\nx32 = libc.syscall(0x40000029, 40, 1, 0)\nprint(x32, ctypes.get_errno() in (38, 97))\n"
    )
    lines = confined(tmp_path, code).stdout.splitlines()
    assert lines[0] == f"-1 {os.strerror(38)}"
    assert os.uname().machine != "x86_64" or lines[1] == "-1 True"


def test_the_script_sees_what_it_would_see_alone(tmp_path: Path) -> None:
    code = "import sys\nprint(__name__, __file__, sys.argv, sys.flags.isolated)\nsys.exit(7)"
    done = confined(tmp_path, code)
    script = str(tmp_path / "script.py")
    assert done.stdout == f"__main__ {script} {[script]} 1\n"
    assert done.returncode == 7


def test_a_machine_without_filters_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    """As an emulated one has none; the engine's own filter is in force then."""

    def none(*_: object, **__: object) -> object:
        raise OSError("no such thing")

    (tmp_path / "script.py").write_text("print('ran')")
    module = runpy.run_path(SCRIPT)
    monkeypatch.setattr(ctypes, "CDLL", none)
    monkeypatch.setattr(sys, "argv", ["confine.py", str(tmp_path / "script.py")])
    module["main"]()
    said, ran = capsys.readouterr().out.splitlines()
    assert said == "pipmirror: sockets of unusual families are not kept away: no such thing"
    assert ran == "ran"
