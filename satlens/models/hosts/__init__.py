"""One adapter a kind of host: from the module that somebody loaded to a `ResidualModel`."""
