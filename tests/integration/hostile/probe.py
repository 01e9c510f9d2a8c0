"""What strangers' code finds out and tries while it is built; test_hostile_builds.py reads the report.

It runs in the target's interpreter with nothing but the standard library. `questions.json` beside it says what to
look for; secrets stand there back to front, so that nobody finds the question.
"""

import ctypes
import errno
import json
import os
import resource
import socket
import stat
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# What the kernel makes up, and what holds nothing but the image's own files.
MADE_UP = ("/proc", "/sys")


def attempt(action):
    """'done', or the name of the error that kept it from being done."""
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    except Exception as error:
        return type(error).__name__
    return "done"


def status():
    with open("/proc/self/status") as stream:
        return dict(line.rstrip("\n").split(":\t", 1) for line in stream if ":\t" in line)


def mounts():
    """[mount point, options, type, where it comes from]"""
    found = []
    with open("/proc/self/mountinfo") as stream:
        for line in stream:
            fields, _, rest = line.partition(" - ")
            parts = fields.split()
            found.append([parts[4], parts[5], rest.split()[0], parts[3]])
    return found


def walk(top="/"):
    """Every path that can be seen, with what it is."""
    folders = [top]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            yield entry.path, found
            if stat.S_ISDIR(found.st_mode) and entry.path not in MADE_UP:
                folders.append(entry.path)


def writable(folder):
    name = os.path.join(folder, "written-by-the-probe")
    try:
        with open(name, "w"):
            pass
        os.unlink(name)
    except OSError:
        return False
    return True


def files():
    """Where it may write, which sockets, devices and privileged programs there are, and where a secret stands."""
    found = {"writable": [], "sockets": [], "devices": [], "setuid": [], "secrets": [], "overwritable": []}
    secrets = [text[::-1].encode() for text in QUESTIONS["secrets"]]
    for path, info in walk():
        mode = info.st_mode
        if stat.S_ISDIR(mode) and path not in MADE_UP and writable(path):
            found["writable"].append(path)
        elif stat.S_ISSOCK(mode):
            found["sockets"].append(path)
        elif stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and os.access(path, os.W_OK)):
            found["devices"].append(path)
        elif stat.S_ISREG(mode):
            if mode & (stat.S_ISUID | stat.S_ISGID):
                found["setuid"].append(path)
            if os.access(path, os.W_OK):
                found["overwritable"].append(path)
            if not path.startswith("/usr/") and holds(path, secrets):
                found["secrets"].append(path)
    return found


def holds(path, secrets):
    try:
        with open(path, "rb") as stream:
            content = stream.read(64 << 20)
    except OSError:
        return False
    return any(secret in content for secret in secrets)


def processes():
    """[id, command line] of every process in sight, and where a secret stands in what they were given."""
    found, secrets = [], [text[::-1].encode() for text in QUESTIONS["secrets"]]
    leaks = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with open("/proc/%s/cmdline" % name, "rb") as stream:
                found.append([int(name), stream.read().replace(b"\0", b" ").decode("utf-8", "replace")])
            leaks += [
                "/proc/%s/%s" % (name, kind)
                for kind in ("cmdline", "environ", "mountinfo")
                if holds("/proc/%s/%s" % (name, kind), secrets)
            ]
    return {"all": found, "secrets": leaks}


def connect(family, kind, address):
    def action():
        with socket.socket(family, kind) as one:
            one.settimeout(3)
            one.connect(address)
            one.send(b"x")

    return attempt(action)


def network():
    port = QUESTIONS["port"]
    stream, packet = socket.SOCK_STREAM, socket.SOCK_DGRAM
    answers = {
        "tcp to the index": connect(socket.AF_INET, stream, ("127.0.0.1", port)),
        "tcp to the host": connect(socket.AF_INET, stream, (QUESTIONS["host"], port)),
        "tcp outside": connect(socket.AF_INET, stream, ("192.0.2.1", 80)),
        "tcp to metadata": connect(socket.AF_INET, stream, ("169.254.169.254", 80)),
        "tcp 6": connect(socket.AF_INET6, stream, ("2001:db8::1", 80)),
        "udp outside": connect(socket.AF_INET, packet, ("192.0.2.1", 53)),
        "udp to the host": connect(socket.AF_INET, packet, (QUESTIONS["host"], 53)),
        "a name": attempt(lambda: socket.getaddrinfo("example.com", 80)),
        "an abstract socket": connect(socket.AF_UNIX, stream, "\0" + QUESTIONS["abstract"]),
        "the virtual machine's host": connect(40, stream, (2, 1024)),
        "raw": attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
        "packets": attempt(lambda: socket.socket(17, socket.SOCK_RAW, 3)),
        "bluetooth": attempt(lambda: socket.socket(31, stream)),
        "kernel crypto": attempt(lambda: socket.socket(38, 5)),
    }
    for path in (
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/run/containerd/containerd.sock",
        "/run/podman/podman.sock",
    ):
        answers[path] = connect(socket.AF_UNIX, stream, path)
    with open("/proc/net/unix") as stream:
        abstract = [line.split()[-1] for line in stream.readlines()[1:] if "@" in line]
    return {"interfaces": sorted(name for _, name in socket.if_nameindex()), "reached": answers, "abstract": abstract}


