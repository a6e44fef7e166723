"""Search the commit at fault on real builds: what is searched, built, run, kept. Decisions are those of `release`."""
