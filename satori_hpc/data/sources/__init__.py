"""Where a data set comes from: a module or a package per source."""
