"""A signed apt repository with small stand-ins for Docker's packages, laid out like Docker's own.

with AptRepository(directory) as repository:
    repository.publish("27.3.1", suites=["bookworm"])

The engine of its docker-ce answers what is asked of it here, judges daemon.json, and runs no container.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

# In the Perl that every Debian system has. Like the real one it takes a pid file for a sign that it runs already.
_DOCKERD = r"""#!/usr/bin/perl
use strict; use warnings;
use IO::Socket::UNIX;
my ($file, $pidfile, $path) = ('/etc/docker/daemon.json', '/var/run/docker.pid', '/var/run/docker.sock');
my $validate = grep { $_ eq '--validate' } @ARGV;
for my $i (0 .. $#ARGV) { $file = $ARGV[$i + 1] if $ARGV[$i] eq '--config-file' }
if (open my $in, '<', $file) {
    local $/;
    die "unable to configure the Docker daemon with file $file: the following directives don't match any "
        . "configuration option: no-such-option\n" if <$in> =~ /no-such-option/;
}
if ($validate) { print "configuration OK\n"; exit 0 }
die "pid file found, ensure docker is not running or delete $pidfile\n" if -e $pidfile;
open my $out, '>', $pidfile or die; print $out $$; close $out;
$SIG{TERM} = sub { unlink $pidfile, $path; exit 0 };
unlink $path;
my $server = IO::Socket::UNIX->new(Local => $path, Listen => 5) or die;
while (my $client = $server->accept) {
    my $asked = <$client> // next;
    if (-e '/run/stand-in-is-busy') { close $client; next }
    my $running = -e '/run/stand-in-runs' ? '[{"Names": ["/web"]}]' : '[]';
    my $body = $asked =~ m{/containers/json} ? $running : 'OK';
    print $client "HTTP/1.1 200 OK\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
    close $client;
}
"""


@dataclass
class AptRepository:
    """`directory` is to be served; `key` (ASCII) signs it, whose private half stays in `home`."""

    directory: Path
    home: Path
    packages: list[str] = field(default_factory=list)

    @property
    def key(self) -> Path:
        return self.directory / "debian" / "gpg"

    @property
    def key_sha256(self) -> str:
        return hashlib.sha256(self.key.read_bytes()).hexdigest()

    def __enter__(self) -> AptRepository:
        self.key.parent.mkdir(parents=True)
        self.sign_anew()
        return self

    def __exit__(self, *_: object) -> None:
        self._end_agent()

    def sign_anew(self) -> None:
        """Have another key."""
        self._end_agent()
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(mode=0o700)
        self._gpg("--passphrase", "", "--quick-gen-key", "tests", "rsa2048", "sign", "never")
        self.key.write_text(self._gpg("--armor", "--export", "tests"))

    def add(self, name: str, version: str, *, depends: str = "", conflicts: str = "") -> None:
        """Build a package; docker-ce and docker.io bring an engine."""
        tree = self.home / "tree"
        control = {
            "Package": name,
            "Version": version,
            "Architecture": "all",
            "Maintainer": "tests <tests@example.com>",
        }
        control |= {"Description": "stand-in", "Depends": depends, "Conflicts": conflicts}
        text = "".join(f"{key}: {value}\n" for key, value in control.items() if value)
        (tree / "DEBIAN").mkdir(parents=True, mode=0o755)
        (tree / "DEBIAN" / "control").write_text(text)
        if name in ("docker-ce", "docker.io"):
            (tree / "usr" / "sbin").mkdir(parents=True)
            program = tree / "usr" / "sbin" / "dockerd"
            program.write_text(_DOCKERD)
            program.chmod(0o755)
            postinst = tree / "DEBIAN" / "postinst"
            postinst.write_text("#!/bin/sh\ngetent group docker >/dev/null || groupadd --system docker\n")
            postinst.chmod(0o755)
        file = self.directory / "debian" / "pool" / f"{name}_{version.partition(':')[2] or version}_all.deb"
        file.parent.mkdir(exist_ok=True)
        _run("dpkg-deb", "--root-owner-group", "--build", str(tree), str(file))
        shutil.rmtree(tree)
        content = file.read_bytes()
        where = f"Filename: {file.relative_to(self.directory / 'debian')}\nSize: {len(content)}\n"
        self.packages.append(f"{text}{where}SHA256: {hashlib.sha256(content).hexdigest()}\n")

    def add_docker(self, version: str) -> None:
        """What Docker publishes of one version."""
        full = f"5:{version}-1~tests"
        self.add("docker-ce", full, depends="docker-ce-cli, containerd.io", conflicts="docker.io")
        self.add("docker-ce-cli", full)
        self.add("containerd.io", f"1.7.{version.rpartition('.')[2]}-1")

    def publish(self, suites: Iterable[str]) -> None:
        index = "\n".join(self.packages).encode()
        for suite in suites:
            top = self.directory / "debian" / "dists" / suite
            listed = []
            for architecture in ("amd64", "arm64"):
                file = top / "stable" / f"binary-{architecture}" / "Packages"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(index)
                listed.append(f" {hashlib.sha256(index).hexdigest()} {len(index)} {file.relative_to(top)}\n")
            release = (
                f"Origin: Docker\nSuite: {suite}\nCodename: {suite}\nArchitectures: amd64 arm64\nComponents: stable\n"
            )
            release += "Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n" + "".join(listed)
            (top / "Release").write_text(release)
            (top / "InRelease").unlink(missing_ok=True)
            self._gpg("--clearsign", "--output", str(top / "InRelease"), str(top / "Release"))

    def tamper(self, suite: str) -> None:
        """Change the list of packages without the key."""
        for file in (self.directory / "debian" / "dists" / suite).glob("stable/*/Packages"):
            file.write_bytes(file.read_bytes().replace(b"stand-in", b"stood-in"))

    def _gpg(self, *words: str) -> str:
        return _run("gpg", "--homedir", str(self.home), "--batch", "--quiet", "--yes", *words)

    def _end_agent(self) -> None:
        if self.home.exists():
            subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], timeout=30, check=False)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
