"""What a launch is watched for: order, clocks, intervals, traffic."""
