"""What a compiled network does and what it costs: the profile, the machine's roofline, and the HTML report."""
