"""Calibration: from labelled photographs to thresholds, and whether the gallery has outgrown them.

    labels     a CSV of pairs, or a folder of people -> which photographs are compared, and as what
    faces      photographs -> one vector each, through the path that uploads take
    compare    labels and vectors -> scores of mated and impostor comparisons
    measure    scores -> a :class:`~pipelines.home.calibrations.Calibration`, by :mod:`indexes.det`
    store      the table of calibrations and which one is in force, both sealed against tampering
    cover      how large a gallery a calibration is for, and when that is outgrown too far
    fit        the gallery's size against the calibration in force
    plot       the DET curve as a PNG

What is stored are numbers, opaque ids and the operator's words for groups: no name, path, vector or picture (I8).
"""
