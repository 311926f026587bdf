"""Templates and figures of the report."""
