"""Helper functions of the notebooks; figures are in `mnp.plotting`.

results          committed results of the full runs as tables, for the notebooks and the README
helpers          source code, checks of answers and gradients, debugger transcripts
sliders          a figure with sliders
synthetic_faces  drawn faces in place of photographs
defects          three defects of the published Caffe code, reproduced
"""
