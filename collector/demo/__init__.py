"""`heapster demo`: the collector at work on a simulated cluster, for someone who has no cluster at hand."""
