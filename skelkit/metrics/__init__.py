"""Pure functions that compare poses with ground truth."""
