"""How much of what was asked, and what will be: words, queries over log records, forecasts. Pure."""
