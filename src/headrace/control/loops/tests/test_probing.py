from headrace.control.loops.probing import read_notes, write_note
from headrace.fleet.evidence import ProbeOutcome
from headrace.fleet.testing import make_probe


def test_notes_of_all_nodes_are_read_together_and_spoilt_ones_left_out():
    one, other = make_probe(5.0, vantage="c-1"), make_probe(6.0, ProbeOutcome.UNREACHABLE, vantage="c-2")
    notes = [write_note({"a-1": one, "a-2": one}), write_note({"a-1": other}), "{", '{"probes": 3}']
    assert read_notes(notes) == {"a-1": (one, other), "a-2": (one,)}
