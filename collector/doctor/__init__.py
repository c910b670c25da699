"""`heapster doctor`: whether the collector could run with these flags, and what to change where it could not.

`checks` is the table of what is looked at, in order; `remedies` the table of what can be wrong, with the way out. Each
check is a function of a `Patient`: the flags, and what earlier checks found out. Nothing lasting is written anywhere.
"""
