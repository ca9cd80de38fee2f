"""The trace: one HDF5 file per run. The only place that imports h5py."""
