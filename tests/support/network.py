"""Where a server of the tests listens, so that containers reach it."""

from __future__ import annotations

import json
import subprocess

from tests.support.leaks import docker


def bridge_address() -> str:
    """This machine's address in the network of the engine's containers.

    Asked of the bridge: an engine that has made its network with this start does not tell the gateway's address.
    """
    option = '{{index .Options "com.docker.network.bridge.name"}}'
    name = docker("network", "inspect", "bridge", "--format", option).strip()
    command = ["ip", "-json", "-4", "address", "show", "dev", name]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return str(json.loads(shown)[0]["addr_info"][0]["local"])
