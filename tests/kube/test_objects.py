import pytest

from collector.kube.objects import Node, Pod


def node(*addresses):
    return Node(name="n1", addresses=addresses)


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ([("InternalIP", "10.0.0.1"), ("InternalIP", "10.0.0.2")], "10.0.0.2"),
        ([("InternalIP", "10.0.0.1"), ("InternalIP", "***HIDDEN***")], "10.0.0.1"),
        ([("ExternalIP", "1.1.1.1"), ("InternalIP", "10.0.0.1")], "10.0.0.1"),
        ([("InternalIP", "10.0.0.1"), ("ExternalIP", "1.1.1.1")], "10.0.0.1"),
        ([("ExternalIP", "1.1.1.1"), ("ExternalIP", "2.2.2.2")], "1.1.1.1"),
        ([("ExternalIP", "bad"), ("ExternalIP", "2.2.2.2")], "2.2.2.2"),
        ([("LegacyHostIP", "10.35.0.169")], "10.35.0.169"),
        ([("LegacyHostIP", "10.0.0.9"), ("InternalIP", "10.0.0.1")], "10.0.0.1"),
        ([("LegacyHostIP", "10.0.0.9"), ("ExternalIP", "1.1.1.1")], "1.1.1.1"),
        ([("LegacyHostIP", "bad"), ("LegacyHostIP", "10.0.0.9"), ("ExternalIP", "bad")], "10.0.0.9"),
        ([("InternalIP", "fd00::0001")], "fd00::1"),
        ([("InternalIP", "fe80::1%eth0")], None),
        ([("InternalIP", "::ffff:10.0.0.1")], "10.0.0.1"),
        ([("InternalIP", "010.0.0.1")], None),
        ([("InternalDNS", "10.0.0.1"), ("Hostname", "10.0.0.1"), ("InternalIP", "")], None),
        ([], None),
    ],
)
def test_the_address_to_scrape_is_chosen_as_heapster_chose_it(addresses, expected):
    assert node(*addresses).scrape_address == expected


def test_the_host_name_is_the_last_that_is_not_empty_else_the_nodes_name():
    assert node(("Hostname", "a"), ("Hostname", "b"), ("Hostname", "")).host_name == "b"
    assert node(("Hostname", ""), ("InternalDNS", "c")).host_name == "n1"


def test_kept_objects_compare_by_value_and_cannot_be_altered():
    assert Pod("shop", "web", labels={"a": "b"}) == Pod("shop", "web", labels={"a": "b"})
    with pytest.raises(AttributeError):
        Pod("shop", "web").phase = "Running"
