"""Run one of our scripts, and all that it starts, where sockets of unusual families are not to be had.

A container without network may still reach what is beneath its machine: AF_VSOCK, through which a virtual machine
speaks with its host, belongs to no network namespace, and engines before 23.0 let it through. io_uring can open
sockets past any such filter. The engine's own filter stays in force; this one comes on top, and nobody can take it off.
"""

import os
import runpy
import struct
import sys
from typing import List, Tuple

# Python 3.6 runs this.
# ruff: noqa: UP006, UP031, UP035

# {machine: (the kernel's number for it, that of its system call `socket`)}, all of them little-endian with 64 bits
MACHINES = {
    "x86_64": (0xC000003E, 41),
    "aarch64": (0xC00000B7, 198),
    "riscv64": (0xC00000F3, 198),
    "loongarch64": (0xC0000102, 198),
    "ppc64le": (0xC0000015, 326),
}
I386, I386_SOCKETCALL, I386_SOCKET = 0x40000003, 102, 359
# The same for every machine.
IO_URING_SETUP = 425
# AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: a network namespace bounds them all.
FAMILIES = (1, 2, 10, 16)
EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97

# linux/filter.h, linux/seccomp.h, linux/prctl.h
LOAD, EQUAL, AND, RETURN = 0x20, 0x15, 0x54, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NUMBER, MACHINE, FIRST_ARGUMENT = 0, 4, 16
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2

Instruction = Tuple[int, int, int, int]  # code, jump if true, jump if false, operand


def refused(number: int, error: int) -> List[Instruction]:
    return [(EQUAL, 0, 1, number), (RETURN, 0, 0, ERRNO | error)]


def program(machine: str) -> bytes:
    """The filter for a machine, which runs at every system call."""
    kernels, socket = MACHINES[machine]
    usual = []  # type: List[Instruction]
    for family in FAMILIES:
        usual += [(EQUAL, 0, 1, family), (RETURN, 0, 0, ALLOW)]
    usual += [(RETURN, 0, 0, ERRNO | EAFNOSUPPORT)]
    # The x32 calls of x86_64 have the same numbers, with a bit on top.
    own = [(LOAD, 0, 0, NUMBER), (AND, 0, 0, 0xBFFFFFFF)] + refused(IO_URING_SETUP, ENOSYS)
    own += [(EQUAL, 1, 0, socket), (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, FIRST_ARGUMENT)] + usual
    # Programs of 32 bits on x86_64: the one call that hides its arguments in memory is of no use to them here.
    other = [(EQUAL, 1, 0, I386), (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, NUMBER)]
    other += refused(IO_URING_SETUP, ENOSYS) + refused(I386_SOCKETCALL, EPERM)
    other += [(EQUAL, 1, 0, I386_SOCKET), (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, FIRST_ARGUMENT)] + usual
    whole = [(LOAD, 0, 0, MACHINE), (EQUAL, 0, len(own), kernels)] + own + other  # type: List[Instruction]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in whole)


def confine() -> None:
    """OSError, or whatever else goes wrong, where this machine or interpreter has no such thing."""
    import ctypes

    machine = os.uname().machine
    if machine not in MACHINES or struct.calcsize("P") != 8:
        raise OSError("unknown for %s" % machine)
    code = program(machine)
    # struct sock_fprog: how many instructions, and where they are
    buffer = ctypes.create_string_buffer(code, len(code))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    nothing = ctypes.c_ulong(0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), nothing, nothing, nothing)
    if libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), head, nothing, nothing):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def main() -> None:
    try:
        confine()
    except (ImportError, OSError, AttributeError) as error:
        # Not every interpreter has ctypes, and an emulated one no filters; the engine's own filter is there anyhow.
        print("pipmirror: sockets of unusual families are not kept away: %s" % error, flush=True)
    script = sys.argv[1]
    sys.argv = [script]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
