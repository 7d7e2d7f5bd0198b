"""Files of operators: traffic and sites."""
