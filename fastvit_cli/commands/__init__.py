"""One file a verb: options in, one call into the core, one result rendered."""
