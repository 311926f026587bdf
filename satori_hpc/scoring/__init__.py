"""From (model, tokens, sites) to pair scores of each sequence; torch only."""
