"""What the walk-through notebooks call, so that they can tell instead of compute.

results    the committed figures of the full runs, or a sentence where they are missing
lessons    shapes on the way, source without docstring, gradient tables, a run in passing, the debugger
plates     figures for the page: white ground, colours that survive grey print; arrays in, figure out
panels     committed runs beside each other: ways at equal size, records, faces
compared   the same as tables, for the page and for the README
units      more of them: what a maxout unit is, who wins, what pruning leaves
drawn      placeholders for photographs, and a verification task made of them
defects    the three mistakes of the published Caffe code, rebuilt
"""
