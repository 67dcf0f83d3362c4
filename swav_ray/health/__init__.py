"""What can go wrong in SwAV: measured while it trains, named in one word, remedied if asked. Knows no Ray."""
