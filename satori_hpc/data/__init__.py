"""The data set: sequences, labels and splits, and the stage that makes them from a source."""
