"""Upstreams that are tracked: patch queues and their reasons, measures of the cycle, reports. Pure decisions."""
