"""Where the filters of a network are active: motifs, names and thresholds of filters."""
