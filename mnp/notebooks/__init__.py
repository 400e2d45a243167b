"""Helper functions of the notebooks; figures are in `mnp.plotting`.

results          committed results of the full runs as tables, for the notebooks and the README
helpers          shapes per layer, source code, gradient checks, short runs, debugger transcripts
synthetic_faces  drawn faces in place of photographs
defects          three defects of the published Caffe code, reproduced
"""
