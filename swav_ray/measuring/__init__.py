"""When a run measures itself while it trains, and who does it: its workers, or a task beside them."""
