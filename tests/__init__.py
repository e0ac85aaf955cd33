"""The tests of differ; the folders mirror the package."""
