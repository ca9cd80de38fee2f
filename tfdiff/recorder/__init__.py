"""Recording: runs a user's script as python would and writes what its training steps compute into a trace.

The only package that imports TensorFlow, and never before the user's script does.
"""
