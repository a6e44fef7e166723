"""How a candidate is judged: levels, checks, verdicts, the search for the commit at fault, the dossier. Pure."""
