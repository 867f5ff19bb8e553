"""Calibration: from labelled photographs to thresholds, and whether the gallery has outgrown them.

    labels     a CSV of pairs, or a folder of people -> which photographs are compared, and as what
    faces      photographs -> one vector each, through the path that uploads take
    compare    labels and vectors -> scores of mated and impostor comparisons
    measure    scores -> a :class:`~pipelines.home.calibrations.Calibration`, by :mod:`indexes.det`
    fit        the gallery's size against the calibration in force
    plot       the DET curve as a PNG

:mod:`pipelines.home.calibrations` stores calibrations and :mod:`pipelines.home.calibration_cover` tells when the
gallery has outgrown one. Only numbers, opaque ids and the operator's words for groups are stored: no name, path, vector
or picture (I8).
"""
