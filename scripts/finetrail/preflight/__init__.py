"""What can be known to fail before the first job is submitted: cluster, places, tools, endpoints."""
