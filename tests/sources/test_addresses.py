"""Which addresses of a node are asked, and in which order."""

import pytest

from collector.errors import UsageError
from collector.kube.objects import Node
from collector.sources.addresses import ADDRESS_TYPES, Addressing, candidates

DUAL = (
    ("InternalIP", "10.0.0.1"),
    ("InternalIP", "fd00:0:0::1"),
    ("ExternalIP", "203.0.113.1"),
    ("Hostname", "node-1"),
    ("InternalDNS", "node-1.internal"),
    ("ExternalDNS", "node-1.example.com"),
)


@pytest.mark.parametrize(
    ("addresses", "types", "expected"),
    [
        # Heapster's rule comes first: the last internal address. The others are what there is to fall back to.
        (DUAL, (), ("fd00::1", "10.0.0.1")),
        ((("ExternalIP", "203.0.113.1"), ("ExternalIP", "203.0.113.2")), (), ("203.0.113.1", "203.0.113.2")),
        ((("InternalIP", "no"), ("InternalIP", "10.0.0.2")), (), ("10.0.0.2",)),
        ((("LegacyHostIP", "10.0.0.3"),), (), ("10.0.0.3",)),
        ((("Hostname", "node-1"),), (), ()),
        # In the order asked for, within a type in that of the node.
        (DUAL, ("InternalIP",), ("10.0.0.1", "fd00::1")),
        (DUAL, ("ExternalIP", "InternalIP"), ("203.0.113.1", "10.0.0.1", "fd00::1")),
        (
            DUAL,
            ADDRESS_TYPES,
            ("node-1", "node-1.internal", "10.0.0.1", "fd00::1", "node-1.example.com", "203.0.113.1"),
        ),
        # A host name that is an address is one, and nothing is tried twice.
        ((("Hostname", "10.0.0.1"), ("InternalIP", "10.0.0.1")), ADDRESS_TYPES, ("10.0.0.1",)),
        # What cannot be dialled, or would end up in a request as something else, is left out.
        (
            (("Hostname", "a b"), ("InternalDNS", "x\r\nHost: y"), ("InternalIP", "node-1"), ("Hostname", "")),
            ADDRESS_TYPES,
            (),
        ),
        ((("Hostname", "127.1"), ("InternalDNS", "-a"), ("ExternalDNS", "a" * 64)), ADDRESS_TYPES, ()),
        ((("InternalIP", "fe80::1%eth0"),), ADDRESS_TYPES, ()),
        ((), ADDRESS_TYPES, ()),
    ],
)
def test_the_addresses_of_a_node_in_the_order_in_which_they_are_tried(addresses, types, expected):
    assert candidates(Node("node-1", addresses=addresses), types) == expected


def test_an_unknown_type_names_the_flag_and_the_choice():
    with pytest.raises(UsageError, match=r"--kubelet-preferred-address-types: 'InternalIp' is no type.*InternalIP"):
        Addressing(("Hostname", "InternalIp"))
