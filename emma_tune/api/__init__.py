"""A study from Python, in a script or a notebook: run it, look at it, and try single stages on arrays.

running    run a study to its end, in this process
view       a study on disk, as tables, pictures and arrays
arrays     one stage at a time, without a study: learn a matrix, steal a classifier

`emma_tune` itself offers all of it under plain names, and imports it when it is first used.
"""
