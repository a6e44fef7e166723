"""For all tests: an example may take as long as a busy machine needs; time-outs are for whole tests."""

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
