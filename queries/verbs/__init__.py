"""The verbs that ask the lake, one module each: the command line is read here, the answer is made in ``queries.answers``.

Rows go to standard output, everything else to standard error. Exit code 3: answered, but the record has gaps in the asked time.
"""