def system_call(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    ctypes.set_errno(0)
    result = getattr(libc, name)(*arguments)
    return "done" if result >= 0 else errno.errorcode.get(ctypes.get_errno(), "?")


def write(path, text):
    def action():
        with open(path, "w") as stream:
            stream.write(text)

    return attempt(action)


def privileges():
    """What only a privileged process may do; each must fail."""
    x86 = os.uname().machine == "x86_64"
    target = os.path.join(os.environ["TMPDIR"], "mounted")
    os.makedirs(target, exist_ok=True)
    own = os.path.join(os.environ["TMPDIR"], "suid")
    with open("/bin/cat", "rb") as source, open(own, "wb") as copy:
        copy.write(source.read())
    answers = {
        "become root": attempt(lambda: os.setuid(0)),
        "become another": attempt(lambda: os.setgid(1)),
        "give away": attempt(lambda: os.chown(own, 0, 0)),
        "chroot": attempt(lambda: os.chroot(target)),
        "make a device": attempt(lambda: os.mknod(target + "/sda", 0o600 | stat.S_IFBLK, os.makedev(8, 0))),
        "mount": system_call("mount", b"none", target.encode(), b"tmpfs", 0, None),
        "remount the root": system_call("mount", None, b"/", None, 32, None),
        "remount the inputs": system_call("mount", None, b"/pipmirror/in", None, 32 | 4096, None),
        "unmount the inputs": system_call("umount2", b"/pipmirror/in", 2),
        "user namespace": system_call("unshare", 0x10000000),
        "mount namespace": system_call("unshare", 0x00020000),
        "network namespace": system_call("unshare", 0x40000000),
        "a hostname": attempt(lambda: socket.sethostname("pwned")),
        "priority": attempt(lambda: os.nice(-5)),
        "more memory": attempt(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))),
        "cores": attempt(lambda: resource.setrlimit(resource.RLIMIT_CORE, (1, 1))),
        "sysctl": write("/proc/sys/kernel/core_pattern", "|/bin/sh"),
        "sysctl of the network": write("/proc/sys/net/ipv4/ip_forward", "1"),
        "sysrq": write("/proc/sysrq-trigger", "h"),
        "sysfs": write("/sys/kernel/mm/transparent_hugepage/enabled", "never"),
        "cgroup": write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "-1"),
        "kernel log": attempt(lambda: open("/dev/kmsg")),
        "memory": attempt(lambda: open("/dev/mem")),
        "kernel core": attempt(lambda: open("/proc/kcore", "rb").read(1)),
    }
    if x86:
        calls = {"keyring": 250, "add_key": 248, "bpf": 321, "perf": 298, "by handle": 304, "uring": 425, "kexec": 246}
        answers.update({name: system_call("syscall", number, 0, 0, 0, 0, 0) for name, number in calls.items()})
    return answers


def setuid_program():
    """Which user a program with that bit runs as."""
    for path in ("/bin/su", "/usr/bin/newgrp", "/usr/bin/passwd", "/bin/mount"):
        if os.path.exists(path) and os.stat(path).st_mode & stat.S_ISUID:
            process = subprocess.Popen([path, "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            with open("/proc/%d/status" % process.pid) as stream:
                users = [line.split()[1:] for line in stream if line.startswith("Uid:")]
            process.communicate()
            mounted = subprocess.call(["mount", "-t", "tmpfs", "none", "/mnt"], stderr=subprocess.DEVNULL)
            return {"program": path, "users": users[0], "mount": mounted}
    return {}


def inputs():
    """Its own are read-only, and nobody else's are in sight."""
    given = [os.path.join(folder, name) for folder, _, names in os.walk("/pipmirror") for name in names]
    answers = {path: write(path, "mine") for path in given if path.startswith("/pipmirror/in/")}
    answers["the interpreter"] = write("/pipmirror/env/pyvenv.cfg", "home = /tmp")
    answers["a new input"] = write("/pipmirror/in/new", "mine")
    seen = [path for path in QUESTIONS["paths"] if os.path.lexists(path)]
    through = [path for path in QUESTIONS["paths"] if os.path.lexists("/proc/1/root" + path)]
    return {"written": answers, "top": sorted(os.listdir("/pipmirror")), "host paths": seen + through}


def program_of_its_own():
    """What a configure script does all day."""
    path = os.path.join(os.environ["TMPDIR"], "program")
    with open(path, "w") as stream:
        stream.write("#!/bin/sh\necho it runs\n")
    os.chmod(path, 0o755)
    return subprocess.check_output([path]).decode().strip()


def linger():
    """Leave a process behind that no longer belongs to anybody."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in range(3):
                os.close(number)
            os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)", QUESTIONS["lingering"]])
        os._exit(0)
    os.wait()
    time.sleep(0.2)


def report():
    user = {"ids": [*os.getresuid(), *os.getresgid()], "groups": os.getgroups(), "status": status()}
    limits = {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name))[1] for name in ("FSIZE", "CORE")}
    found = {
        "user": user,
        "limits": limits,
        "umask": os.umask(0o022),
        "program of its own": program_of_its_own(),
        "environment": dict(os.environ),
        "arguments": sys.argv,
        "mounts": mounts(),
        "files": files(),
        "processes": processes(),
        "network": network(),
        "privileges": privileges(),
        "setuid": setuid_program(),
        "inputs": inputs(),
    }
    linger()
    return found


with open(os.path.join(HERE, "questions.json")) as questions:
    QUESTIONS = json.load(questions)
