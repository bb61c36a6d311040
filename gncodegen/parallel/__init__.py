"""Ranks: several processes that train one network. All they share passes through one `allreduce(buffer)`."""
