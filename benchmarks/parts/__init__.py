"""What benchmarks and tests share: an S3 server, gloo workers, a small net."""
