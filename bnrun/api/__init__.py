"""The functions that `bnrun` exports, one file a subject: the command line's work, in Python."""
