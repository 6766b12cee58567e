"""Ports for servers that tests start."""

import random
import socket
import threading

# Tests run side by side.
HANDING_OUT, handed_out = threading.Lock(), set()


def free_port():
    """One that stays free until it is used, and used again: not of those that whoever asks for any is given."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="utf-8") as file:
        first_given = int(file.readline().split()[0])
    others = range(10_000, max(first_given, 20_000))
    with HANDING_OUT:
        for port in random.sample(others, len(others)):
            if port in handed_out:
                continue
            try:
                socket.create_server(("127.0.0.1", port)).close()
            except OSError:
                continue
            handed_out.add(port)
            return port
    raise AssertionError("no port is free")


def free_ports(count):
    return [free_port() for _ in range(count)]
