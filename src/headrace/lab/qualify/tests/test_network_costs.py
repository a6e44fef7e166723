"""Shares of segments sent again; and each network metric that is judged is one that is measured."""

import pytest

from headrace.lab.errors import MachineError
from headrace.lab.profiles import read_profiles
from headrace.lab.qualify.costs import COSTS
from headrace.lab.qualify.network_costs import FIRST, NETWORK_COSTS, TAIL, VOLUMES, retransmitted_ratio
from headrace.release.config import parse_release_config


def test_the_share_is_of_what_was_sent_in_between() -> None:
    before, after = {"tcp.out_segs": 100.0, "tcp.retrans_segs": 7.0}, {"tcp.out_segs": 300.0, "tcp.retrans_segs": 9.0}
    assert retransmitted_ratio(before, after) == 0.01
    with pytest.raises(MachineError, match="sent no segment"):
        retransmitted_ratio(before, before)
    with pytest.raises(MachineError, match=r"no counter 'tcp\.out_segs'"):
        retransmitted_ratio({}, {})


def test_networks_and_checks_belong_together() -> None:
    profiles = read_profiles()
    assert FIRST.name in VOLUMES
    assert {*VOLUMES, TAIL} <= profiles.keys()
    judged = {one.metric.name for one in parse_release_config().definitions}
    on_networks = {name for name in judged if "." in name and name.rpartition(".")[2] in profiles}
    assert on_networks == NETWORK_COSTS | {"retransmitted_ratio.lan"}
    assert "retransmitted_ratio.lan" in COSTS
