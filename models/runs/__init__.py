"""Record trainings, draw their pictures, and make the packaged bundles."""
