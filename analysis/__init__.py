"""Scripts that draw studies: `python -m analysis.NAME DIR… --out FOLDER`, over `emma_tune.outputs.pictures`.

`emma-tune plot DIR` draws the same pictures of one study, from any folder.
"""
