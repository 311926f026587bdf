"""Sources of data sets: a module or a package per source."""
