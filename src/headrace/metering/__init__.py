"""The process that turns shipped access logs into demand: each batch counted exactly once, whatever breaks."""
