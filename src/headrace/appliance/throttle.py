"""Decides how long a transfer must wait so that all of them together keep to a rate. No clock, no waiting."""

_LEAST_BURST_BYTES = 64 * 1024


class Throttle:
    """A token bucket in its time form (GCRA): it remembers only when the line is free again."""

    def __init__(self, rate_bps: int = 0, *, burst_s: float = 0.1) -> None:
        self.rate_bps = rate_bps
        """Bits per second; 0 for no bound. May be changed at any time."""
        self._burst_s = burst_s
        self._free_at_s = 0.0

    def take(self, size_bytes: int, *, now_s: float) -> float:
        """Book `size_bytes` that were just moved; seconds to wait before moving more (`now_s` is monotonic)."""
        if self.rate_bps <= 0:
            return 0.0
        burst_s = max(self._burst_s, _LEAST_BURST_BYTES * 8 / self.rate_bps)
        self._free_at_s = max(self._free_at_s, now_s - burst_s) + size_bytes * 8 / self.rate_bps
        return max(0.0, self._free_at_s - now_s)

    def start(self, *, now_s: float) -> None:
        """Forget credit from an idle time, so that the first second keeps to the rate as well."""
        self._free_at_s = max(self._free_at_s, now_s)
