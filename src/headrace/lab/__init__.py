"""The lab: machines that run a candidate kernel and nginx, networks in front of them, load, and what was measured.

A lab is a client, a road and one machine, each in its own network namespace, that live exactly as long as the process
that opened them. `assembly.open_lab` is the door; `docs/lab.md` is the user's page.
"""
