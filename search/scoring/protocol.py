"""What a score means: on which clips, tags and rate it was taken. Only scores of one protocol are ever compared."""

from collections.abc import Iterable, Mapping
from typing import Any

from search.errors import SearchError
from search.settings import digest

# How many segments a clip has follows from the network's input, as all fixed segments are taken; it tells two numbers
# of one protocol apart without making them incomparable.
OF_THE_NETWORK = ("segments_per_clip",)


def deciding(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that two scores must share to be compared."""
    return {key: value for key, value in protocol.items() if key not in OF_THE_NETWORK}


def protocol_id(protocol: Mapping[str, Any]) -> str:
    """The same for numbers that may be ranked together."""
    return digest(deciding(protocol))


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What differs between two protocols, as `clips 4332 and 4000`; empty where they are the same."""
    first, second = deciding(one), deciding(other)
    return [
        f"{key} {first.get(key, 'unknown')} and {second.get(key, 'unknown')}"
        for key in dict.fromkeys((*first, *second))
        if first.get(key) != second.get(key)
    ]


def check_same(protocols: Iterable[Mapping[str, Any]]) -> None:
    """Refuse numbers of several protocols. raises: SearchError, which says what differs."""
    known = list(protocols)
    for other in known[1:]:
        if found := differences(known[0], other):
            raise SearchError(
                f"these trials are of several protocols; their numbers can't be ranked together: "
                f"{', '.join(found)}"
            )


def describe(protocol: Mapping[str, Any]) -> str:
    """The protocol in a line."""
    return (
        f"{protocol['dataset']} {protocol['fingerprint']}, convention {protocol['convention']}, "
        f"{protocol['clips']} test clips at {protocol['sample_rate_hz']} Hz, all fixed segments, "
        f"macro means over {protocol['tags_scored']} tags ({protocol['tag_hash']})"
    )
