"""From a result to a document: one module per kind, functions without side effects; the command line prints."""
