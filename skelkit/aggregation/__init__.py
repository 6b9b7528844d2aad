"""Several experts' sequences of the same people -> one."""
