"""From scores to interactions: tests, tables, spacing, instances, networks, tracks."""
