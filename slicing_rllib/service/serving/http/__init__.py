"""What every HTTP request meets: token, limits, parsing, errors, description and metrics."""
