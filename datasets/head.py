"""The head of a Ray cluster: its address, whether it answers, and how to part from it.

What a build and a search need of a cluster alike. Ray is imported when it is wanted, as addresses are checked long
before.
"""

import gc
import re
import socket

from datasets.errors import reason

AUTO = "auto"  # the cluster that this machine belongs to
KNOCK_SECONDS = 5.0  # how long a head that is there may take to answer
PORT = 6379  # Ray's own


class HeadError(ValueError):
    """No head is at an address; the message is one line for a person."""


def host_and_port(address: str) -> tuple[str, int] | None:
    """Of a head at HOST:PORT; None if the address is no such thing."""
    host, _, port = address.rpartition(":")
    if not re.fullmatch(r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]", host):
        return None
    if not (port.isdecimal() and 0 < int(port) < 2**16):
        return None
    return host.strip("[]"), int(port)


def knock(address: str, word: str) -> None:
    """Refuse an address where nobody listens: Ray would try for minutes there, deaf to Ctrl-C.

    address: HOST:PORT or `auto`. word: what a person typed it behind.
    raises:  HeadError if nobody answers, or the address is none.
    """
    named, asked = f"{word}={address}", address
    if address == AUTO:
        asked = _head_of_this_machine(named)
        named += f", which is {asked},"
    if (place := host_and_port(asked)) is None:
        raise HeadError(f"{named}: give HOST:PORT of the cluster's head, or {AUTO}")
    try:
        socket.create_connection(place, timeout=KNOCK_SECONDS).close()
    except OSError as error:
        raise HeadError(
            f"nobody answers at {named} ({reason(error)}); start one with `ray start --head --port={place[1]}`, "
            f"or leave the word out to use this machine"
        ) from error


def _head_of_this_machine(named: str) -> str:
    """What `auto` stands for: Ray's own answer, which may be of a head that has ended since."""
    from ray._private import services  # what ray.init itself asks; nothing public tells

    try:
        return str(services.canonicalize_bootstrap_address(AUTO))
    except ConnectionError as error:
        raise HeadError(
            f"{named}: no Ray cluster runs on this machine; start one with `ray start --head --port={PORT}`, give "
            f"HOST:PORT of its head, or leave the word out to use this machine alone"
        ) from error


def leave() -> None:
    """Part from Ray without losing the process.

    For a moment ray.shutdown has ended its core while other threads still find it; a reference to one of Ray's objects
    that dies then ends the whole process with exit code 1. What dies in other threads is what Python's collector finds
    there, so it is emptied before and rests meanwhile.
    """
    import ray

    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        if was_on:
            gc.enable()
