"""One file per verb: its flags, then one call into the library.

A verb has a docstring, define_flags(values, argv) and run(values, arguments), which
returns the exit code. Flags that several verbs share are in _flags.py.
"""
