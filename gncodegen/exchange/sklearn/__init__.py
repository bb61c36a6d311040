"""Networks as scikit-learn estimators; needs the package scikit-learn (`pip install 'gncodegen[sklearn]'`)."""
