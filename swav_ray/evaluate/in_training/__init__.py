"""What a run measures of itself while it trains: kNN, figures without labels, and whether it has collapsed."""
