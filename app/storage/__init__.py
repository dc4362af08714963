"""MongoDB: the only package that imports motor.

Motor is past its end of life upstream; the seam is kept thin enough to swap it for PyMongo's own async client: a
client, its errors, and one repository a file.
"""
