"""What metering touches: engines, the ledger, files."""
