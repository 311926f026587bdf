"""Everything that lies on disk; the only room that imports zarr, pyarrow and torch.save."""
