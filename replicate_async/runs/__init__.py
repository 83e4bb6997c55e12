"""What users do with runs: wait for them, stream them, run them to the end."""
